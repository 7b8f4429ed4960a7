"""Payout lists that lie: the contract refuses each where a drawn point falls on the lie, and only there.

contracts/test/AttributionRewards/Openings.t.sol has every lie about a receipt. Here the node tells it with our code.
Everybody here is the node's friend: the payer countersigns what the node likes. The money was paid for other work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pytest
from contracts.claimed_work import (
    Answer,
    Lane,
    claim_work,
    drawn,
    list_of,
    points_of,
    root_of,
    signed_receipt,
)
from support.chain_world.contract_world import ADAPTERS, OPEN, STRANGER_KEY, ContractWorld
from support.signed import NODE, account

from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM
from openledger_protocol.draws import Point
from openledger_protocol.errors import AttributionError
from openledger_protocol.openings import ClaimLine, openings_of
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.payouts import ClaimedReceipt, PayoutList, lapse_fee_wei, payout_list
from openledger_protocol.settlement import Payout, ReceiptOpening, opening_tuple

TRIES: Final = 60
"""Claims until points have fallen on a lie and beside it; each misses a part f of a pot with the chance (1 − f)^4."""

FRIEND: Final = account(0xF1)
PRICE: Final = 1_000_000

SKIPPED, ADAPTER_LANE = 1, 2
"""Numbers of the claim's items."""

LANES: Final = (
    Lane(adapter=0, answers=(Answer(amount=PRICE),)),
    Lane(adapter=2, channel=1, answers=(Answer(amount=PRICE, scores=(1,)),), is_short=True),
    Lane(
        adapter=2,
        answers=(
            Answer(amount=6 * PRICE, scores=(1,)),
            Answer(amount=PRICE, scores=(2, 3)),
            Answer(amount=PRICE, scores=(4,)),
        ),
    ),
)
"""A lie puts what it likes in place of the last receipt."""


@pytest.fixture(scope="module")
def configs(world: ContractWorld) -> list[ChannelConfig]:
    return [world.open(1_000 * OPEN), world.open(1_000 * OPEN)]


def to_the_friend(world: ContractWorld, ppm: int = PPM) -> tuple[Share, ...]:
    [(datanet_id, _)] = world.registry[ADAPTERS[2]].datanets
    return (Share(datanet_id=datanet_id, account=FRIEND, ppm=ppm),)


def in_place_of_the_last(line: ClaimLine, false: ClaimedReceipt) -> ClaimLine:
    return replace(line, receipts=(*line.receipts[:-1], false))


# ---- lies: each returns the claim as the node tells it


def shares_that_nobody_signed(world: ContractWorld, line: ClaimLine) -> ClaimLine:
    last = line.receipts[-1]
    false = signed_receipt(world, ADAPTER_LANE, last.receipt, to_the_friend(world))
    return in_place_of_the_last(line, replace(false, countersignature=last.countersignature))


def one_of_a_skipped_item(world: ContractWorld, line: ClaimLine) -> ClaimLine:
    span = line.spans[SKIPPED]
    receipt = replace(line.receipts[-1].receipt, channel_id=span.channel_id, cumulative_wei=span.to_wei)
    return in_place_of_the_last(line, signed_receipt(world, SKIPPED, receipt, to_the_friend(world)))


LIES: Final[dict[str, tuple[Callable[[ContractWorld, ClaimLine], ClaimLine], str]]] = {
    "shares that nobody signed": (shares_that_nobody_signed, "NotCountersigned"),
    "of a skipped item": (one_of_a_skipped_item, "BadProof"),
}


@dataclass(frozen=True, kw_only=True)
class Told:
    """A list that was drawn, with the node's openings, and how the contract takes them."""

    line: ClaimLine
    listed: PayoutList
    openings: Sequence[ReceiptOpening]
    error: str

    @property
    def is_drawn(self) -> bool:
        """True if one of the points fell on the last receipt."""
        return any(opening.place.index == len(self.line.receipts) - 1 for opening in self.openings)


def tell(world: ContractWorld, line: ClaimLine) -> Told:
    """Propose what a claim's receipts would give if they were true, and show what is drawn as well as one can."""
    listed = payout_list(line.record.pots, line.receipts)
    openings = drawn(world, line, listed)
    return Told(line=line, listed=listed, openings=openings, error=tried(world, line, listed.payouts, openings))


