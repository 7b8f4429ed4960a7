"""Prompts and answers stay where they belong: whatever happens to a node, no file of it holds them in clear."""

import json
import os
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.canary import files_with, forms
from support.commands import run_command
from support.processes.network import RunningNetwork, node_of, running_network
from support.processes.nodes import (
    EMBEDDED,
    Node,
    node_environment,
    running_node,
    start_process,
    wait_for,
    wait_for_status,
)

from openledger_node.api_key import load_api_key
from openledger_node.home import Home

pytestmark = pytest.mark.process

PROMPT, ANSWER = "Zq7-prompt-plover-4471", "Zq7-answer-kestrel-9038"
SCHEMA = {"type": "json_schema", "json_schema": {"name": "said", "schema": {"const": ANSWER}}}


def body(**more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": f"Say {PROMPT}"}]
    return {"model": "fake", "messages": messages, "max_tokens": 60, "response_format": SCHEMA, **more}


def run(home: Home, *words: str) -> str:
    return run_command(*words, env=node_environment(home, **EMBEDDED)).stdout


def ask_in_every_way(url: str, key: str) -> str:
    """Requests that are answered, that are refused, and that are cut off; returns what was answered."""
    said = ""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        whole = client.post("/v1/chat/completions", json=body(logprobs=True, top_logprobs=2)).json()
        said += whole["choices"][0]["message"]["content"]
        said += client.post("/v1/chat/completions", json=body(stream=True)).text
        said += client.post("/v1/completions", json={"model": "fake", "prompt": PROMPT, "max_tokens": 20}).text
        for wrong in (
            body(tools=[{"type": PROMPT}]),
            body(messages=[{"role": PROMPT, "content": PROMPT}]),
            body(model=PROMPT),
            body(stop=[PROMPT] * 9),
            body(response_format={"type": PROMPT}),
            body(response_format={"type": "json_schema", "json_schema": {"schema": {"pattern": f"(?={PROMPT})"}}}),
            body(**{PROMPT: PROMPT}, user=PROMPT, metadata={"of": PROMPT}),
            body(messages=[{"role": "user", "content": f"{PROMPT} " * 500}]),
        ):
            client.post("/v1/chat/completions", json=wrong)
        client.post("/v1/chat/completions", content=f'{{"model": "fake", "{PROMPT}": ')
        client.get(f"/v1/models/{PROMPT}", params={"of": PROMPT})
        client.get(f"/{PROMPT}", headers={"User-Agent": PROMPT, "X-Said": PROMPT})
        endless = body(stream=True, response_format=None, messages=[{"role": "user", "content": f"{PROMPT}..."}])
        with client.stream("POST", "/v1/chat/completions", json={**endless, "max_tokens": 1_500}) as response:
            next(response.iter_lines())  # and then hang up
        said += client.get("/metrics").text
    return said


def hold_open(node: Node, max_tokens: int = 1_500) -> socket.socket:
    """A request that is in the middle of its answer."""
    endless = [{"role": "user", "content": f"{PROMPT}..."}]
    asked = body(stream=True, response_format=None, messages=endless, max_tokens=max_tokens, temperature=0)
    content = json.dumps(asked).encode()
    opened = socket.create_connection(("127.0.0.1", int(node.url.rpartition(":")[2])), timeout=30)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {node.key}\r\n"
    opened.sendall(
        f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
    )
    assert opened.recv(4_096)
    return opened


def test_the_search_finds_what_it_must(tmp_path: Path) -> None:
    for number, form in enumerate(forms(PROMPT)):
        (tmp_path / f"{number}").write_bytes(b"x" * 7 + form + b"y" * 7)
    assert len({file for file, _ in files_with(PROMPT, tmp_path)}) == len(list(forms(PROMPT)))


def test_no_file_of_a_node_holds_what_was_said_there(home: Home) -> None:
    with running_node(home, "--backend", "fake", **EMBEDDED) as node:
        said = ask_in_every_way(node.url, node.key)
        assert ANSWER in said
        assert "openledger_" in said
        assert PROMPT not in said.partition("# HELP openledger_")[2]
        run(home, "chat", PROMPT, "--max-tokens", "20")
        bought = json.loads(run(home, "chat", PROMPT, "--as-guest", "--max-tokens", "20", "--json"))
        assert bought["receipt"]
        metrics = httpx.get(f"{node.url}/metrics", headers=node.headers).text
        sold = 'requests_total{origin="sold"'
        for line in (sold, "chain_up 1", "chain_height ", "receipts{state=", "earnings_open{"):
            assert f"openledger_{line}" in metrics
        for words in (("status",), ("jobs",), ("earnings",), ("logs", "--lines", "1000"), ("rewards", "show")):
            printed = run(home, *words, "--json")
            assert PROMPT not in printed
            assert ANSWER not in printed
        engine_id = node.status()["engine"]["process_id"]
        with hold_open(node):
            assert files_with(PROMPT, home.root) == files_with(ANSWER, home.root) == []
        with hold_open(node):
            os.kill(engine_id, signal.SIGKILL)  # its crash output is a file too
    assert files_with(PROMPT, home.root) == files_with(ANSWER, home.root) == []


def test_a_node_that_is_killed_in_an_answer_leaves_none_of_it_either(home: Home) -> None:
    process = start_process(home, "--backend", "fake", OPENLEDGER_INFERENCE_CONTEXT_MAX="1000000")
    status = wait_for_status(home, process, lambda found: found["state"] in ("serving", "idle"))
    node = Node(home=home, process=process, url=status["api"]["url"], key=load_api_key(home))
    with hold_open(node, 900_000):
        process.kill()
        process.wait()
    assert files_with(PROMPT, home.root) == []
    with running_node(home, "--backend", "fake") as again:
        (job,) = again.jobs()
        assert job["state"] == "interrupted"
    assert files_with(PROMPT, home.root) == []


def receipt_of(home: Home, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(home, "attribution", "show", digest, "--json"))
    return found


def buy(home: Home) -> str:
    bought = json.loads(run(home, "chat", PROMPT, "--as-guest", "--max-tokens", "20", "--json"))
    digest: str = bought["digest"]
    return digest


def num_sealed(home: Home) -> int:
    """Texts in all ledgers of a data directory, sealed or not."""
    number = 0
    for file in home.root.rglob("ledger.db"):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as ledger:
            number += ledger.execute("SELECT count(*) FROM text").fetchone()[0]
    return number


def test_a_bought_answer_is_there_after_a_restart_sealed_and_nowhere_once_none_is_kept(
    home: Home, tmp_path: Path
) -> None:
    with running_node(home, "--backend", "fake", **EMBEDDED):
        digest = buy(home)
        before, file = receipt_of(home, digest), tmp_path / "answer.html"
        assert (before["question"], before["text"]["state"]) == (PROMPT, "kept")
        run(home, "attribution", "show", digest, "--html", str(file))
        assert PROMPT in file.read_text()
        assert files_with(PROMPT, home.root) == files_with(before["answer"], home.root) == []
    with running_node(home, "--backend", "fake", **EMBEDDED):
        after = receipt_of(home, digest)
        assert [after[name] for name in ("question", "answer", "text")] == [
            before[name] for name in ("question", "answer", "text")
        ]
        assert "kept here, sealed, until" in run(home, "attribution", "verify", digest)
    assert num_sealed(home) == 1
    with running_node(home, "--backend", "fake", **EMBEDDED, OPENLEDGER_PAYER_KEEP_TEXTS_S="0"):
        wait_for(lambda: receipt_of(home, digest)["text"]["state"] == "gone")
        gone, second = receipt_of(home, digest), receipt_of(home, buy(home))
        assert (gone["question"], gone["answer"], second["question"], second["answer"]) == (None,) * 4
        assert "keep_texts_s was lowered to 0 s" in gone["text"]["says"]
        assert second["text"]["state"] == "not_kept"
        assert num_sealed(home) == 0
        assert files_with(PROMPT, home.root) == []
    assert num_sealed(home) == 0
    assert files_with(PROMPT, home.root) == files_with(before["answer"], home.root) == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    with running_network(tmp_path_factory.mktemp("running")) as opened:
        yield opened


def test_what_is_bought_of_another_node_is_in_no_file_of_either(running: RunningNetwork) -> None:
    """Both keep what was said for an audit: sealed."""
    with node_of(running.r).client() as client:
        answer = client.post("/v1/chat/completions", json=body())
        streamed = client.post("/v1/chat/completions", json=body(stream=True))
    assert answer.status_code == 200, answer.text
    assert ANSWER in answer.text
    assert "data: [DONE]" in streamed.text
    assert files_with(PROMPT, running.root) == files_with(ANSWER, running.root) == []
