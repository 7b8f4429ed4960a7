"""A replay over fourteen epochs gives what a chain that really had the other values has paid, to the wei."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import pytest
from audited_economy import OPEN, WINDOWS
from hypothesis import given, settings
from hypothesis import strategies as st
from replayed_life import EPOCHS, NODES, Life, live
from support.chain_world.contract_world import ADAPTERS, STRANGER_KEY, open_contract_world
from support.depth import depth

from openledger_node.audit.chain import PinnedChain, pin_chain
from openledger_node.audit.claims import claim_name
from openledger_node.audit.draws import caught_ppm, least_cost_ppm
from openledger_node.audit.replay import ClaimCount, Replay, replay
from openledger_node.audit.resplit import SplitSums
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.constants import DEVELOPMENT_PARAMS
from openledger_node.errors import ChainError
from openledger_protocol.constants import PPM
from openledger_protocol.epoch import Params
from openledger_protocol.events import Event
from openledger_protocol.primitives import Digest, Wei
from openledger_protocol.settlement import Item

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


# ---- what a replay refuses, and what it leaves out


def _one_more(event: Event, *path: str) -> Event:
    """The event with a wei more in the number at `path`."""

    def more(value: Any, *steps: str) -> Any:
        return {**value, steps[0]: more(value[steps[0]], *steps[1:])} if steps else value + 1

    return replace(event, arguments=more(event.arguments, *path))


LIES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "another credit": ("Credited", ("amount",), "its credits"),
    "another protocol's share": ("Claimed", ("record", "protocol"), "its protocol"),
    "another share of the node": ("Claimed", ("record", "nodeShare"), "its node share"),
    "another sum": ("Released", ("gross",), "its sum"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_claim_that_differs_from_what_the_chain_paid_is_named(life: Life, lie: str) -> None:
    chain, (name, path, says) = pin_chain(life.client, life.network), LIES[lie]
    events = chain.events()
    place = next(place for place, event in enumerate(events) if event.name == name)
    events[place] = _one_more(events[place], *path)
    arguments = events[place].arguments
    with pytest.raises(ChainError, match=f"claim {claim_name(str(arguments['node']), arguments['seq'])} .*{says}"):
        replay(chain, events, CHANGES, ALL)


def test_only_claims_of_the_last_epochs_count(life: Life) -> None:
    epochs = sorted(record.epoch for record in life.all_records)
    now = pin_chain(life.client, life.network).block.timestamp_s // WINDOWS.epoch_s
    for count in (1, now - epochs[-1] + 1, now - epochs[7] + 1, ALL):
        found = replayed(life, CHANGES, count)
        expected = [record for record in life.all_records if record.epoch > now - count]
        assert (found.num_claims, found.gross_wei) == (
            len(expected),
            sum(record.gross_wei for record in expected),
        )
        assert (found.first_epoch, found.last_epoch) == (max(0, now - count + 1), now)


class WithoutTransactions(PinnedChain):
    """A chain whose endpoint does not have transactions."""

    def input_of(self, transaction_hash: Digest) -> bytes | None:
        return None


class ThroughAnother(PinnedChain):
    """A chain on which claims were made through another contract."""

    def input_of(self, transaction_hash: Digest) -> bytes | None:
        return b"\x12\x34\x56\x78" + (super().input_of(transaction_hash) or b"")


@dataclass(frozen=True)
class Lie:
    """What a lying endpoint changes in the data of a claim."""

    field: str
    value: int


class WithOtherItems(PinnedChain):
    """A chain whose endpoint invents items."""

    lie: Lie

    def input_of(self, transaction_hash: Digest) -> bytes | None:
        interface = load_contract("PaymentChannels")
        called = interface.decode_call(super().input_of(transaction_hash) or b"")
        assert called is not None
        given: Any = called[1]
        given["items"][0][self.lie.field] = self.lie.value
        return interface.encode("claim", *given.values())


def _with(field: str, value: int) -> type[PinnedChain]:
    return type("Lying", (WithOtherItems,), {"lie": Lie(field, value)})


OPAQUE = [WithoutTransactions, ThroughAnother, _with("to", 2**128 - 1), _with("to", 1), _with("adapter", 9)]


@pytest.mark.parametrize("kind", OPAQUE)
def test_a_claim_whose_items_cannot_be_read_is_left_out_and_named(life: Life, kind: type[PinnedChain]) -> None:
    chain = pin_chain(life.client, life.network)
    whole = replay(chain, chain.events(), CHANGES, ALL)
    chain.__class__ = kind
    found = replay(chain, chain.events(), CHANGES, ALL)
    bare = [record for record in life.all_records if not record.pots]
    assert bare, "the base and an adapter without a Datanet could share the whole line"
    assert [each.claim for each in found.left_out] == [claim_name(record.node, record.seq) for record in bare]
    assert found.gross_wei == whole.gross_wei - found.left_out_wei
    assert found.num_claims == whole.num_claims - len(bare)
    assert sum(found.was.roles.values()) == sum(found.would.roles.values()) == found.gross_wei


def test_a_claim_that_is_not_final_is_counted_apart(life: Life) -> None:
    before = replayed(life, CHANGES)
    first, _ = life.act_as(0)
    record = life.record(*life.owed(first, [5_003, 70_001]), adapters=ADAPTERS[:3])
    found = replayed(life, CHANGES)
    assert found.waiting == ClaimCount(num_claims=1, gross_wei=record.gross_wei)
    assert sums(found.was) == sums(before.was)
    life.settle(record)
    assert replayed(life, {}).gross_wei == before.gross_wei + record.gross_wei


def test_who_would_be_under_another_minimum_is_named(life: Life) -> None:
    changes = {"min_stake_wei": 151 * OPEN, "min_deposit_wei": 101 * OPEN, "adapter_bond_wei": 11 * OPEN}
    found = replayed(life, changes, ALL)
    below = {each.field: dict(each.below) for each in found.minima}
    bonded = {node: life.chain.read("NodeStaking", "bondedOf", node) for node in NODES}
    assert below["min_stake_wei"] == {node: wei for node, wei in bonded.items() if wei < 151 * OPEN}
    assert 0 < len(below["min_stake_wei"]) < len(NODES)
    assert len(below["min_deposit_wei"]) == 2 * len(NODES)
    assert below["adapter_bond_wei"] == dict.fromkeys(ADAPTERS[1:], 10 * OPEN)
    low = [record for record in life.all_records if bonded[record.node] < 151 * OPEN]
    gross = sum(record.gross_wei for record in low)
    assert found.refused == ClaimCount(num_claims=len(low), gross_wei=gross)
    assert replayed(life, {"min_stake_wei": 100 * OPEN}).refused.num_claims == 0, "to have just enough is enough"


def test_who_is_under_the_minimum_of_today_would_not_fall_under_another() -> None:
    life = open_contract_world(Life)
    raised = {"min_stake_wei": 150 * OPEN}
    assert replayed(life, raised).minima[0].below == {life.node: 100 * OPEN}
    life.must("NodeStaking", "unbond", 1, key=life.key)
    assert replayed(life, raised).minima[0].below == {}
    life.client.close()


# ---- items of one lane


@pytest.mark.parametrize("is_first_skipped", [True, False])
def test_skipped_items_are_told_from_others_of_their_lane(is_first_skipped: bool) -> None:
    life = open_contract_world(Life)
    config = life.open()
    [good, bare] = life.owed(config, [10_007, 0, 0, 777])
    bad = replace(good, from_wei=Wei(1), to_wei=Wei(30_011))
    items: list[Item] = [bad, good] if is_first_skipped else [good, bad]
    life.settle(life.record(*items, bare))
    found = replayed(life, CHANGES)
    assert dict(found.was.gross) == {ADAPTERS[0]: 10_007, ADAPTERS[3]: 777}
    life.client.close()


def unstaked(params: Params) -> Life:
    """A claim that becomes final when nobody has any stake left."""
    life = open_contract_world(Life, params=params)
    record = life.record(*life.owed(life.open(), [1_000_003, 70_001]))
    life.must("NodeStaking", "unbond", life.chain.read("NodeStaking", "bondedOf", life.node), key=life.key)
    life.settle(record)
    return life


def test_the_protocol_gets_the_stakers_part_while_nobody_has_bonded() -> None:
    life, other = unstaked(DEVELOPMENT_PARAMS), unstaked(replace(DEVELOPMENT_PARAMS, **CHANGES))
    found = replayed(life, CHANGES)
    assert sums(found.would) == sums(replayed(other, {}).was)
    assert (found.would.roles["stakers"], found.would.staked) == (0, {})
    assert found.would.roles["protocol"] < found.was.roles["protocol"], "there was more for stakers"
    for each in (life, other):
        each.client.close()


# ---- draws


def redrawn(params: Params, times: int) -> Life:
    """A claim whose draws lapse this often, or as often as its node's share covers, which then ends late."""
    life = open_contract_world(Life, params=params)
    record = life.record(*life.owed(life.open(), [0, 0, 1_000_003]))
    listed = life.offer(record)
    for _ in range(times):
        life.draw(record)
        life.lapse()
        if life.chain.error_of("AttributionRewards", "draw", record.node, record.seq, key=life.key) == "NoDrawsLeft":
            life.wait(WINDOWS.propose_s)
            life.must("AttributionRewards", "finalizeLate", record, key=STRANGER_KEY)
            return life
    life.finalize(record, listed.payouts, life.openings(record, listed, life.draw(record)))
    return life


