"""`gov` on a terminal: values, proposals and votes are shown whole, safely, and with the next command."""

from typing import Any

import pytest
from support.hostile_strings import HOSTILE, acting

from openledger_node.cli.gov_view import show_params, show_proposal, show_proposals, show_votes
from openledger_node.cli.units import pairs_of, seconds_of
from openledger_node.errors import InputError

ADA, BEN = "0x" + "a" * 40, "0x" + "b" * 40
OPEN = 10**18
NOW_S = 1_700_000_000


def proposal(**changes: Any) -> dict[str, Any]:
    action = {"text": "set values", "is_known": True, "target": BEN, "data": "0x00", "changes": ["draws: 4 → 5"]}
    voter = {"voter": BEN, "support": "for", "weight_wei": str(3 * OPEN), "reason": "yes"}
    named = {"number": 7, "id": "0x" + "7" * 64, "state": "active", "is_open": True, "proposer": ADA}
    calls = {"title": "draws: 4 → 5", "actions": [action], "num_calls": 1, "is_understood": True}
    times = {
        "proposed_at_s": NOW_S - 10,
        "votes_from_s": NOW_S - 5,
        "votes_until_s": NOW_S + 25,
        "is_extended": False,
    }
    ending = {"execute_from_s": None, "executed_in": None, "is_carried": False, "next": "gov vote 7 for"}
    votes = {"for_wei": str(3 * OPEN), "against_wei": str(OPEN), "abstain_wei": "0", "quorum_wei": str(4 * OPEN)}
    own = {"own": {"account": ADA, "weight_wei": str(OPEN), "support": None}, "num_voters": 2, "voters": [voter]}
    text = {"description": "it is enough", "is_description_cut": False, "chain_time_s": NOW_S}
    return {**named, **calls, **times, **ending, **votes, **own, **text, **changes}


def test_a_proposal_shows_its_votes_and_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    show_proposal(proposal())
    shown = capsys.readouterr()
    for text in (
        "proposal 7  active",
        "draws: 4 → 5",
        "it is enough",
        "3 OPEN for, 1 OPEN against, 0 OPEN abstain",
        "3 OPEN of 4 OPEN, for and abstain",
        "voting ends in 25 s",
        "1 OPEN of votes count, not cast",
        f"for      3 OPEN {BEN}  yes",
        "and 1 voters with fewer votes",
    ):
        assert text in shown.out, text
    assert "next: `openledger-node gov vote 7 for`" in shown.err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "pending", "votes_from_s": NOW_S + 4, "quorum_wei": None}, "voting begins in 4 s"),
        ({"is_extended": True}, "voting ends in 25 s, after a late quorum"),
        ({"state": "queued", "execute_from_s": NOW_S + 9}, "can be executed in 9 s"),
        ({"state": "succeeded"}, "was carried; anybody can queue it"),
        ({"own": {"account": ADA, "weight_wei": "0", "support": "against"}}, "0 OPEN of votes count, cast against"),
        ({"num_calls": 1_000}, "and 999 more calls, which are not shown"),
        ({"is_description_cut": True}, "… the text goes on"),
    ],
)
def test_each_state_of_a_proposal_has_words(
    changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_proposal(proposal(**changes))
    assert words in capsys.readouterr().out


def test_a_call_without_words_is_shown_raw_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = {"text": "send a call", "is_known": False, "target": BEN, "data": "0xdeadbeef", "changes": []}
    show_proposal(proposal(actions=[unknown], is_understood=False))
    shown = capsys.readouterr()
    assert f"to {BEN}, 0xdeadbeef" in shown.out
    assert "this node can't say in words what all of these calls do" in shown.err.replace("\n", " ")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_strangers_text_does_nothing_to_a_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    voter = {"voter": BEN, "support": "for", "weight_wei": "0", "reason": text}
    action = {"text": text, "is_known": False, "target": BEN, "data": text, "changes": []}
    show_proposal(proposal(description=text, voters=[voter], actions=[action]))
    show_proposals({"chain_time_s": NOW_S, "proposals": [proposal(title=text)]}, is_all=True)
    shown = capsys.readouterr()
    assert not acting(shown.out + shown.err)


RULES = {"threshold_wei": "1", "quorum_wei": "1", "delay_s": 5, "period_s": 30, "timelock_s": 10}


def test_votes_say_who_casts_them(capsys: pytest.CaptureFixture[str]) -> None:
    for delegate, words in (
        (None, "cast by nobody yet: `openledger-node gov delegate self`"),
        (ADA, "cast by this account itself"),
        (BEN, f"cast by {BEN}"),
    ):
        votes = {"account": ADA, "votes_wei": "5", "held_wei": "7", "staked_wei": "9", "delegate": delegate}
        show_votes({**votes, **RULES})
        assert words in capsys.readouterr().out


def test_values_show_what_is_queued_and_what_nobody_can_change(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "key": "draws",
        "text": "4",
        "queued": [{"from_epoch": 12_345, "value": "5", "text": "5"}],
        "bounds": "4 to 16",
        "moves_from_epoch": 12_350,
        "meaning": "places of each payout list that its node must show",
    }
    guardian = {"account": ADA, "is_own": True, "stopped_until_s": NOW_S + 5, "can_stop": False}
    fixed = [{"name": "slash_gap_s", "seconds": 60, "meaning": "from one slash of a node to the next"}]
    epoch = {"chain_time_s": NOW_S, "epoch": 12_343, "epoch_ends_s": NOW_S + 3}
    show_params({**epoch, "values": [value], "fixed": fixed, "guardian": guardian, "voting": RULES})
    shown = capsys.readouterr().out
    for text in (
        "5 from epoch 12,345",
        "4 to 16",
        "slash_gap_s",
        "again: draws from epoch 12,350",
        f"{ADA} (this node) has stopped new deposits, which ends in 5 s",
    ):
        assert text in shown, text


def test_durations_and_pairs_are_read_and_others_refused() -> None:
    assert [seconds_of(text) for text in ("30s", "12h", "7d", "2w")] == [30, 43_200, 604_800, 1_209_600]
    for text in ("", "5", "1y", "-5s", "9" * 20):
        with pytest.raises(InputError, match="is not a duration: give one such as"):
            seconds_of(text)
    assert pairs_of(["minStake=150", "dataPpm = 4%"], "") == {"minStake": "150", "dataPpm": "4%"}
    for texts in (["minStake"], ["=5"], ["minStake="]):
        with pytest.raises(InputError, match="is not KEY=VALUE"):
            pairs_of(texts, "KEY=VALUE")
    with pytest.raises(InputError, match="draws is given twice"):
        pairs_of(["draws=5", "draws=6"], "")
