"""Openings of drawn points: an honest list can always be shown, a false part of one never."""

from dataclasses import dataclass, replace

import pytest
from support.signed import (
    AUTHORIZER_KEY,
    CONFIG,
    NODE,
    PARAMS,
    PAYMENTS,
    account,
    digest,
    lane_item,
    plain_receipt,
)

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.claims import AdapterTerms, DatanetTerms, SkipCode, compute_claim, item_leaves
from openledger_protocol.constants import PPM
from openledger_protocol.draws import Point, drawn_points
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.errors import AttributionError
from openledger_protocol.openings import ClaimLine, openings_of
from openledger_protocol.payments import ChannelConfig, receipt_digest
from openledger_protocol.payouts import ClaimedReceipt, payout_list, receipts_root
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_WEI, AdapterId, Address, DatanetId, Digest, Salt, Wei
from openledger_protocol.settlement import (
    NOBODY,
    EpochClaim,
    Item,
    ItemSpan,
    ReceiptOpening,
    items_hash,
    receipt_leaf,
    span_of,
)
from openledger_protocol.signatures import recover_address, sign_digest
from openledger_protocol.sum_tree import SumLeaf, place_of

ADAPTERS = tuple(AdapterId(digest(digit)) for digit in "0ab")
A, B = ADAPTERS[1:]
D, E = DatanetId(digest("d")), DatanetId(digest("e"))
ANN, BEN, CAT, LIAR, OWNER, TREASURY = (account(number) for number in range(1, 7))
SECOND = replace(CONFIG, salt=Salt(digest("6")))

REGISTRY = {
    A: AdapterTerms(owner=OWNER, royalty_ppm=100_000, datanets=((D, 250_000), (E, 750_000))),
    B: AdapterTerms(owner=OWNER, royalty_ppm=0, datanets=((D, PPM),)),
}
DATANETS = {id_: DatanetTerms(owner=OWNER, owner_ppm=0, treasury=TREASURY) for id_ in (D, E)}

Shares = tuple[tuple[DatanetId, Address, int], ...]


# ---- a claim and its receipts


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One receipt to make: its price, its shares, and whether the payer countersigned."""

    price: int
    shares: Shares = ()
    is_countersigned: bool = True


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One item to make: what its lane was charged from `start` on."""

    adapter: int
    answers: tuple[Answer, ...]
    config: ChannelConfig = CONFIG
    start: int = 5
    code: SkipCode | None = None

    @property
    def item(self) -> Item:
        amount = sum(answer.price for answer in self.answers)
        return lane_item(self.adapter, ADAPTERS[self.adapter], amount, start=self.start, config=self.config)


def line_of(*lanes: Lane) -> ClaimLine:
    """The claim of these lanes, with the receipts of those that count."""
    items = [lane.item for lane in lanes]
    spans = [span_of(item, ADAPTERS, PAYMENTS) for item in items]
    record = compute_claim(
        EpochClaim(node=NODE, seq=7, epoch=3, items_hash=items_hash(spans)),
        ADAPTERS,
        items,
        domain=PAYMENTS,
        codes=[lane.code for lane in lanes],
        claimed_at_s=100,
        claimed_block=50,
        params=PARAMS,
        registry=REGISTRY,
        datanets=DATANETS,
    )
    return ClaimLine(
        record=record,
        spans=tuple(spans),
        amounts_wei=tuple(
            ZERO_WEI if lane.code else item.amount_wei for lane, item in zip(lanes, items, strict=True)
        ),
        receipts=tuple(
            made for index, lane in enumerate(lanes) if not lane.code for made in receipts_of(index, lane)
        ),
    )


def receipts_of(index: int, lane: Lane) -> list[ClaimedReceipt]:
    made, cumulative = [], lane.start
    for number, answer in enumerate(lane.answers):
        cumulative += answer.price
        made.append(receipt_of(index, lane, answer, number, cumulative))
    return made


def receipt_of(index: int, lane: Lane, answer: Answer, number: int, cumulative: int) -> ClaimedReceipt:
    shares = tuple(Share(datanet_id=datanet, account=owner, ppm=ppm) for datanet, owner, ppm in answer.shares)
    receipt = plain_receipt(
        answer.price,
        shares,
        channel_id=span_of(lane.item, ADAPTERS, PAYMENTS).channel_id,
        seq=number,
        issued_at_s=1_800_000_000,
        adapter_id=ADAPTERS[lane.adapter],
        cumulative_wei=Wei(cumulative),
    )
    hashed = receipt_digest(receipt, PAYMENTS)
    return ClaimedReceipt(
        item=index,
        digest=hex_digest(hashed),
        receipt=receipt,
        shares=shares,
        countersignature=sign_digest(AUTHORIZER_KEY, hashed) if answer.is_countersigned else None,
    )


