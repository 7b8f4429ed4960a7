"""Values that contracts keep by hash, encoded as Solidity encodes them."""

from dataclasses import replace

from eth_abi.abi import decode, encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from support.signed import CONFIG, account, configs, digest, parts, weis

from openledger_protocol.primitives import AdapterId, DatanetId, Wei
from openledger_protocol.settlement import (
    CONFIG_TYPE,
    ITEM_TYPE,
    ClaimRecord,
    Credit,
    Item,
    Part,
    Payout,
    Pot,
    config_tuple,
    item_tuple,
    items_hash,
    payouts_hash,
    record_hash,
)

BASE, ADAPTER = AdapterId(digest("0")), AdapterId(digest("a"))

items = st.builds(
    Item,
    config=configs,
    max_claimable_wei=weis,
    signature=st.binary(min_size=65, max_size=65),
    from_wei=weis,
    to_wei=weis,
    parts=st.lists(parts, max_size=3).map(tuple),
)

ITEM = Item(
    config=CONFIG,
    max_claimable_wei=Wei(90),
    signature=b"\x07" * 65,
    from_wei=Wei(10),
    to_wei=Wei(80),
    parts=(Part(adapter=0, amount_wei=Wei(30)), Part(adapter=1, amount_wei=Wei(40))),
)


def word(value: int | str) -> bytes:
    return (int(value, 16) if isinstance(value, str) else value).to_bytes(32, "big")


def test_items_are_hashed_as_solidity_encodes_them_written_out_by_hand() -> None:
    signature = [65, *(int.from_bytes(b"\x07" * 32, "big"),) * 2, 7 << 248]
    item = [
        *(CONFIG.payer, CONFIG.authorizer, CONFIG.node, 40, CONFIG.salt),
        *(90, 10 * 32, 10, 80, 14 * 32),  # offsets from the item's start: of the signature, of the parts
        *signature,
        *(2, 0, 30, 1, 40),
    ]
    words = [64, 160, 2, BASE, ADAPTER, 1, 32, *item]
    expected = keccak(b"".join(word(value) for value in words))
    assert items_hash([BASE, ADAPTER], [ITEM]) == "0x" + expected.hex()


def test_payouts_are_hashed_as_solidity_encodes_them_written_out_by_hand() -> None:
    words = [32, 2, 0, account(1), 5, 3, account(2), 2**200]
    lines = [Payout(pot=0, account=account(1), weight=5), Payout(pot=3, account=account(2), weight=2**200)]
    assert payouts_hash(lines) == "0x" + keccak(b"".join(word(value) for value in words)).hex()


@given(items)
def test_items_and_configs_can_be_encoded_for_a_call(item: Item) -> None:
    row = decode([ITEM_TYPE], encode([ITEM_TYPE], [item_tuple(item)]))[0]
    assert row[1:5] == (item.max_claimable_wei, item.signature, item.from_wei, item.to_wei)
    assert row[0] == decode([CONFIG_TYPE], encode([CONFIG_TYPE], [config_tuple(item.config)]))[0]


def test_another_split_between_adapters_is_another_hash() -> None:
    """It is signed, so a node can't keep royalties unseen."""
    moved = replace(ITEM, parts=(Part(adapter=0, amount_wei=Wei(31)), Part(adapter=1, amount_wei=Wei(39))))
    hashes = {items_hash([BASE, ADAPTER], [item]) for item in (ITEM, moved)} | {items_hash([ADAPTER], [ITEM])}
    assert len(hashes) == 3


def test_every_field_of_a_record_is_in_its_hash() -> None:
    record = ClaimRecord(
        node=account(1),
        seq=1,
        epoch=1,
        claimed_at_s=1,
        items_hash=digest("1"),
        receipts_root=digest("1"),
        count=1,
        skipped=1,
        gross_wei=Wei(1),
        protocol_wei=Wei(1),
        stakers_wei=Wei(1),
        node_share_wei=Wei(1),
        credits=(Credit(account=account(1), amount_wei=Wei(1)),),
        pots=(Pot(adapter_id=ADAPTER, datanet_id=DatanetId(digest("d")), gross_wei=Wei(1), amount_wei=Wei(1)),),
    )
    numbers = ("seq", "epoch", "claimed_at_s", "count", "skipped")
    amounts = ("gross_wei", "protocol_wei", "stakers_wei", "node_share_wei")
    changed = [
        *(replace(record, **{name: 2}) for name in (*numbers, *amounts)),
        *(replace(record, **{name: digest("2")}) for name in ("items_hash", "receipts_root")),
        replace(record, node=account(2)),
        replace(record, credits=()),
        replace(record, pots=()),
    ]
    assert len({record_hash(record), *(record_hash(other) for other in changed)}) == len(changed) + 1
