"""`adapters pull` from peers: the progress of the daemon's pull, its result, and its end by Ctrl-C."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.verbs import Run

from openledger_node.cli import adapters
from openledger_node.cli.adapters import pull_from_peers
from openledger_node.cli.daemon_client import RefusedError
from openledger_node.errors import NodeError
from openledger_node.home import Home

PULL = {"name": "lake", "state": "running", "what": "downloading", "done_bytes": 0, "total_bytes": 30_000_000}
PULL |= dict.fromkeys(["why", "exit_code", "adapter", "digest", "received_bytes", "from_peer", "missing_versions"])
DONE = PULL | {"state": "done", "adapter": "lake@11111111", "digest": "0x11", "received_bytes": 30_000_000}
DONE |= {"from_peer": "12D3Koo", "missing_versions": {}}


class Daemon:
    """Answers the order and each look with the next state of a pull."""

    def __init__(self, *states: dict[str, Any] | None) -> None:
        self._states: Iterator[dict[str, Any] | None] = iter(states)
        self.asked: list[str] = []

    def __call__(self, home: Home, method: str, path: str, body: Any = None) -> Any:
        self.asked.append(path)
        if path.endswith("/cancel"):
            return {}
        pull = next(self._states)
        return None if pull is None else {"pull": pull}


@pytest.fixture
def pull(home: Home, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*states: dict[str, Any] | None, sleep: Any = lambda _: None) -> tuple[dict[str, Any], Daemon]:
        daemon = Daemon(*states)
        monkeypatch.setattr(adapters, "ask_daemon", daemon)
        return pull_from_peers(home, "lake", sleep=sleep), daemon

    return run


def test_the_terminal_shows_how_far_the_pull_is(pull: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found, daemon = pull(PULL | {"what": "asking peers", "total_bytes": None}, PULL, PULL | {"done_bytes": 9}, DONE)
    shown = capsys.readouterr().err
    assert "asking peers" in shown
    assert "downloading" in shown
    assert daemon.asked == ["/adapters/pull", *["/adapters/work"] * 3]
    assert found.keys() == {"adapter", "digest", "from_peer", "bytes", "duration_s", "missing_versions"}
    assert (found["adapter"], found["bytes"], found["missing_versions"]) == ("lake@11111111", 30_000_000, {})


@pytest.mark.parametrize(
    ("states", "why", "code"),
    [
        ((PULL, PULL | {"state": "failed", "why": "no peer offers 'lake'", "exit_code": 6}), "no peer offers", 6),
        ((PULL, PULL | {"state": "cancelled"}), "was cancelled", 1),
        ((PULL, PULL | {"name": "other"}), "pulls another adapter", 1),
        ((PULL, None), "was stopped", 1),
        ((None,), "only a running node has peers", 1),
    ],
    ids=["failed", "cancelled", "another pull", "stopped", "no node"],
)
def test_a_pull_that_did_not_end_well_says_why(pull: Any, states: Any, why: str, code: int) -> None:
    with pytest.raises(NodeError, match=why) as raised:
        pull(*states)
    assert raised.value.exit_code == code
    assert isinstance(raised.value, RefusedError) is (code == 6)


def test_ctrl_c_cancels_the_pull_of_the_node(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    daemon = Daemon(PULL)
    monkeypatch.setattr(adapters, "ask_daemon", daemon)
    with pytest.raises(KeyboardInterrupt):
        pull_from_peers(home, "lake", sleep=interrupt)
    assert daemon.asked == ["/adapters/pull", "/adapters/pull/cancel"]


def test_a_pull_without_the_rows_says_how_to_ask_for_them_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = DONE | {"missing_versions": {"datanets/0x1/0x2.json": "no peer has it"}}
    monkeypatch.setattr(adapters, "ask_daemon", Daemon(done))
    shown = " ".join(run("adapters", "pull", "lake").stderr.split())
    assert "the rows of its Datanet are not here, so it can't be sold or checked: no peer has it." in shown
    assert "`openledger-node adapters pull lake@11111111` asks peers again" in shown
