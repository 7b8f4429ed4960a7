"""`models use` while a node runs: it starts again in the same process, with streams, broken bases and kills."""

import json
import os
import signal
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.commands import run_command
from support.pages import let_in
from support.processes.nodes import (
    START_TIMEOUT_S,
    Node,
    node_environment,
    operator_of,
    running_node,
    wait_for,
)
from support.tiny import make_base

from openledger_node.cli.daemon_client import SilentError, ask_daemon
from openledger_node.home import Home
from openledger_node.models.bases import describe_folder

pytestmark = pytest.mark.process

MODEL_ERROR, CONFIG_ERROR = 7, 3
LONG_TOKENS = 200


def add_base(home: Home, name: str, *, seed: int) -> Path:
    folder = make_base(home.models / name, seed=seed)
    describe_folder(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("node"))
    for seed, name in enumerate(("tiny-a", "tiny-b", "torn")):
        add_base(home, name, seed=seed)
    home.config_file.write_text('[inference]\nbase = "tiny-a"  # mine\n\n[node]\nnetwork = "local"\n')
    return home


@contextmanager
def running_process(home: Home) -> Iterator[Node]:
    """A node in a process of its own: a fork of the tests' would count as ended once it executes itself again."""
    with running_node(home, PYTHONPATH=os.environ.get("PYTHONPATH", "")) as node:
        yield node


@pytest.fixture(scope="module")
def node(home: Home) -> Iterator[Node]:
    with running_process(home) as node:
        yield node


def use(home: Home, name: str) -> tuple[int, str, str]:
    ran = run_command("models", "use", name, env=node_environment(home, COLUMNS="400"), timeout_s=START_TIMEOUT_S)
    return ran.returncode, ran.stdout, ran.stderr


def order(node: Node, name: str) -> httpx.Response:
    with operator_of(node.home) as operator:
        return operator.post("/models/use", json={"base": name})


def serves(node: Node, base: str) -> bool:
    """True once the node has started again and serves a base."""
    try:
        status = ask_daemon(node.home, "GET", "/status", up_within_s=0)
    except SilentError:
        return False
    return bool(status and status["base"] == base and status["state"] == "idle")


def written(home: Home) -> str:
    return str(tomllib.loads(home.config_file.read_text())["inference"]["base"])


def stream(node: Node, model: str, pieces: list[str], begun: threading.Event) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": LONG_TOKENS}
    body |= {"stream": True}
    with node.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            pieces.append(line)
            begun.set()


def test_a_running_answer_ends_whole_and_the_page_and_the_key_stay(node: Node) -> None:
    process = node.process.pid
    with node.client() as client:
        token = let_in(client, node.home)
        pieces: list[str] = []
        begun = threading.Event()
        reader = threading.Thread(target=stream, args=(node, "tiny-a", pieces, begun))
        reader.start()
        assert begun.wait(START_TIMEOUT_S)
        status, _, said = use(node.home, "tiny-b")
        reader.join(START_TIMEOUT_S)
        assert (status, "tiny-b was tiny-a before; the node serves it now" in said) == (0, True), said
        assert pieces[0].startswith("data"), pieces[:3]
        events = [json.loads(line[6:]) for line in pieces if line.startswith("data: {")]
        ends = [choice["finish_reason"] for event in events for choice in event["choices"]]
        assert [each for each in ends if each] in (["length"], ["stop"])
        assert pieces[-2:] == ["data: [DONE]", ""]
    with node.client() as again:
        again.cookies = client.cookies
        models = again.get("/v1/models").raise_for_status().json()["data"]
        assert [each["id"] for each in models] == ["tiny-b"]
        assert again.get("/session", headers={"X-OpenLedger-Token": token}).is_success
    assert (node.status()["base"], node.process.pid, node.process.poll()) == ("tiny-b", process, None)
    assert (written(node.home), "# mine" in node.home.config_file.read_text()) == ("tiny-b", True)


def test_limits_that_were_set_before_the_change_still_hold(node: Node) -> None:
    with operator_of(node.home) as operator:
        operator.post("/limits", json={"disk_bytes": 77 * 10**9}).raise_for_status()
        before = node.status()["base"]
        wanted = "tiny-a" if before == "tiny-b" else "tiny-b"
        order(node, wanted).raise_for_status()
    wait_for(lambda: serves(node, wanted), within_s=START_TIMEOUT_S)
    with operator_of(node.home) as operator:
        assert operator.get("/limits").json()["disk_bytes"] == 77 * 10**9


def test_a_torn_base_is_refused_and_the_node_goes_on_as_it_was(node: Node) -> None:
    before = node.status()["base"]
    weights = node.home.models / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    status, _, said = use(node.home, "torn")
    assert (status, "is not as it was when torn was described" in said) == (MODEL_ERROR, True), said
    assert (node.status()["base"], node.status()["state"], written(node.home)) == (before, "idle", before)
    body = {"model": before, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    with node.client() as client:
        client.post("/v1/chat/completions", json=body).raise_for_status()


@pytest.mark.parametrize(
    ("name", "says"),
    [("nowhere", "run `openledger-node models pull nowhere`"), ("served", "is the base that is served already")],
)
def test_a_base_that_is_not_here_or_served_already_is_refused_and_nothing_drains(
    node: Node, name: str, says: str
) -> None:
    before = node.status()
    answer = order(node, before["base"] if name == "served" else name)
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (400, True)
    assert node.status()["state"] != "draining"


def test_the_base_that_is_served_is_not_removed(node: Node) -> None:
    served = node.status()["base"]
    with operator_of(node.home) as operator:
        refused = operator.post("/models/remove", json={"base": served})
        assert "serve another base first, by `openledger-node models use BASE`" in refused.json()["error"]["message"]
        spare = add_base(node.home, "spare", seed=7)
        freed = operator.post("/models/remove", json={"base": "spare"}).json()
    assert (freed["name"], freed["freed_bytes"] > 1000, spare.exists()) == ("spare", True, False)


def test_a_kill_during_the_change_leaves_settings_that_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for seed, name in enumerate(("tiny-a", "tiny-b")):
        add_base(home, name, seed=seed)
    home.config_file.write_text('[inference]\nbase = "tiny-a"\n\n[node]\nnetwork = "local"\n')
    with running_process(home) as node:
        order(node, "tiny-b").raise_for_status()
        node.signal(signal.SIGKILL)
        node.wait()
    with running_node(home) as node:
        assert node.status()["base"] == written(home) == "tiny-b"


def test_a_stop_during_the_change_wins_and_the_next_start_serves_the_base(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for seed, name in enumerate(("tiny-a", "tiny-b")):
        add_base(home, name, seed=seed)
    home.config_file.write_text('[inference]\nbase = "tiny-a"\n\n[node]\nnetwork = "local"\n')
    with running_process(home) as node:
        begun = threading.Event()
        reader = threading.Thread(target=stream, args=(node, "tiny-a", [], begun))
        reader.start()
        assert begun.wait(START_TIMEOUT_S)
        order(node, "tiny-b").raise_for_status()
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
        reader.join(START_TIMEOUT_S)
    assert written(home) == "tiny-b"


def test_a_stopped_node_takes_the_base_at_its_next_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    add_base(home, "tiny-a", seed=0)
    status, _, said = use(home, "tiny-a")
    assert (status, written(home)) == (0, "tiny-a"), said
    assert "the next `openledger-node start` serves it" in said
    status, _, said = use(home, "tiny-a")
    assert (status, "is the base that is served already" in said) == (CONFIG_ERROR, True)
