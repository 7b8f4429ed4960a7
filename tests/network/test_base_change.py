"""`models use` while a node runs: it starts again in the same process, with streams, broken bases and kills.

tests/node/operator/test_base_change.py and tests/node/cli/test_base_verbs.py have what is refused.
"""

import os
import signal
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from network.replies import streaming
from support.commands import run_command
from support.pages import let_in
from support.processes.nodes import START_TIMEOUT_S, Node, node_environment, operator_of, running_node
from support.tiny import make_base

from openledger_node.home import Home
from openledger_node.models.bases import describe_folder

pytestmark = pytest.mark.process

MODEL_ERROR = 7
LONG_TOKENS = 200


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    for seed, name in enumerate(("tiny-a", "tiny-b", "torn")):
        describe_folder(make_base(home.models / name, seed=seed))
    home.config_file.write_text('[inference]\nbase = "tiny-a"  # mine\n\n[node]\nnetwork = "local"\n')
    return home


@contextmanager
def running_process(home: Home) -> Iterator[Node]:
    """A node in a process of its own: a fork of the tests' would count as ended once it executes itself again."""
    with running_node(home, PYTHONPATH=os.environ.get("PYTHONPATH", "")) as node:
        yield node


def use(home: Home, name: str) -> tuple[int, str, str]:
    ran = run_command("models", "use", name, env=node_environment(home, COLUMNS="400"), timeout_s=START_TIMEOUT_S)
    return ran.returncode, ran.stdout, ran.stderr


def order(node: Node, name: str) -> httpx.Response:
    with operator_of(node.home) as operator:
        return operator.post("/models/use", json={"base": name})


def written(home: Home) -> str:
    return str(tomllib.loads(home.config_file.read_text())["inference"]["base"])


def test_a_node_changes_its_base_while_it_answers_and_survives_a_torn_base_a_kill_and_a_stop(home: Home) -> None:
    """The page's session, the key and the owner's limits outlive the change; so do settings a kill in the middle."""
    with running_process(home) as node:
        process = node.process.pid
        with operator_of(home) as operator:
            operator.post("/limits", json={"disk_bytes": 77 * 10**9}).raise_for_status()
        with node.client() as client:
            token = let_in(client, home)
            with streaming(node, LONG_TOKENS, model="tiny-a") as reply:
                status, _, said = use(home, "tiny-b")
        assert (status, "tiny-b was tiny-a before; the node serves it now" in said) == (0, True), said
        assert (reply.finish_reason in ("length", "stop"), reply.is_cut) == (True, False)
        with node.client() as again:
            again.cookies = client.cookies
            models = again.get("/v1/models").raise_for_status().json()["data"]
            assert [each["id"] for each in models] == ["tiny-b"]
            assert again.get("/session", headers={"X-OpenLedger-Token": token}).is_success
        assert (node.status()["base"], node.process.pid, node.process.poll()) == ("tiny-b", process, None)
        assert (written(home), "# mine" in home.config_file.read_text()) == ("tiny-b", True)
        with operator_of(home) as operator:
            assert operator.get("/limits").json()["disk_bytes"] == 77 * 10**9

        weights = home.models / "torn" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:2000])
        status, _, said = use(home, "torn")
        assert (status, "is not as it was when torn was described" in said) == (MODEL_ERROR, True), said
        assert (node.status()["base"], node.status()["state"], written(home)) == ("tiny-b", "idle", "tiny-b")

        order(node, "tiny-a").raise_for_status()
        node.signal(signal.SIGKILL)
        node.wait()
    with running_process(home) as node:
        assert node.status()["base"] == written(home) == "tiny-a"
        with streaming(node, LONG_TOKENS, model="tiny-a"):
            order(node, "tiny-b").raise_for_status()
            node.signal(signal.SIGTERM)
            assert node.wait() == 0
    assert written(home) == "tiny-b", "the next start serves it"
