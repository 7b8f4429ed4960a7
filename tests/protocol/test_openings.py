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
    NODE_KEY,
    PARAMS,
    PAYER,
    PAYER_KEY,
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
from openledger_protocol.payouts import ClaimedReceipt, payout_list, receipt_leaves, receipts_root
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_WEI, AdapterId, Address, DatanetId, Digest, Salt, Wei
from openledger_protocol.settlement import (
    NOBODY,
    EpochClaim,
    Item,
    Pot,
    ReceiptOpening,
    item_leaf,
    items_hash,
    span_of,
)
from openledger_protocol.signatures import recover_address, sign_digest
from openledger_protocol.sum_tree import SumLeaf, SumProof, SumTree

BASE, A, B = ADAPTERS = tuple(AdapterId(digest(digit)) for digit in "0ab")
D, E = DatanetId(digest("d")), DatanetId(digest("e"))
ANN, BEN, CAT, LIAR, OWNER, TREASURY = (account(number) for number in range(1, 7))
SECOND = replace(CONFIG, salt=Salt(digest("6")))
SEED = digest("9")

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


# ---- false lists


Entries = list[tuple[ClaimedReceipt, tuple[int, ...]]]
"""The leaves of a tree of receipts as a liar may build it: receipts in any order, with any offsets."""

HONEST: Entries = list(zip(LINE.receipts, LISTED.offsets, strict=True))


def tree_of(entries: Entries) -> SumTree:
    return SumTree.of(receipt_leaves([claimed for claimed, _ in entries], [offsets for _, offsets in entries]))


def opened(entries: Entries, index: int, share: int, line: ClaimLine = LINE) -> ReceiptOpening:
    """Open a share of a liar's leaf, whether it shows anything or not."""
    claimed, offsets = entries[index]
    span = line.spans[claimed.item]
    leaves = [
        SumLeaf(hash=item_leaf(span), amount=amount)
        for span, amount in zip(line.spans, line.amounts_wei, strict=True)
    ]
    return ReceiptOpening(
        authorizer=span.authorizer,
        from_wei=span.from_wei,
        to_wei=span.to_wei,
        item=SumTree.of(leaves).proof(claimed.item),
        receipt=claimed.receipt,
        shares=claimed.shares,
        countersignature=claimed.countersignature or bytes(65),
        offsets=offsets,
        place=tree_of(entries).proof(index),
        share=share,
    )


def refusals(entries: Entries, point: Point, line: ClaimLine = LINE) -> list[str]:
    """The answers of the contract to all openings of a point that a liar can try; "shown" if it accepts one."""
    answers, root = [], tree_of(entries).root
    for index, (claimed, offsets) in enumerate(entries):
        for share in range(min(len(claimed.shares), len(offsets))):
            try:
                verify_of(opened(entries, index, share, line), point, root, line)
                answers.append("shown")
            except RefusedError as refusal:
                answers.append(str(refusal))
    return answers


def test_a_part_moved_to_an_account_that_no_receipt_names_is_never_shown() -> None:
    for offset in (0, 1, 10**6):
        point = Point(pot=0, account=LIAR, offset=offset)
        with pytest.raises(AttributionError, match=f"no receipt gives {LIAR} the place {offset} of pot 0"):
            openings_of(LINE, LISTED, [point])
        assert set(refusals(HONEST, point)) == {"NotShown"}


def test_a_part_moved_to_an_account_with_a_true_share_is_shown_no_further_than_that() -> None:
    """Ben has 300 of the 800 wei in true parts; the list gives him 500, and wherever his parts are put, 200 lack."""
    genuine = 400 * 750_000
    claimed = LINE.receipts[2]
    for start in (0, 7, 200 * PPM):
        offsets = (0, start, 0)
        entries = [(c, offsets if c is claimed else o) for c, o in HONEST]
        for offset in range(0, 500 * PPM, 25 * PPM):
            point = Point(pot=0, account=BEN, offset=offset)
            is_shown = "shown" in refusals(entries, point)
            assert is_shown == (start <= offset < start + genuine)


@pytest.mark.parametrize("where", [3, 6, 7])
def test_a_receipt_that_stands_twice_is_shown_once(where: int) -> None:
    """Its second leaf begins elsewhere in the node's tree than on the claim's line."""
    claimed, offsets = HONEST[2]
    copy = (claimed, tuple(offset + 400 * PPM for offset in offsets))
    entries = [*HONEST[:where], copy, *HONEST[where:]]
    assert "shown" in refusals(entries, Point(pot=0, account=BEN, offset=0))
    again = refusals(entries, Point(pot=0, account=BEN, offset=400 * PPM))
    assert "Misplaced" in again
    assert "shown" not in again


def test_receipts_out_of_the_lines_order_are_misplaced() -> None:
    entries = [*HONEST[:2], HONEST[3], HONEST[2], *HONEST[4:]]
    assert "Misplaced" in refusals(entries, Point(pot=0, account=BEN, offset=0))
    assert "shown" not in refusals(entries, Point(pot=0, account=BEN, offset=0))