@pytest.mark.parametrize(("data_ppm", "is_late"), [(210_000, False), (300_000, True)])
def test_a_claim_with_more_draws_than_its_share_would_cover_would_have_ended_late(
    data_ppm: int, is_late: bool
) -> None:
    times = 5
    life, other = redrawn(DEVELOPMENT_PARAMS, times), redrawn(replace(DEVELOPMENT_PARAMS, data_ppm=data_ppm), times)
    found = replayed(life, {"data_ppm": data_ppm})
    assert sums(found.would) == sums(replayed(other, {}).was)
    assert (found.would.roles["contributors"] == 0) is is_late
    assert found.was.roles["contributors"] > 0
    for each in (life, other):
        each.client.close()


@given(draws=st.integers(2, 16), false_ppm=st.integers(1, PPM - 1))
def test_the_chance_to_be_caught_and_the_cost_of_a_lie_are_those_of_the_design(draws: int, false_ppm: int) -> None:
    false = Fraction(false_ppm, PPM)
    caught = 1 - (1 - false) ** draws
    assert caught_ppm(draws, false_ppm) == int(caught * PPM)
    assert caught / (1 - caught) / 2 >= Fraction(least_cost_ppm(draws), PPM) * false


# ---- any values


@settings(max_examples=depth(light=25, deep=400))
@given(
    protocol_ppm=st.integers(0, 100_000),
    stakers_ppm=st.integers(0, 100_000),
    data_ppm=st.integers(100_000, 300_000),
    draws=st.integers(2, 16),
)
def test_whatever_the_values_all_parts_sum_to_what_was_paid(read: Callable[..., Replay], **changes: int) -> None:
    found = read(changes)
    for part in (found.was, found.would):
        assert sum(part.roles.values()) == found.gross_wei
        assert sum(part.accounts.values()) + part.roles["stakers"] == found.gross_wei
        assert sum(part.nodes.values()) == part.roles["nodes"]
        assert sum(part.others.values()) == sum(part.accounts.values()) - part.roles["nodes"]
        assert sum(part.datanets.values()) == sum(
            part.roles[role] for role in ("datanet_owners", "contributors", "treasuries")
        )
        assert sum(part.adapters.values()) == sum(part.datanets.values()) + part.roles["adapter_owners"]
        assert min(wei for each in sums(part).values() for wei in each.values()) >= 0


@pytest.fixture(scope="module")
def read(life: Life) -> Callable[..., Replay]:
    """Replays over the events of the life, which are read once."""
    chain = pin_chain(life.client, life.network)
    events = chain.events()
    return lambda changes: replay(chain, events, changes, ALL)
