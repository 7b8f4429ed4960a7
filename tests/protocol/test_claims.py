"""A claim's lanes, rounded as the contract rounds them; every claim sums to its gross."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import CHANNEL, CONFIG, NODE, PARAMS, PAYER_KEY, PAYMENTS, account, digest, lane_item, uints

from openledger_protocol.claims import (
    AdapterTerms,
    ChannelBalance,
    DatanetTerms,
    SkipCode,
    compute_claim,
    is_claimable,
    item_leaves,
    skip_codes,
)
from openledger_protocol.constants import CLAIM_ADAPTERS_MAX, CLAIM_ITEMS_MAX
from openledger_protocol.epoch import Params
from openledger_protocol.errors import BadProofError, ClaimRefusedError
from openledger_protocol.payments import channel_id
from openledger_protocol.primitives import AdapterId, DatanetId, Salt, Wei
from openledger_protocol.settlement import (
    ClaimRecord,
    Credit,
    EpochClaim,
    Item,
    Pot,
    items_hash,
    span_of,
)
from openledger_protocol.signatures import sign_digest
from openledger_protocol.sum_tree import SumTree, place_of, sum_root

BASE, A, B = AdapterId(digest("0")), AdapterId(digest("a")), AdapterId(digest("b"))
D, E = DatanetId(digest("d")), DatanetId(digest("e"))
OWNER_A, OWNER_B, OWNER_D, OWNER_E, TREASURY = (account(number) for number in range(1, 6))

REGISTRY = {
    A: AdapterTerms(owner=OWNER_A, royalty_ppm=100_000, datanets=((D, 250_000), (E, 750_000))),
    B: AdapterTerms(owner=OWNER_B, royalty_ppm=0, datanets=()),
}
DATANETS = {
    D: DatanetTerms(owner=OWNER_D, owner_ppm=100_000, treasury=TREASURY),
    E: DatanetTerms(owner=OWNER_E, owner_ppm=0, treasury=TREASURY),
}


ADAPTERS = (BASE, A, B)


def item(adapter: int, amount: int, *, start: int = 0) -> Item:
    """A valid item of the channel's lane for `ADAPTERS[adapter]`."""
    return lane_item(adapter, ADAPTERS[adapter], amount, start=start)


def compute(
    *items: Item,
    adapters: Sequence[AdapterId] = ADAPTERS,
    codes: Sequence[SkipCode | None] | None = None,
    params: Params = PARAMS,
    registry: Mapping[AdapterId, AdapterTerms] = REGISTRY,
    signed: Sequence[Item] | None = None,
) -> ClaimRecord:
    """Compute a claim of these items, which are those that its node signed unless `signed` names others."""
    named = [item for item in signed or items if item.adapter < len(adapters)]
    hashed = items_hash(span_of(item, adapters, PAYMENTS) for item in named)
    return compute_claim(
        EpochClaim(node=NODE, seq=7, epoch=3, items_hash=hashed),
        adapters,
        items,
        domain=PAYMENTS,
        codes=codes or [None] * len(items),
        claimed_at_s=100,
        claimed_block=50,
        params=params,
        registry=registry,
        datanets=DATANETS,
    )


def total_of(record: ClaimRecord) -> int:
    others = sum(c.amount_wei for c in record.credits) + sum(p.amount_wei for p in record.pots)
    return record.protocol_wei + record.node_share_wei + others


def test_a_claim_is_divided_adapter_by_adapter() -> None:
    items = [item(0, 1_000), item(1, 2_000), item(1, 2_000, start=2_000), item(2, 500)]
    assert compute(*items) == ClaimRecord(
        node=NODE,
        seq=7,
        epoch=3,
        claimed_at_s=100,
        claimed_block=50,
        items_root=sum_root(
            item_leaves([span_of(item, ADAPTERS, PAYMENTS) for item in items], [item.amount_wei for item in items])
        ),
        gross_wei=Wei(5_500),
        protocol_wei=Wei(275),
        node_share_wei=Wei(5_500 - 275 - 400 - 20 - 180 - 600),
        credits=(
            Credit(account=OWNER_A, amount_wei=Wei(400)),
            Credit(account=OWNER_D, amount_wei=Wei(20)),
        ),
        pots=(
            Pot(start_wei=Wei(1_000), adapter_id=A, datanet_id=D, gross_wei=Wei(4_000), amount_wei=Wei(180)),
            Pot(start_wei=Wei(1_000), adapter_id=A, datanet_id=E, gross_wei=Wei(4_000), amount_wei=Wei(600)),
        ),
    )


