"""Openings of drawn points: the countersigned receipts that show that a payout list is true.

A receipt has one place on its claim's line, which the contract's tree of items and the node's tree of receipts must
both prove, so no receipt stands twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .claims import item_leaves
from .draws import Point
from .errors import AttributionError
from .payouts import ClaimedReceipt, PayoutList, receipt_leaves
from .primitives import Wei
from .settlement import NOBODY, ClaimRecord, ItemSpan, ReceiptOpening
from .sum_tree import SumTree


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLine:
    """A claim's money end to end, twice: by the contract's items and by the node's receipts."""

    record: ClaimRecord
    spans: tuple[ItemSpan, ...]
    amounts_wei: tuple[Wei, ...]  # of the items; zero if skipped
    receipts: tuple[ClaimedReceipt, ...]


def openings_of(line: ClaimLine, listed: PayoutList, points: Sequence[Point]) -> list[ReceiptOpening]:
    """Open a receipt for each drawn point that needs one.

    Raises:
        AttributionError: no receipt covers a point, so the list is not that of these receipts.
    """
    items = SumTree.of(item_leaves(line.spans, line.amounts_wei))
    receipts = SumTree.of(receipt_leaves(line.receipts, listed.offsets))
    return [_opening(line, listed, point, items, receipts) for point in points if point.account != NOBODY]


def _opening(line: ClaimLine, listed: PayoutList, point: Point, items: SumTree, receipts: SumTree) -> ReceiptOpening:
    index, share = _find(line, listed, point)
    claimed = line.receipts[index]
    span = line.spans[claimed.item]
    assert claimed.countersignature is not None, "only a countersigned receipt has parts"
    return ReceiptOpening(
        authorizer=span.authorizer,
        from_wei=span.from_wei,
        to_wei=span.to_wei,
        item=items.proof(claimed.item),
        receipt=claimed.receipt,
        shares=claimed.shares,
        countersignature=claimed.countersignature,
        offsets=listed.offsets[index],
        place=receipts.proof(index),
        share=share,
    )


def _find(line: ClaimLine, listed: PayoutList, point: Point) -> tuple[int, int]:
    """The receipt whose part covers a point, and the share that the part is of."""
    pot = line.record.pots[point.pot]
    for index, (claimed, offsets) in enumerate(zip(line.receipts, listed.offsets, strict=True)):
        if claimed.receipt.adapter_id != pot.adapter_id:
            continue
        for number, (share, offset) in enumerate(zip(claimed.shares, offsets, strict=False)):
            is_theirs = (share.datanet_id, share.account) == (pot.datanet_id, point.account)
            if is_theirs and 0 <= point.offset - offset < claimed.receipt.amount_wei * share.ppm:
                return index, number
    raise AttributionError(f"no receipt gives {point.account} the place {point.offset} of pot {point.pot}")
