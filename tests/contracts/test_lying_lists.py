"""Payout lists that lie: the contract refuses each where a drawn point falls on the lie, and only there.

contracts/test/AttributionRewards/Openings.t.sol has every lie about a receipt. Here the node tells it with our code.
Everybody here is the node's friend: the payer countersigns what the node likes. The money was paid for other work.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest
from contracts.claimed_work import Answer, Lane, claim_work, drawn, list_of, points_of, root_of, signed_receipt
from support.chain_world.contract_world import ADAPTERS, OPEN, STRANGER_KEY, ContractWorld
from support.signed import NODE, account

from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM
from openledger_protocol.draws import Point
from openledger_protocol.errors import AttributionError
from openledger_protocol.openings import ClaimLine, openings_of
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.payouts import PayoutList, lapse_fee_wei
from openledger_protocol.settlement import Payout, ReceiptOpening, opening_tuple

TRIES: Final = 60
"""Claims until points have fallen on a lie and beside it; each misses a part f of a pot with the chance (1 − f)^4."""

FRIEND: Final = account(0xF1)
PRICE: Final = 1_000_000

SKIPPED: Final = 1
"""The number of the claim's item whose voucher is too small."""

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


@pytest.fixture(scope="module")
def configs(world: ContractWorld) -> list[ChannelConfig]:
    return [world.open(1_000 * OPEN), world.open(1_000 * OPEN)]


def with_one_of_the_skipped_item(world: ContractWorld, line: ClaimLine) -> ClaimLine:
    """The claim with a receipt for a friend, of an item that was not paid, in place of the last one."""
    [(datanet_id, _)] = world.registry[ADAPTERS[2]].datanets
    shares = (Share(datanet_id=datanet_id, account=FRIEND, ppm=PPM),)
    span = line.spans[SKIPPED]
    receipt = replace(line.receipts[-1].receipt, channel_id=span.channel_id, cumulative_wei=span.to_wei)
    return replace(line, receipts=(*line.receipts[:-1], signed_receipt(world, SKIPPED, receipt, shares)))


def tried(
    world: ContractWorld, line: ClaimLine, payouts: Sequence[Payout], openings: Sequence[ReceiptOpening]
) -> str:
    """The error with which the contract would refuse to make the claim final; empty if it would not."""
    arguments = (line.record, payouts, [opening_tuple(opening) for opening in openings])
    return world.chain.error_of("AttributionRewards", "finalize", *arguments, key=STRANGER_KEY)


def test_a_lie_is_refused_only_where_it_is_drawn(world: ContractWorld, configs: list[ChannelConfig]) -> None:
    seen: dict[bool, ClaimLine] = {}
    for _ in range(TRIES):
        line = with_one_of_the_skipped_item(world, claim_work(world, LANES, configs))
        listed = list_of(line)
        openings = drawn(world, line, listed)
        is_drawn = any(opening.place.index == len(line.receipts) - 1 for opening in openings)
        assert tried(world, line, listed.payouts, openings) == ("BadProof" if is_drawn else "")
        seen[is_drawn] = line
        if len(seen) == 2:
            break
    assert set(seen) == {True, False}
    assert_the_node_pays(world, seen[True])


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


def test_no_receipt_shows_a_tenth_moved_to_the_node(world: ContractWorld, configs: list[ChannelConfig]) -> None:
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