def test_a_receipt_without_a_countersignature_shows_nothing() -> None:
    """The node may list Ben for it all the same, but nothing that it holds is signed by the payer."""
    claimed = LINE.receipts[4]
    assert claimed.countersignature is None
    entries = [(c, (300 * PPM, 500 * PPM) if c is claimed else o) for c, o in HONEST]
    point = Point(pot=0, account=BEN, offset=300 * PPM)
    assert "NotCountersigned" in refusals(entries, point)
    for key in (PAYER_KEY, NODE_KEY):
        signed = replace(claimed, countersignature=sign_digest(key, receipt_digest(claimed.receipt, PAYMENTS)))
        forged = [(signed if c is claimed else c, o) for c, o in entries]
        assert "NotCountersigned" in refusals(forged, point)
        assert "shown" not in refusals(forged, point)


@pytest.mark.parametrize(
    ("cumulative", "refusal"),
    [(5, "Misplaced"), (404, "Misplaced"), (405, "shown"), (555, "shown"), (556, "Misplaced")],
)
def test_a_receipt_must_lie_within_what_its_lanes_item_claims(cumulative: int, refusal: str) -> None:
    """Receipts of an earlier or a later claim would be shown twice, once in each."""
    lane, answer = Lane(adapter=1, answers=(Answer(price=550),)), Answer(price=400, shares=of_a((LIAR, PPM)))
    made = receipt_of(1, lane, answer, 0, cumulative)
    gap = max(cumulative - 405, 0)
    entries: Entries = [*HONEST[:2], (receipt_of(1, lane, Answer(price=gap), 0, gap), ()), (made, (0, 0))]
    assert refusals(entries, Point(pot=0, account=LIAR, offset=0))[-2] == refusal


def test_a_receipt_of_an_item_that_was_skipped_has_no_place() -> None:
    lane = Lane(adapter=1, answers=(Answer(price=900),), start=0)
    made = receipt_of(2, lane, Answer(price=900, shares=of_a((LIAR, PPM))), 0, 900)
    entries: Entries = [*HONEST, (made, (0, 0))]
    assert "BadProof" in refusals(entries, Point(pot=0, account=LIAR, offset=0))
    assert "shown" not in refusals(entries, Point(pot=0, account=LIAR, offset=0))


@pytest.mark.parametrize("ppms", [(PPM, PPM), (PPM, 1), (1, PPM - 2), (0, 1)])
def test_a_friendly_payer_cannot_countersign_more_shares_than_the_whole(ppms: tuple[int, int]) -> None:
    shares = ((D, ANN, ppms[0]), (D, LIAR, ppms[1]), (E, CAT, PPM))
    lane = Lane(adapter=1, answers=(Answer(price=550),))
    entries: Entries = [*HONEST[:2], (receipt_of(1, lane, Answer(price=550, shares=shares), 0, 555), (0, 0, 0))]
    assert "BadShares" in refusals(entries, Point(pot=0, account=LIAR, offset=0))
    assert "shown" not in refusals(entries, Point(pot=0, account=LIAR, offset=0))


POINT, OPENING = open_at(0, ANN, 0)
OTHER = open_at(0, ANN, 400 * 250_000)[1]


def with_bit(proof: SumProof) -> SumProof:
    """A second name of the same leaf."""
    return replace(proof, index=proof.index | 1 << len(proof.siblings))


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"share": 1}, "NotShown"),
        ({"share": 2}, "NotShown"),
        ({"offsets": (1, 0, 0)}, "NotShown"),
        ({"offsets": (0, 1, 0)}, "BadProof"),
        ({"offsets": (0, 0)}, "BadProof"),
        ({"shares": (replace(OPENING.shares[0], ppm=PPM), *OPENING.shares[2:])}, "NotCountersigned"),
        ({"shares": (*OPENING.shares[:2], replace(OPENING.shares[2], account=LIAR))}, "NotCountersigned"),
        ({"receipt": replace(OPENING.receipt, amount_wei=Wei(401))}, "NotCountersigned"),
        ({"receipt": replace(OPENING.receipt, issued_at_s=1)}, "NotCountersigned"),
        ({"countersignature": b""}, "NotCountersigned"),
        ({"countersignature": OTHER.countersignature}, "NotCountersigned"),
        ({"authorizer": PAYER}, "NotCountersigned"),
        ({"from_wei": Wei(4)}, "BadProof"),
        ({"to_wei": Wei(556)}, "BadProof"),
        ({"item": OTHER.item}, "BadProof"),
        ({"item": with_bit(OPENING.item)}, "BadProof"),
        ({"place": OTHER.place}, "BadProof"),
        ({"place": with_bit(OPENING.place)}, "BadProof"),
    ],
)
def test_an_opening_with_anything_changed_is_refused(changes: dict[str, object], refusal: str) -> None:
    tampered = replace(OPENING, **changes)  # type: ignore[arg-type]  # of the fields' own types
    verify_of(OPENING, POINT)
    with pytest.raises(RefusedError, match=f"^{refusal}$"):
        verify_of(tampered, POINT)


def test_a_payer_of_the_nodes_own_cannot_sign_for_anothers_channel() -> None:
    signature = sign_digest(PAYER_KEY, receipt_digest(OPENING.receipt, PAYMENTS))
    with pytest.raises(RefusedError, match="BadProof"):
        verify_of(replace(OPENING, countersignature=signature, authorizer=PAYER), POINT)


def test_a_receipt_of_another_adapter_shows_nothing_in_this_ones_pot() -> None:
    """Ben earned 200 in Datanet D by adapter B; that is another pot than D's of adapter A."""
    point, opening = open_at(2, BEN, 0)
    verify_of(opening, point)
    with pytest.raises(RefusedError, match="NotCountersigned"):
        verify_of(opening, replace(point, pot=0))
