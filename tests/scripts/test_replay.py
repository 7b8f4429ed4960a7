"""A replay over fourteen epochs gives what a chain that really had the other values has paid, to the wei."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from replayed_life import EPOCHS, NODES, Life, live

from openledger_node.audit.chain import pin_chain
from openledger_node.audit.replay import Replay, replay
from openledger_node.audit.resplit import SplitSums
from openledger_node.chain.dev.constants import DEVELOPMENT_PARAMS

CHANGES = {"stakers_ppm": 41_113, "data_ppm": 234_567}
ALL = EPOCHS + 10


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    found = live(DEVELOPMENT_PARAMS)
    yield found
    found.client.close()


@pytest.fixture(scope="module")
def other_life() -> Iterator[Life]:
    """The same life on a chain that had the other values from its first block."""
    found = live(replace(DEVELOPMENT_PARAMS, **CHANGES))
    yield found
    found.client.close()


def replayed(life: Life, changes: Mapping[str, int], epochs: int = ALL) -> Replay:
    chain = pin_chain(life.client, life.network)
    return replay(chain, chain.events(), changes, epochs)


def sums(tally: SplitSums) -> dict[str, Any]:
    return {
        name: dict(getattr(tally, name)) for name in ("roles", "nodes", "datanets", "adapters", "accounts", "gross")
    }


def test_by_the_values_of_their_time_all_claims_give_what_the_chain_paid(life: Life) -> None:
    found = replayed(life, {})
    assert sums(found.was) == sums(found.would)
    assert found.num_claims == EPOCHS
    assert dict(found.was.accounts) == life.tell()
    assert found.was.roles["stakers"] == life.chain.read("NodeStaking", "totals")["notified"]
    assert found.gross_wei == life.chain.read("PaymentChannels", "totals")["released"]


def test_other_values_give_what_a_chain_with_these_values_has_paid(life: Life, other_life: Life) -> None:
    found = replayed(life, CHANGES)
    assert dict(found.would.accounts) == other_life.tell()
    assert found.would.roles["stakers"] == other_life.chain.read("NodeStaking", "totals")["notified"]
    assert sums(found.would) == sums(replayed(other_life, {}).was)
    assert sums(found.would) != sums(found.was)


def test_each_nodes_part_as_a_staker_is_what_its_stake_has_earned(life: Life, other_life: Life) -> None:
    would = replayed(life, CHANGES).would
    earned = {node: other_life.chain.read("NodeStaking", "nodeOf", node)["rewards_"] for node in NODES}
    assert would.staked == earned
    assert all(earned.values())
