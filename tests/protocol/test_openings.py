"""Openings of drawn points: an honest list can always be shown, a false part of one never.

The verifier below follows the contract's rules with nothing but keccak and the ABI, so it shares no code with the
protocol's trees, leaves and digests.
"""

from dataclasses import dataclass, replace

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from support.signed import (
    AUTHORIZER_KEY,
    CONFIG,
    NODE,
    PARAMS,
    PAYMENTS,
    WORK,
    account,
    digest,
    digests,
    lane_item,
    uints,
)

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.claims import AdapterTerms, DatanetTerms, SkipCode, compute_claim
from openledger_protocol.constants import PPM
from openledger_protocol.draws import Point, drawn_points
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.errors import AttributionError, ProtocolError
from openledger_protocol.openings import ClaimLine, openings_of
from openledger_protocol.payments import ChannelConfig, Receipt, receipt_digest, work_hash
from openledger_protocol.payouts import ClaimedReceipt, payout_list, receipts_root
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_WEI, AdapterId, Address, DatanetId, Digest, Salt, Wei
from openledger_protocol.settlement import (
    NOBODY,
    EpochClaim,
    Item,
    Pot,
    ReceiptOpening,
    items_hash,
    span_of,
)
from openledger_protocol.signatures import recover_address, sign_digest
from openledger_protocol.sum_tree import SumProof

BASE, A, B = ADAPTERS = tuple(AdapterId(digest(digit)) for digit in "0ab")
D, E = DatanetId(digest("d")), DatanetId(digest("e"))
ANN, BEN, CAT, LIAR, OWNER, TREASURY = (account(number) for number in range(1, 7))
SECOND = replace(CONFIG, salt=Salt(digest("6")))

REGISTRY = {
    A: AdapterTerms(owner=OWNER, royalty_ppm=100_000, datanets=((D, 250_000), (E, 750_000))),
    B: AdapterTerms(owner=OWNER, royalty_ppm=0, datanets=((D, PPM),)),
}
DATANETS = {id_: DatanetTerms(owner=OWNER, owner_ppm=0, treasury=TREASURY) for id_ in (D, E)}

Shares = tuple[tuple[DatanetId, Address, int], ...]


# ---- the contract's rules


class RefusedError(Exception):
    """An opening that the contract would refuse, by the name of the contract's error."""


def require(is_kept: bool, error: str) -> None:
    if not is_kept:
        raise RefusedError(error)


def verify(opening: ReceiptOpening, point: Point, pot: Pot, items_root: Digest, receipts_root: Digest) -> None:
    """Refuse an opening that does not show `point`, which lies in `pot`."""
    receipt, share = opening.receipt, opening.shares[opening.share]
    start = opening.offsets[opening.share]
    is_theirs = (share.datanet_id, share.account) == (pot.datanet_id, point.account)
    require(is_theirs and start <= point.offset < start + receipt.amount_wei * share.ppm, "NotShown")
    require(sum(s.ppm for s in opening.shares if s.datanet_id == pot.datanet_id) == PPM, "BadShares")
    hashed = signed_digest(opening, pot.adapter_id)
    require(signer_of(hashed, opening.countersignature) == opening.authorizer, "NotCountersigned")
    tag = keccak(b"openledger.receipt-leaf/2")
    leaf = keccak(encode(["bytes32", "bytes32", "uint256[]"], [tag, hashed, list(opening.offsets)]))
    place = placed(receipts_root, leaf, receipt.amount_wei, opening.place)
    require(place == place_in_claim(opening, pot.adapter_id, items_root), "Misplaced")


def signed_digest(opening: ReceiptOpening, adapter_id: AdapterId) -> bytes:
    """The receipt's digest from the fields that an opening carries; the adapter is the pot's."""
    receipt = opening.receipt
    rows = [(bytes.fromhex(s.datanet_id[2:]), s.account, s.ppm) for s in opening.shares]
    work = (
        "Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut,"
        "bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 signalsHash,bytes32 fingerprint)"
    )
    kind = (
        "Receipt(bytes32 channelId,uint64 seq,uint64 issuedAt,bytes32 adapterId,uint128 amount,uint128 cumulative,"
        "uint32 algoId,bytes32 sharesHash,Work work)" + work
    )
    types = [
        "bytes32",
        "bytes32",
        "uint64",
        "uint64",
        "bytes32",
        "uint128",
        "uint128",
        "uint32",
        "bytes32",
        "bytes32",
    ]
    values = [
        keccak(kind.encode()),
        raw(receipt.channel_id),
        receipt.seq,
        receipt.issued_at_s,
        raw(adapter_id),
        receipt.amount_wei,
        receipt.cumulative_wei,
        receipt.algo_id,
        keccak(encode(["(bytes32,address,uint32)[]"], [rows])),
        work_hash(receipt.work),
    ]
    return keccak(b"\x19\x01" + PAYMENTS.separator + keccak(encode(types, values)))


def place_in_claim(opening: ReceiptOpening, adapter_id: AdapterId, items_root: Digest) -> int:
    receipt = opening.receipt
    is_within = opening.from_wei + receipt.amount_wei <= receipt.cumulative_wei <= opening.to_wei
    require(is_within, "Misplaced")
    types = ["bytes32", "bytes32", "bytes32", "address", "uint128", "uint128"]
    tag = keccak(b"openledger.item-leaf/1")
    channel = raw(receipt.channel_id)
    values = [tag, channel, raw(adapter_id), opening.authorizer, opening.from_wei, opening.to_wei]
    place = placed(items_root, keccak(encode(types, values)), opening.to_wei - opening.from_wei, opening.item)
    return place + receipt.cumulative_wei - receipt.amount_wei - opening.from_wei