def test_lanes_are_rounded_for_each_adapter_by_itself() -> None:
    assert compute(item(0, 19), item(1, 19), item(2, 19)).protocol_wei == 0
    assert compute(item(0, 20), item(1, 19), item(2, 19)).protocol_wei == 1
    assert compute(item(1, 10), item(1, 10, start=10)).protocol_wei == 1


def test_an_adapter_that_earned_nothing_has_neither_credit_nor_pot() -> None:
    record = compute(item(0, 1_000))
    assert (record.credits, record.pots) == ((), ())
    assert record.node_share_wei == 950


def test_a_skipped_item_is_not_counted_and_has_no_room_on_the_line() -> None:
    items, code = [item(0, 1_000), item(0, 77), item(1, 400), item(1, 5), item(2, 7)], SkipCode.OVER_DEPOSIT
    record = compute(*items, codes=[None, code, None, code, code])
    assert (record.gross_wei, [pot.start_wei for pot in record.pots]) == (1_400, [1_000, 1_000])
    leaves = item_leaves(
        [span_of(item, ADAPTERS, PAYMENTS) for item in items], [Wei(a) for a in (1_000, 0, 400, 0, 0)]
    )
    tree = SumTree.of(leaves)
    assert record.items_root == tree.root
    assert place_of(record.items_root, leaves[2], tree.proof(2)) == 1_000
    with pytest.raises(BadProofError):  # nobody can show a receipt by an item that was not paid
        place_of(record.items_root, replace(leaves[3], amount=5), tree.proof(3))


@given(st.lists(st.tuples(st.integers(0, 2), uints(60), st.booleans()), min_size=1, max_size=9), st.data())
def test_every_claim_sums_to_its_gross(lanes: list[tuple[int, int, bool]], data: st.DataObject) -> None:
    ppm = st.integers(0, 250_000)
    params = replace(PARAMS, protocol_ppm=data.draw(ppm), data_ppm=data.draw(ppm))
    lanes = [(0, 1, True), *sorted(lanes)]
    codes = [None if counts else SkipCode.BAD_VOUCHER for _, _, counts in lanes]
    items = [unsigned(adapter, amount) for adapter, amount, _ in lanes]
    record = compute(*items, codes=codes, params=params)
    assert total_of(record) == record.gross_wei == sum(amount for _, amount, counts in lanes if counts)
    assert record.node_share_wei >= 0
    assert all(credit.amount_wei > 0 for credit in record.credits)
    starts = {pot.start_wei for pot in record.pots}
    assert starts <= {sum(amount for adapter, amount, counts in lanes if counts and adapter < 1)}


def unsigned(adapter: int, amount: int) -> Item:
    """An item without a voucher, for claims whose codes are given."""
    return replace(UNSIGNED, adapter=adapter, max_claimable_wei=Wei(amount), to_wei=Wei(amount))


UNSIGNED = replace(item(0, 1), signature=b"")


def test_a_claim_is_refused_as_the_contract_would() -> None:
    many = [AdapterId("0x" + number.to_bytes(32, "big").hex()) for number in range(CLAIM_ADAPTERS_MAX + 1)]
    one = item(0, 1)
    cases: list[tuple[list[Item], Sequence[AdapterId], str]] = [
        ([], [BASE], "1 to 256 items, not 0"),
        ([one] * (CLAIM_ITEMS_MAX + 1), [BASE], "1 to 256 items, not 257"),
        ([one], many, "at most 32 adapters, not 33"),
        ([one], [B, A], "adapters ascend"),
        ([one], [A, A], "adapters ascend"),
        ([one], [], "items ascend by adapter, and each names one"),
        ([one, item(1, 1)], [BASE], "items ascend by adapter, and each names one"),
        ([item(1, 1), one], [BASE, A], "items ascend by adapter, and each names one"),
        ([one], [BASE, AdapterId(digest("c"))], f"adapter {digest('c')} is not registered"),
    ]
    for items, adapters, message in cases:
        with pytest.raises(ClaimRefusedError, match=message):
            compute(*items, adapters=adapters)


def test_an_adapter_whose_bond_is_free_is_claimable_no_more() -> None:
    offered = REGISTRY[A]
    assert is_claimable(offered, 1 << 40)
    retired = replace(offered, claimable_until_s=100)
    assert (is_claimable(retired, 99), is_claimable(retired, 100)) == (True, False)
    with pytest.raises(ClaimRefusedError, match="was retired, and its bond is free"):
        compute(item(1, 5), adapters=[BASE, A], registry={A: replace(offered, claimable_until_s=1)})