def tried(
    world: ContractWorld, line: ClaimLine, payouts: Sequence[Payout], openings: Sequence[ReceiptOpening]
) -> str:
    """The error with which the contract would refuse to make the claim final; empty if it would not."""
    arguments = (line.record, payouts, [opening_tuple(opening) for opening in openings])
    return world.chain.error_of("AttributionRewards", "finalize", *arguments, key=STRANGER_KEY)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_where_it_is_drawn_and_only_there(
    world: ContractWorld, configs: list[ChannelConfig], lie: str
) -> None:
    make, error = LIES[lie]
    seen: dict[bool, Told] = {}
    for _ in range(TRIES):
        told = tell(world, make(world, claim_work(world, LANES, configs)))
        assert told.error == (error if told.is_drawn else "")
        seen[told.is_drawn] = told
        if len(seen) == 2:
            break
    assert set(seen) == {True, False}
    assert_the_node_pays(world, seen[True].line)


def assert_the_node_pays(world: ContractWorld, line: ClaimLine) -> None:
    """A list that can't be shown ends late: nobody on it is paid, and half of all pots is the node's fee."""
    world.wait(world.chain.read("Params", "windows")["propose"])
    receipt = world.must("AttributionRewards", "finalizeLate", line.record, key=STRANGER_KEY)
    credits = [
        event.arguments for event in world.events_of(receipt, "AttributionRewards") if event.name == "Credited"
    ]
    paid = {each["role"]: each["amount"] for each in credits}
    assert paid[0] == line.record.node_share_wei - lapse_fee_wei(line.record)
    assert 3 not in paid
    assert FRIEND not in [each["account"] for each in credits]


def test_the_same_claim_told_truly_is_final(world: ContractWorld, configs: list[ChannelConfig]) -> None:
    told = tell(world, claim_work(world, LANES, configs))
    assert told.error == ""
    world.finalize(told.line.record, told.listed.payouts, told.openings)


# ---- a list that no receipts have made


def with_a_tenth_moved(listed: PayoutList, line: ClaimLine) -> tuple[Payout, ...]:
    """The list with a tenth of its pot moved from its largest entry to the node."""
    tenth = PPM * line.record.pots[0].gross_wei // 10
    largest = max(listed.payouts, key=lambda payout: payout.weight)
    less = [replace(p, weight=p.weight - tenth) if p is largest else p for p in listed.payouts]
    moved = [*less, Payout(pot=0, account=NODE, weight=tenth)]
    return tuple(sorted(moved, key=lambda payout: payout.account.lower()))


def every_part(line: ClaimLine, listed: PayoutList) -> list[ReceiptOpening]:
    """An opening of each share of each receipt."""
    points = [
        Point(pot=0, account=share.account, offset=offset)
        for claimed, offsets in zip(line.receipts, listed.offsets, strict=True)
        for share, offset in zip(claimed.shares, offsets, strict=True)
    ]
    return openings_of(line, listed, points)


def test_a_tenth_of_a_pot_moved_to_the_node_is_shown_by_no_receipt(
    world: ContractWorld, configs: list[ChannelConfig]
) -> None:
    for _ in range(TRIES):
        line = claim_work(world, LANES, configs)
        honest = list_of(line)
        payouts = with_a_tenth_moved(honest, line)
        world.propose(line.record, payouts, root=root_of(line, honest))
        points = points_of(world, line, replace(honest, payouts=payouts), world.draw(line.record))
        if any(point.account == NODE for point in points):
            break
        assert tried(world, line, payouts, openings_of(line, honest, points)) == ""
    else:
        raise AssertionError("no point fell on the moved tenth")
    with pytest.raises(AttributionError, match="no receipt gives"):
        openings_of(line, honest, points)
    for part in every_part(line, honest):
        openings = [part if p.account == NODE else openings_of(line, honest, [p])[0] for p in points]
        assert tried(world, line, payouts, openings) == "NotShown"
    assert_the_node_pays(world, line)
