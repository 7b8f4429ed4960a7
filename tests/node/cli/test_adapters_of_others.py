"""`adapters search` and `adapters pull`: what others offer, in order, and how far the node's pull is."""

from collections.abc import Iterator
from typing import Any

import pytest
from node.cli.verbs import Run

from openledger_node.cli import adapters
from openledger_node.cli.adapters import earned_by, matching_adapters, pull_from_peers, show_offered, taught_by
from openledger_node.cli.daemon_client import RefusedError
from openledger_node.errors import NodeError
from openledger_node.home import Home

OPEN = 10**18
OWNER = "0x" + "a" * 40


def offered_adapter(name: str, **fields: Any) -> dict[str, Any]:
    taught = {"id": "0x" + "3" * 64, "name": "harbour", "licence": "CC-BY-4.0", "description": "Boats"}
    base = {"base": "fake", "base_digest": "0x" + "2" * 64, "is_our_base": True, "is_here": False}
    price = {"num_sellers": 1, "num_in_memory": 1, "price_wei": str(OPEN), "price_cold_wei": None}
    earned = {"owner": OWNER, "datanets": [taught], "is_retired": False, "num_claims": 0, "earned_wei": "0"}
    named = {"name": name, "full_name": f"{name}@11111111", "id": "0x" + "1" * 64}
    return {**named, **base, **price, **earned, **fields}


def network(*adapters: dict[str, Any], unoffered: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    counted = {"unoffered": list(unoffered), "num_unoffered": len(unoffered)}
    return {"base": "fake", "bases": [], "adapters": list(adapters), **counted}


def names(found: dict[str, Any]) -> list[str]:
    return [each["name"] for each in found["adapters"]]


def test_those_that_can_run_here_and_have_earned_come_first() -> None:
    found = network(
        offered_adapter("zoo"),
        offered_adapter("rich-elsewhere", is_our_base=False, earned_wei=str(9 * OPEN)),
        offered_adapter("earner", earned_wei=str(OPEN)),
        offered_adapter("popular", num_sellers=5),
    )
    assert names(matching_adapters(found, "", "")) == ["earner", "popular", "zoo", "rich-elsewhere"]


@pytest.mark.parametrize(
    ("words", "base", "expected"),
    [
        ("HARBOUR", "", ["harbour-keeper", "lake"]),
        ("harbour lake", "", ["lake"]),
        (OWNER.upper().replace("0X", "0x"), "", ["harbour-keeper", "lake"]),
        ("", "smol", ["harbour-keeper"]),
        ("", "0x2222", ["ferry"]),
        ("lake", "smol", []),
    ],
)
def test_all_words_and_the_base_must_match(words: str, base: str, expected: list[str]) -> None:
    found = network(
        offered_adapter("lake"),
        offered_adapter("harbour-keeper", base="SmolLM2"),
        offered_adapter("ferry", base=None, datanets=[], owner="0x" + "b" * 40),
    )
    assert sorted(names(matching_adapters(found, words, base))) == expected


@pytest.mark.parametrize(
    ("fields", "taught", "earned"),
    [
        ({"num_claims": 1, "earned_wei": str(OPEN)}, "harbour (CC-BY-4.0)", "1 OPEN in 1 claim"),
        ({"datanets": [], "num_claims": None, "earned_wei": None}, "no Datanet", "–"),
        ({"datanets": None}, "not registered yet", "0 OPEN in 0 claims"),
        ({"datanets": [{"id": "0x" + "3" * 64, "name": None, "licence": None}]}, "0x33333333…", "0 OPEN in 0 claims"),
    ],
)
def test_the_chains_word_is_put_into_words(fields: dict[str, Any], taught: str, earned: str) -> None:
    found = offered_adapter("lake", **fields)
    assert (taught_by(found), earned_by(found)) == (taught, earned)


def test_what_nobody_offers_is_said_and_what_is_not_listed_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lost = offered_adapter("lost", full_name=None, earned_wei=str(2 * OPEN), num_claims=3)
    found = {**network(unoffered=(lost,)), "num_unoffered": 301}
    show_offered(matching_adapters(found, "", ""), "")
    shown = capsys.readouterr()
    assert "no node offers an adapter now" in shown.out
    assert "registered, and offered by no other node now: 301" in shown.out
    assert "2 OPEN in 3 claims" in shown.out
    assert "0x1111111111111111…" in shown.out
    assert "300 of them are not listed: name a part of an owner, a Datanet or an id" in shown.err


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
    """Pull an adapter while the node goes through these states; return the result and what the node was asked."""

    def run(*states: dict[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
        daemon = Daemon(*states)
        monkeypatch.setattr(adapters, "ask_daemon", daemon)
        return pull_from_peers(home, "lake", sleep=lambda _: None), daemon.asked

    return run


def test_the_terminal_shows_how_far_the_pull_is(pull: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found, asked = pull(PULL | {"what": "asking peers", "total_bytes": None}, PULL, PULL | {"done_bytes": 9}, DONE)
    shown = capsys.readouterr().err
    assert ("asking peers" in shown, "downloading" in shown) == (True, True)
    assert asked == ["/adapters/pull", *["/adapters/work"] * 3]
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
