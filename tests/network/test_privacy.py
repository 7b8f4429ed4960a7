"""Prompts and answers stay where they belong: whatever happens to a node, no file of it holds them in clear."""

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from network.replies import streaming
from support.canary import files_with
from support.commands import run_command
from support.processes.nodes import EMBEDDED, node_environment, running_node, wait_for

from openledger_node.home import Home

pytestmark = pytest.mark.process

TEXTS = ("question", "answer", "text")
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


def test_no_file_of_a_node_holds_what_was_said_there_and_its_payer_reads_it(home: Home, tmp_path: Path) -> None:
    """A bought answer is sealed: its payer can read it, also after the node's end, until it is kept no longer."""
    with running_node(home, "--backend", "fake", **EMBEDDED) as node:
        said = ask_in_every_way(node.url, node.key)
        assert ANSWER in said
        assert "openledger_" in said
        assert PROMPT not in said.partition("# HELP openledger_")[2]
        run(home, "chat", PROMPT, "--max-tokens", "20")
        digest = buy(home)
        before, file = receipt_of(home, digest), tmp_path / "answer.html"
        assert (before["question"], before["text"]["state"]) == (PROMPT, "kept")
        run(home, "attribution", "show", digest, "--html", str(file))
        assert PROMPT in file.read_text()
        metrics = httpx.get(f"{node.url}/metrics", headers=node.headers).text
        sold = 'requests_total{origin="sold"'
        for line in (sold, "chain_up 1", "chain_height ", "receipts{state=", "earnings_open{"):
            assert f"openledger_{line}" in metrics
        for words in (("status",), ("jobs",), ("earnings",), ("logs", "--lines", "1000"), ("rewards", "show")):
            printed = run(home, *words, "--json")
            assert PROMPT not in printed
            assert ANSWER not in printed
        engine_id = node.status()["engine"]["process_id"]
        with streaming(node, 1_500, prompt=f"{PROMPT}..."):
            assert files_with(PROMPT, home.root) == files_with(ANSWER, home.root) == []
        with streaming(node, 1_500, prompt=f"{PROMPT}..."):
            os.kill(engine_id, signal.SIGKILL)  # its crash output is a file too
    assert files_with(PROMPT, home.root) == files_with(ANSWER, home.root) == []
    assert num_sealed(home) == 1

    with running_node(home, "--backend", "fake", **EMBEDDED):
        after = receipt_of(home, digest)
        assert [after[name] for name in TEXTS] == [before[name] for name in TEXTS]
        assert "kept here, sealed, until" in run(home, "attribution", "verify", digest)

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
