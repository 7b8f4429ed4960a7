"""`demand`: missed calls with their commands, strangers' words apart, and the node's standing."""

from typing import Any

import pytest

from openledger_node.cli import demand as command
from openledger_node.errors import NetworkError
from openledger_node.home import Home

MISSED = {"model": "lake@1a2b3c4d", "adapter_id": "0x" + "1a" * 32, "cause": "lacking", "is_proven": True}
MISSED |= {"calls": 12, "callers": 3, "since": "2026-01-31T10:00:00Z", "last": "2026-01-31T12:00:00Z"}
MISSED |= {"tokens_in": 3_000, "tokens_out": 512, "wins": "this adapter on the disk"}
MISSED |= {"cli": "openledger-node adapters pull lake@1a2b3c4d"}
STANDING = {"model": "fake", "rank": 2, "tied": 1, "offers": 3, "answers": 4, "buyers": 2, "proven_buyers": 1}
STANDING |= {"proven_after": 3, "answers_left": 0, "newcomer_call_one_in": 20}
FOUND = {
    "adapters": [],
    "wanted": [{"model": "poet", "requests": 2, "by_hour": []}],
    "missed": [MISSED, {**MISSED, "model": "adapter 0xffffffff…", "is_proven": False, "cli": None}],
    "standing": STANDING,
}


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, home: Home, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command on a status; what it prints is for a wide screen."""

    def run(status: dict[str, Any] | None, *, as_json: bool = False) -> Any:
        monkeypatch.setattr(command, "open_node_home", lambda: home)
        monkeypatch.setattr(command, "ask_daemon", lambda *_: status)
        command.demand(as_json=as_json)
        return capsys.readouterr()

    return run


def test_a_missed_call_is_shown_with_its_command_and_a_strangers_without(ask: Any) -> None:
    shown = ask({"demand": FOUND})
    text = " ".join((shown.out + shown.err).split())
    assert "openledger-node adapters pull lake@1a2b3c4d" in text
    assert text.count("openledger-node adapters pull") == 1
    assert "it may be made up" in text
    assert "adapter 0xffffffff…" in text
    assert "poet" in text
    assert "place 2 of 3 for fake, shared with 1 other" in text
    assert "with 1 of them, after 4 answers for 2 buyers" in text
    assert "1 call in 20 tries out" in text


def test_the_json_is_the_statuss_own_and_a_node_without_peers_or_a_stopped_one_says_so(ask: Any) -> None:
    assert '"schema": "openledger.demand/1"' in ask({"demand": FOUND}, as_json=True).out
    assert '"missed": []' in ask({"demand": None}, as_json=True).out
    assert "`openledger-node network join FILE`" in ask({"demand": None}).err
    with pytest.raises(NetworkError, match="openledger-node start"):
        ask(None)