@pytest.mark.parametrize(
    "moved",
    [
        {"adapter": 0, "max_claimable_wei": Wei(6)},
        {"from_wei": Wei(4)},
        {"to_wei": Wei(9)},
        {"config": replace(CONFIG, salt=Salt(digest("6")))},
        {"config": replace(CONFIG, authorizer=account(9))},
    ],
)
def test_a_claim_for_other_items_than_it_signed_is_refused(moved: dict[str, object]) -> None:
    """Or else whoever sends a node's claim could move its lanes."""
    signed = item(1, 5, start=3)
    other = replace(signed, **moved)  # type: ignore[arg-type]  # of the fields' own types
    with pytest.raises(ClaimRefusedError, match="itemsHash is of other adapters or items"):
        compute(other, adapters=[BASE, A], signed=[signed])


def test_too_many_pots_are_refused() -> None:
    adapters = [AdapterId("0x" + number.to_bytes(32, "big").hex()) for number in range(1, 10)]
    terms = AdapterTerms(owner=OWNER_A, royalty_ppm=0, datanets=((D, 125_000),) * 8)
    items = [unsigned(index, 1) for index in range(9)]
    with pytest.raises(ClaimRefusedError, match="72 pots, over 64: split it by adapters"):
        compute(*items, adapters=adapters, registry=dict.fromkeys(adapters, terms))


# ---- which items count


def codes(*items: Item, deposit: int = 100, claimed: int = 10, lane: int = 10) -> list[SkipCode | None]:
    """Of items of a channel of which the lane of A has claimed `lane` wei."""
    balance = ChannelBalance(deposit_wei=Wei(deposit), claimed_wei=Wei(claimed), lanes={A: Wei(lane)})
    return skip_codes(NODE, ADAPTERS, items, {CHANNEL: balance}, PAYMENTS)


SOUND = item(1, 50, start=10)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (SOUND, None),
        (replace(SOUND, config=replace(CONFIG, node=account(9))), SkipCode.OTHER_NODE),
        (replace(SOUND, from_wei=Wei(9)), SkipCode.NOT_FROM_CLAIMED),
        (replace(SOUND, from_wei=Wei(11)), SkipCode.NOT_FROM_CLAIMED),
        (item(2, 50, start=10), SkipCode.NOT_FROM_CLAIMED),
        (item(1, 60), SkipCode.NOT_FROM_CLAIMED),
        (replace(SOUND, to_wei=Wei(10)), SkipCode.NOTHING_NEW),
        (replace(SOUND, to_wei=Wei(5)), SkipCode.NOTHING_NEW),
        (replace(SOUND, max_claimable_wei=Wei(59)), SkipCode.OVER_VOUCHER),
        (item(1, 90, start=10), None),
        (item(1, 91, start=10), SkipCode.OVER_DEPOSIT),
        (replace(SOUND, max_claimable_wei=Wei(61)), SkipCode.BAD_VOUCHER),
        (replace(SOUND, signature=b""), SkipCode.BAD_VOUCHER),
        (replace(SOUND, signature=sign_digest(PAYER_KEY, bytes(32))), SkipCode.BAD_VOUCHER),
    ],
)
def test_an_item_is_skipped_for_the_first_rule_that_it_breaks(changed: Item, expected: SkipCode | None) -> None:
    assert codes(changed) == [expected]


def test_an_adapters_money_cannot_be_claimed_as_another_lanes() -> None:
    """The theft of version 1: a node named the base for what an adapter had earned, and kept its owners' parts."""
    earned = item(1, 50)
    assert codes(earned, lane=0) == [None]
    for adapter in (0, 2):
        assert codes(replace(earned, adapter=adapter), lane=0) == [SkipCode.BAD_VOUCHER]


def test_an_item_that_counts_moves_its_own_lane_on() -> None:
    replayed, next_one, other_lane = item(1, 50, start=10), item(1, 5, start=60), item(2, 3)
    assert codes(SOUND, replayed, next_one, other_lane) == [None, SkipCode.NOT_FROM_CLAIMED, None, None]


def test_the_lanes_of_a_channel_share_its_deposit() -> None:
    """Each voucher may be for all of it, since the payer can't know which lane is claimed first."""
    assert codes(item(0, 60), item(1, 31, start=10), item(2, 30)) == [None, SkipCode.OVER_DEPOSIT, None]
    assert codes(item(0, 60), item(1, 30, start=10), item(2, 1)) == [None, None, SkipCode.OVER_DEPOSIT]


def test_a_skipped_item_takes_nothing_of_the_deposit() -> None:
    unpaid = replace(item(0, 60), signature=b"")
    assert codes(unpaid, item(1, 90, start=10)) == [SkipCode.BAD_VOUCHER, None]


def test_a_channel_that_was_never_opened_holds_nothing() -> None:
    other = replace(CONFIG, salt=Salt(digest("6")))
    assert channel_id(other, PAYMENTS) != CHANNEL
    assert codes(replace(item(0, 5), config=other)) == [SkipCode.OVER_DEPOSIT]
