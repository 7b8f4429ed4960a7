"""Proposals as the page reads them: each value that would change, and the first epoch in which it would be active."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain_world.voter import SUPPLY_WEI, Voters, open_voters
from support.chain_world.world import open_world

from openledger_protocol.epoch import epoch_at


@pytest.fixture
def voters(tmp_path: Path) -> Iterator[Voters]:
    with open_world(tmp_path, supply_wei=SUPPLY_WEI) as world:
        yield open_voters(tmp_path / "voters", world)


def test_a_proposal_tells_its_values_their_bounds_and_their_first_epoch(voters: Voters) -> None:
    voters.do("gov propose", values={"dataPpm": "22%", "minStake": "150"})
    shown = voters.show()
    assert shown["values"] == [
        {
            "key": "dataPpm",
            "was": "200000",
            "was_text": "20 %",
            "would": "220000",
            "would_text": "22 %",
            "bounds": "10 % to 30 %",
        },
        {
            "key": "minStake",
            "was": str(100 * 10**18),
            "was_text": "100 OPEN",
            "would": str(150 * 10**18),
            "would_text": "150 OPEN",
            "bounds": "1 OPEN to 1,000,000 OPEN",
        },
    ]
    assert shown["verdicts"] == []
    earliest = epoch_at(voters.world.now_s, voters.world.node.windows) + 2
    assert shown["active_epoch"] >= earliest
    voters.carry()
    done = voters.show()
    (value,) = [each for each in voters.ask("gov_params")["values"] if each["key"] == "dataPpm"]
    assert done["active_epoch"] == value["queued"][0]["from_epoch"] >= shown["active_epoch"]
    assert done["values"] == shown["values"], "they are compared with those before it, not with its own"


def test_a_proposal_that_was_defeated_is_active_in_no_epoch(voters: Voters) -> None:
    voters.do("gov propose", values={"draws": "5"})
    voters.begin()
    voters.end()
    shown = voters.show()
    assert (shown["state"], shown["active_epoch"]) == ("defeated", None)


def test_the_list_can_be_cut_to_the_newest(voters: Voters) -> None:
    voters.do("gov propose", values={"draws": "5"})
    voters.do("gov propose", values={"draws": "6"}, is_anyway=True)
    found = voters.ask("gov_list", all=True, limit=1)
    assert found["num_proposals"] == 2
    assert [each["number"] for each in found["proposals"]] == [2]
