"""A claim's parts, rounded as the contract rounds them; every claim sums to its gross."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import AUTHORIZER_KEY, CHANNEL, CONFIG, NODE, PAYER_KEY, PAYMENTS, account, digest, uints

from openledger_protocol.claims import (
    AdapterTerms,
    ChannelBalance,
    DatanetTerms,
    SkipCode,
    compute_claim,
    is_claimable,
    part_down,
    skip_codes,
    skipped_mask,
)
from openledger_protocol.constants import CLAIM_ADAPTERS_MAX, CLAIM_ITEMS_MAX, PPM
from openledger_protocol.epoch import Params
from openledger_protocol.errors import ClaimRefusedError
from openledger_protocol.payments import Voucher, channel_id, voucher_digest
from openledger_protocol.primitives import AdapterId, DatanetId, Salt, Wei
from openledger_protocol.settlement import ClaimRecord, Credit, EpochClaim, Item, Part, Pot, items_hash
from openledger_protocol.signatures import sign_digest

BASE, A, B = AdapterId(digest("0")), AdapterId(digest("a")), AdapterId(digest("b"))
D, E = DatanetId(digest("d")), DatanetId(digest("e"))
OWNER_A, OWNER_B, OWNER_D, OWNER_E, TREASURY = (account(number) for number in range(1, 6))

PARAMS = Params(
    protocol_ppm=50_000,
    stakers_ppm=50_000,
    data_ppm=200_000,
    algo_id=1,
    min_stake_wei=Wei(1),
    min_deposit_wei=Wei(1),
    adapter_bond_wei=Wei(1),
    credit_tokens_max=32,
)
REGISTRY = {
    A: AdapterTerms(owner=OWNER_A, royalty_ppm=100_000, datanets=((D, 250_000), (E, 750_000))),
    B: AdapterTerms(owner=OWNER_B, royalty_ppm=0, datanets=()),
}
DATANETS = {
    D: DatanetTerms(owner=OWNER_D, owner_ppm=100_000, treasury=TREASURY),
    E: DatanetTerms(owner=OWNER_E, owner_ppm=0, treasury=TREASURY),
}


def item(*amounts: int, start: int = 0) -> Item:
    parts = tuple(Part(adapter=index, amount_wei=Wei(amount)) for index, amount in enumerate(amounts) if amount)
    total = start + sum(amounts)
    voucher = Voucher(channel_id=CHANNEL, max_claimable_wei=Wei(total))
    return Item(
        config=CONFIG,
        max_claimable_wei=Wei(total),
        signature=sign_digest(AUTHORIZER_KEY, voucher_digest(voucher, PAYMENTS)),
        from_wei=Wei(start),
        to_wei=Wei(total),
        parts=parts,
    )


def compute(
    *items: Item,
    adapters: Sequence[AdapterId] = (BASE, A, B),
    skipped: int = 0,
    params: Params = PARAMS,
    registry: Mapping[AdapterId, AdapterTerms] = REGISTRY,
) -> ClaimRecord:
    claim = EpochClaim(
        node=NODE, seq=7, epoch=3, items_hash=items_hash(adapters, items), receipts_root=digest("f"), count=9
    )
    return compute_claim(
        claim,
        adapters,
        items,
        skipped=skipped,
        claimed_at_s=100,
        params=params,
        registry=registry,
        datanets=DATANETS,
    )


def total_of(record: ClaimRecord) -> int:
    others = sum(c.amount_wei for c in record.credits) + sum(p.amount_wei for p in record.pots)
    return record.protocol_wei + record.stakers_wei + record.node_share_wei + others


def test_a_claim_is_divided_adapter_by_adapter() -> None:
    record = compute(item(1_000, 2_000, 0), item(0, 2_000, 500, start=3_000))
    assert record == ClaimRecord(
        node=NODE,
        seq=7,
        epoch=3,
        claimed_at_s=100,
        items_hash=record.items_hash,
        receipts_root=digest("f"),
        count=9,
        skipped=0,
        gross_wei=Wei(5_500),
        protocol_wei=Wei(275),
        stakers_wei=Wei(275),
        node_share_wei=Wei(5_500 - 550 - 400 - 20 - 180 - 600),
        credits=(
            Credit(account=OWNER_A, amount_wei=Wei(400)),
            Credit(account=OWNER_D, amount_wei=Wei(20)),
        ),
        pots=(
            Pot(adapter_id=A, datanet_id=D, gross_wei=Wei(4_000), amount_wei=Wei(180)),
            Pot(adapter_id=A, datanet_id=E, gross_wei=Wei(4_000), amount_wei=Wei(600)),
        ),
    )


def test_parts_are_rounded_for_each_adapter_by_itself() -> None:
    assert compute(item(19, 19, 19)).protocol_wei == 0
    assert compute(item(20, 19, 19)).protocol_wei == 1


def test_a_small_claim_goes_to_the_node_but_its_pots_stay() -> None:
    """A pot of nothing still needs its list: what the adapter earned is not nothing."""
    record = compute(item(0, 1, 0))
    assert record.node_share_wei == record.gross_wei == 1
    assert record.credits == ()
    assert [(pot.gross_wei, pot.amount_wei) for pot in record.pots] == [(1, 0), (1, 0)]


def test_an_adapter_that_earned_nothing_has_neither_credit_nor_pot() -> None:
    record = compute(item(1_000, 0, 0))
    assert (record.credits, record.pots) == ((), ())
    assert record.node_share_wei == 900


def test_the_base_alone_owes_no_royalty_and_no_data_share() -> None:
    assert compute(item(10**18), adapters=[BASE]).node_share_wei == 9 * 10**17


def test_what_is_skipped_is_not_counted() -> None:
    record = compute(item(1_000, 0, 0), item(0, 5_000, 0), item(0, 0, 7), skipped=0b110)
    assert (record.gross_wei, record.skipped, record.pots) == (1_000, 0b110, ())


@given(st.lists(st.tuples(uints(60), uints(60), uints(60)), min_size=1, max_size=4), uints(4), st.data())
def test_every_claim_sums_to_its_gross(
    amounts: list[tuple[int, int, int]], skipped: int, data: st.DataObject
) -> None:
    ppm = st.integers(0, 250_000)
    params = replace(PARAMS, protocol_ppm=data.draw(ppm), stakers_ppm=data.draw(ppm), data_ppm=data.draw(ppm))
    record = compute(*(item(*three) for three in amounts), skipped=skipped, params=params)
    counted = sum(sum(three) for index, three in enumerate(amounts) if not skipped >> index & 1)
    assert total_of(record) == record.gross_wei == counted
    assert record.node_share_wei >= 0
    assert all(credit.amount_wei > 0 for credit in record.credits)


@pytest.mark.parametrize(
    ("amount", "ppm", "expected"), [(0, PPM, 0), (1, PPM - 1, 0), (3, 333_334, 1), (10, PPM, 10)]
)
def test_a_part_is_rounded_down(amount: int, ppm: int, expected: int) -> None:
    assert part_down(amount, ppm) == expected


def test_a_claim_is_refused_as_the_contract_would() -> None:
    many = [AdapterId("0x" + number.to_bytes(32, "big").hex()) for number in range(CLAIM_ADAPTERS_MAX + 1)]
    one = item(1, 0, 0)
    cases: list[tuple[list[Item], Sequence[AdapterId], str]] = [
        ([], [BASE], "1 to 256 items, not 0"),
        ([one] * (CLAIM_ITEMS_MAX + 1), [BASE], "1 to 256 items, not 257"),
        ([one], many, "at most 32 adapters, not 33"),
        ([one], [B, A], "adapters ascend"),
        ([one], [A, A], "adapters ascend"),
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
        compute(item(1, 0, 0), adapters=[BASE, A], registry={A: replace(offered, claimable_until_s=1)})


def test_a_claim_for_other_items_than_it_signed_is_refused() -> None:
    claim = EpochClaim(node=NODE, seq=0, epoch=0, items_hash=digest("1"), receipts_root=digest("2"), count=1)
    with pytest.raises(ClaimRefusedError, match="itemsHash is of other adapters or items"):
        compute_claim(
            claim,
            [BASE],
            [item(1)],
            skipped=0,
            claimed_at_s=0,
            params=PARAMS,
            registry=REGISTRY,
            datanets=DATANETS,
        )


def test_too_many_pots_are_refused() -> None:
    adapters = [AdapterId("0x" + number.to_bytes(32, "big").hex()) for number in range(1, 10)]
    terms = AdapterTerms(owner=OWNER_A, royalty_ppm=0, datanets=((D, 125_000),) * 8)
    items = [item(*[1] * 9)]
    claim = EpochClaim(
        node=NODE, seq=0, epoch=0, items_hash=items_hash(adapters, items), receipts_root=digest("2"), count=1
    )
    with pytest.raises(ClaimRefusedError, match="72 pots, over 64: split it by adapters"):
        compute_claim(
            claim,
            adapters,
            items,
            skipped=0,
            claimed_at_s=0,
            params=PARAMS,
            registry=dict.fromkeys(adapters, terms),
            datanets=DATANETS,
        )


# ---- which items count


def codes(*items: Item, deposit: int = 100, claimed: int = 10) -> list[SkipCode | None]:
    balances = {CHANNEL: ChannelBalance(deposit_wei=Wei(deposit), claimed_wei=Wei(claimed))}
    return skip_codes(NODE, items, 2, balances, PAYMENTS)


SOUND = item(30, 20, start=10)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (SOUND, None),
        (replace(SOUND, config=replace(CONFIG, node=account(9))), SkipCode.OTHER_NODE),
        (replace(SOUND, from_wei=Wei(9)), SkipCode.NOT_FROM_CLAIMED),
        (replace(SOUND, from_wei=Wei(11)), SkipCode.NOT_FROM_CLAIMED),
        (replace(SOUND, to_wei=Wei(10), parts=()), SkipCode.NOTHING_NEW),
        (replace(SOUND, max_claimable_wei=Wei(59)), SkipCode.OVER_VOUCHER),
        (item(30, 61, start=10), SkipCode.OVER_DEPOSIT),
        (replace(SOUND, to_wei=Wei(59)), SkipCode.BAD_PARTS),
        (replace(SOUND, parts=SOUND.parts[::-1]), SkipCode.BAD_PARTS),
        (replace(SOUND, parts=(Part(adapter=0, amount_wei=Wei(25)),) * 2), SkipCode.BAD_PARTS),
        (replace(SOUND, parts=(Part(adapter=2, amount_wei=Wei(50)),)), SkipCode.BAD_PARTS),
        (replace(SOUND, max_claimable_wei=Wei(61)), SkipCode.BAD_VOUCHER),
        (replace(SOUND, signature=b""), SkipCode.BAD_VOUCHER),
        (replace(SOUND, signature=sign_digest(PAYER_KEY, bytes(32))), SkipCode.BAD_VOUCHER),
    ],
)
def test_an_item_is_skipped_for_the_first_rule_that_it_breaks(changed: Item, expected: SkipCode | None) -> None:
    assert codes(changed) == [expected]


def test_an_item_that_counts_moves_its_channel_on() -> None:
    replayed, next_one = item(30, 20, start=10), item(5, 0, start=60)
    assert codes(SOUND, replayed, next_one) == [None, SkipCode.NOT_FROM_CLAIMED, None]
    assert skipped_mask(codes(SOUND, replayed, next_one)) == 0b010


def test_a_channel_that_was_never_opened_holds_nothing() -> None:
    other = replace(CONFIG, salt=Salt(digest("6")))
    assert channel_id(other, PAYMENTS) != CHANNEL
    assert codes(replace(item(5), config=other)) == [SkipCode.OVER_DEPOSIT]