def placed(root: Digest, leaf: bytes, amount: int, proof: SumProof) -> int:
    require(len(proof.sums) == len(proof.siblings) and not proof.index >> len(proof.siblings), "BadProof")
    place = 0
    for height, (sibling, beside) in enumerate(zip(proof.siblings, proof.sums, strict=True)):
        is_right = proof.index >> height & 1
        hashes = sibling + leaf if is_right else leaf + sibling
        sums = (beside, amount) if is_right else (amount, beside)
        leaf = keccak(hashes + b"".join(number.to_bytes(16, "big") for number in sums))
        place += beside if is_right else 0
        amount += beside
    require("0x" + leaf.hex() == root, "BadProof")
    return place


def signer_of(hashed: bytes, signature: bytes) -> Address:
    try:
        return recover_address(hashed, signature)
    except ProtocolError:
        return ZERO_ADDRESS


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


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
    receipt = Receipt(
        channel_id=span_of(lane.item, ADAPTERS, PAYMENTS).channel_id,
        seq=number,
        issued_at_s=1_800_000_000,
        adapter_id=ADAPTERS[lane.adapter],
        amount_wei=Wei(answer.price),
        cumulative_wei=Wei(cumulative),
        algo_id=1,
        shares_hash=shares_hash(shares),
        work=WORK,
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


def verify_of(opening: ReceiptOpening, point: Point, root: Digest = ROOT, line: ClaimLine = LINE) -> None:
    verify(opening, point, line.record.pots[point.pot], line.record.items_root, root)


def open_at(pot: int, owner: Address, offset: int, line: ClaimLine = LINE) -> tuple[Point, ReceiptOpening]:
    """Open a point that was chosen, not drawn."""
    point = Point(pot=pot, account=owner, offset=offset)
    [opening] = openings_of(line, payout_list(line.record.pots, line.receipts), [point])
    return point, opening


# ---- an honest list


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
    point, opening = open_at(pot, owner, offset)
    assert opening.receipt.amount_wei == price
    verify_of(opening, point)


def test_nobody_needs_no_receipt() -> None:
    assert openings_of(LINE, LISTED, [Point(pot=0, account=NOBODY, offset=3)]) == []


accounts = st.sampled_from([ANN, BEN, CAT, ZERO_ADDRESS])


@st.composite
def parts_of(draw: st.DrawFn, datanet: DatanetId) -> Shares:
    owners = sorted(draw(st.sets(accounts, min_size=1)), key=str.lower)
    cuts = sorted(draw(st.sets(st.integers(1, PPM - 1), min_size=len(owners) - 1, max_size=len(owners) - 1)))
    ppms = [right - left for left, right in zip([0, *cuts], [*cuts, PPM], strict=True)]
    return tuple((datanet, owner, ppm) for owner, ppm in zip(owners, ppms, strict=True))


@st.composite
def answers(draw: st.DrawFn, adapter: int) -> Answer:
    datanets = ((), (D, E), (D,))[adapter]
    shares = tuple(part for datanet in datanets for part in draw(parts_of(datanet)))
    return Answer(price=draw(uints(40)), shares=shares, is_countersigned=draw(st.booleans()))


@st.composite
def lines(draw: st.DrawFn) -> ClaimLine:
    adapters = sorted(draw(st.lists(st.integers(0, 2), min_size=1, max_size=4)))
    lanes = [draw(lanes_of(adapter, number)) for number, adapter in enumerate(adapters)]
    return line_of(Lane(adapter=0, answers=(Answer(price=1),)), *lanes)


@st.composite
def lanes_of(draw: st.DrawFn, adapter: int, number: int) -> Lane:
    made = tuple(draw(st.lists(answers(adapter), min_size=1, max_size=4)))
    code = draw(st.sampled_from([None, None, SkipCode.OVER_DEPOSIT]))
    return Lane(
        adapter=adapter,
        answers=made,
        config=replace(CONFIG, salt=Salt(digest(str(number)))),
        start=draw(uints(40)),
        code=code if any(answer.price for answer in made) else SkipCode.NOTHING_NEW,
    )


@settings(max_examples=60)
@given(lines(), digests)
def test_every_drawn_point_of_an_honest_list_is_shown(line: ClaimLine, seed: Digest) -> None:
    listed = payout_list(line.record.pots, line.receipts)
    points = drawn_points(seed, line.record, listed.payouts, 16)
    root = receipts_root(line.receipts, listed.offsets)
    shown = [point for point in points if point.account != NOBODY]
    for point, opening in zip(shown, openings_of(line, listed, points), strict=True):
        verify_of(opening, point, root, line)


# ---- a false list; tests/contracts/test_lying_lists.py shows what the contract does with each lie


def test_a_part_moved_to_an_account_that_no_receipt_names_can_not_be_opened() -> None:
    for offset in (0, 1, 10**6):
        with pytest.raises(AttributionError, match=f"no receipt gives {LIAR} the place {offset} of pot 0"):
            openings_of(LINE, LISTED, [Point(pot=0, account=LIAR, offset=offset)])