def of_a(*parts: tuple[Address, int]) -> Shares:
    """Shares of adapter A: these in Datanet D, and all of E to Cat."""
    return (*((D, owner, ppm) for owner, ppm in parts), (E, CAT, PPM))


LINE = line_of(
    Lane(adapter=0, answers=(Answer(price=30), Answer(price=7, is_countersigned=False))),
    Lane(
        adapter=1,
        answers=(
            Answer(price=400, shares=of_a((ANN, 250_000), (BEN, 750_000))),
            Answer(price=100, shares=of_a((ZERO_ADDRESS, PPM))),
            Answer(price=50, shares=of_a((BEN, PPM)), is_countersigned=False),
        ),
    ),
    Lane(adapter=1, answers=(Answer(price=900, shares=of_a((LIAR, PPM))),), start=0, code=SkipCode.BAD_VOUCHER),
    Lane(adapter=1, config=SECOND, answers=(Answer(price=250, shares=of_a((ANN, PPM))),)),
    Lane(adapter=2, answers=(Answer(price=200, shares=((D, BEN, PPM),)),)),
)
LISTED = payout_list(LINE.record.pots, LINE.receipts)
ROOT = receipts_root(LINE.receipts, LISTED.offsets)


# ---- an honest list


def check_shown(opening: ReceiptOpening, point: Point) -> None:
    """Check as the contract does that an opening shows `point`, by a receipt at its place in the claim."""
    receipt, share, start = opening.receipt, opening.shares[opening.share], opening.offsets[opening.share]
    pot = LINE.record.pots[point.pot]
    assert (share.datanet_id, share.account) == (pot.datanet_id, point.account)
    assert start <= point.offset < start + receipt.amount_wei * share.ppm
    assert sum(each.ppm for each in opening.shares if each.datanet_id == pot.datanet_id) == PPM
    signed = replace(receipt, adapter_id=pot.adapter_id, shares_hash=shares_hash(opening.shares))
    hashed = receipt_digest(signed, PAYMENTS)
    assert recover_address(hashed, opening.countersignature) == opening.authorizer
    assert opening.from_wei + receipt.amount_wei <= receipt.cumulative_wei <= opening.to_wei
    span = ItemSpan(
        channel_id=receipt.channel_id,
        adapter_id=pot.adapter_id,
        authorizer=opening.authorizer,
        from_wei=opening.from_wei,
        to_wei=opening.to_wei,
    )
    [item] = item_leaves([span], [Wei(opening.to_wei - opening.from_wei)])
    before = place_of(LINE.record.items_root, item, opening.item)
    leaf = SumLeaf(hash=receipt_leaf(hex_digest(hashed), opening.offsets), amount=receipt.amount_wei)
    within = receipt.cumulative_wei - receipt.amount_wei - opening.from_wei
    assert place_of(ROOT, leaf, opening.place) == before + within


@pytest.mark.parametrize(
    ("pot", "owner", "offset", "price"),
    [
        (0, ANN, 0, 400),
        (0, ANN, 400 * 250_000 - 1, 400),
        (0, ANN, 400 * 250_000, 250),
        (0, ANN, 400 * 250_000 + 250 * PPM - 1, 250),
        (0, BEN, 400 * 750_000 - 1, 400),
        (0, ZERO_ADDRESS, 100 * PPM - 1, 100),
        (1, CAT, 0, 400),
        (1, CAT, 400 * PPM, 100),
        (1, CAT, 500 * PPM, 250),
        (2, BEN, 0, 200),
    ],
)
def test_each_part_of_an_entry_is_shown_by_its_own_receipt(pot: int, owner: Address, offset: int, price: int) -> None:
    point = Point(pot=pot, account=owner, offset=offset)
    [opening] = openings_of(LINE, LISTED, [point])
    assert opening.receipt.amount_wei == price
    check_shown(opening, point)


def test_nobody_needs_no_receipt() -> None:
    assert openings_of(LINE, LISTED, [Point(pot=0, account=NOBODY, offset=3)]) == []


def test_every_drawn_point_of_an_honest_list_is_shown() -> None:
    for number in range(40):
        points = drawn_points(Digest(f"0x{number:064x}"), LINE.record, LISTED.payouts, 16)
        shown = [point for point in points if point.account != NOBODY]
        for point, opening in zip(shown, openings_of(LINE, LISTED, points), strict=True):
            check_shown(opening, point)


# ---- a false list; tests/contracts/test_lying_lists.py shows what the contract does with each lie


def test_a_part_moved_to_an_account_that_no_receipt_names_can_not_be_opened() -> None:
    for offset in (0, 1, 10**6):
        with pytest.raises(AttributionError, match=f"no receipt gives {LIAR} the place {offset} of pot 0"):
            openings_of(LINE, LISTED, [Point(pot=0, account=LIAR, offset=offset)])
