"""Copies of a chain and of its nodes' ledgers, which most tests begin with, share nothing and miss nothing."""

import logging
from pathlib import Path

import pytest
from support.chain_world.deployed import deployed_chain
from support.chain_world.world import open_world

from openledger_protocol.primitives import check_address

STRANGER = check_address("0x" + "9" * 40)


def test_what_happens_on_one_copy_happens_on_no_other() -> None:
    one, other = deployed_chain(), deployed_chain()
    assert one.network == other.network
    assert one.client.head() == other.client.head()
    one.fund(STRANGER, open_wei=5)
    assert one.read("OpenToken", "balanceOf", STRANGER) == 5
    assert other.read("OpenToken", "balanceOf", STRANGER) == 0


def test_other_settings_are_another_chain() -> None:
    assert deployed_chain(seed=b"\4" * 32).network.network != deployed_chain().network.network
    guarded = deployed_chain(guardian=STRANGER)
    assert guarded.read("AttributionRewards", "guardian") == STRANGER
    assert deployed_chain().read("AttributionRewards", "guardian") != STRANGER


def test_the_ledgers_of_a_world_are_new_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    generations = []
    with caplog.at_level(logging.WARNING):
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            with open_world(tmp_path / name) as world:
                generations.append(world.node.ledger.generations.current)
    assert [each.why for each in generations] == ["it is new"] * 2
    assert generations[0].generation != generations[1].generation
    assert not caplog.records
