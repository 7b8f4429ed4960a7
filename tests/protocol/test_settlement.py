"""Values that contracts keep by hash, encoded as Solidity encodes them."""

from dataclasses import fields, replace

import pytest
from eth_abi.abi import decode, encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from support.signed import (
    AUTHORIZER,
    CHANNEL,
    PAYMENTS,
    account,
    claim_record,
    digest,
    receipts,
    spans,
    uints,
    weis,
)

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.eip712 import digest_word, struct_hash, type_hash, typed_digest
from openledger_protocol.payments import Receipt, receipt_digest
from openledger_protocol.primitives import AdapterId, DatanetId, Wei
from openledger_protocol.settlement import (
    OPENING_TYPE,
    Credit,
    ItemSpan,
    Pot,
    ReceiptOpening,
    item_leaf,
    opening_tuple,
    record_hash,
)
from openledger_protocol.sum_tree import SumProof

ADAPTER = AdapterId(digest("a"))
SPAN = ItemSpan(channel_id=CHANNEL, adapter_id=ADAPTER, authorizer=AUTHORIZER, from_wei=Wei(10), to_wei=Wei(80))


def word(value: int | str) -> bytes:
    return (int(value, 16) if isinstance(value, str) else value).to_bytes(32, "big")


def words(*values: int | str) -> bytes:
    return b"".join(word(value) for value in values)


@pytest.mark.parametrize("field", [spec.name for spec in fields(ItemSpan)])
def test_every_field_of_a_span_is_in_its_leaf(field: str) -> None:
    """The node signs it, so nobody can send a claim that moves a lane's money to another lane."""
    value = getattr(SPAN, field)
    other = account(9) if field == "authorizer" else value + 1 if field.endswith("_wei") else digest("9")
    assert item_leaf(replace(SPAN, **{field: other})) != item_leaf(SPAN)


@given(receipts, spans, st.lists(uints(32), max_size=3), st.lists(weis, max_size=3))
def test_an_opening_carries_all_that_its_receipts_digest_needs(
    receipt: Receipt, span: ItemSpan, ppms: list[int], sums: list[Wei]
) -> None:
    """A contract recomputes the digest from the call alone, and the adapter from the pot."""
    shares = [Share(datanet_id=DatanetId(digest("d")), account=account(i), ppm=ppm) for i, ppm in enumerate(ppms)]
    receipt = replace(receipt, shares_hash=shares_hash(shares))
    proof = SumProof(index=1, siblings=(bytes(32),) * len(sums), sums=tuple(sums))
    opening = ReceiptOpening(
        authorizer=span.authorizer,
        from_wei=span.from_wei,
        to_wei=span.to_wei,
        item=proof,
        receipt=receipt,
        shares=tuple(shares),
        countersignature=b"\x01" * 65,
        offsets=(7,) * len(shares),
        place=proof,
        share=0,
    )
    row = decode([OPENING_TYPE], encode([OPENING_TYPE], [opening_tuple(opening)]))[0]
    channel, seq, issued_at, amount, cumulative, algo, work = row[4:11]
    given_shares = [Share(datanet_id=DatanetId("0x" + d.hex()), account=a, ppm=ppm) for d, a, ppm in row[11]]
    kind = type_hash(
        "Receipt(bytes32 channelId,uint64 seq,uint64 issuedAt,bytes32 adapterId,uint128 amount,uint128 cumulative,"
        "uint32 algoId,bytes32 sharesHash,Work work)Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,"
        "uint32 tokensIn,uint32 tokensOut,bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,"
        "bytes32 signalsHash,bytes32 fingerprint)"
    )
    numbers = (word(number) for number in (seq, issued_at, int(receipt.adapter_id, 16), amount, cumulative, algo))
    struct = struct_hash(kind, channel, *numbers, digest_word(shares_hash(given_shares)), work)
    assert typed_digest(PAYMENTS, struct) == receipt_digest(receipt, PAYMENTS)
    assert row[:3] == (span.authorizer.lower(), span.from_wei, span.to_wei)
    assert row[12:] == (b"\x01" * 65, (7,) * len(shares), row[3], 0)


ONE = Wei(1)
POT = Pot(start_wei=ONE, adapter_id=ADAPTER, datanet_id=DatanetId(digest("d")), gross_wei=ONE, amount_wei=ONE)
RECORD = claim_record(
    node=account(1),
    gross_wei=ONE,
    protocol_wei=ONE,
    node_share_wei=ONE,
    credits=(Credit(account=account(1), amount_wei=ONE),),
    pots=(POT,),
)


def test_a_record_is_hashed_as_solidity_encodes_it_written_out_by_hand() -> None:
    head = words(32, account(1), 1, 1, 1, 1, digest("1"), 1, 1, 1, 11 * 32, 14 * 32)
    tail = words(1, account(1), 1, 1, 1, ADAPTER, digest("d"), 1, 1)
    assert record_hash(RECORD) == "0x" + keccak(head + tail).hex()


def test_every_field_of_a_record_is_in_its_hash() -> None:
    numbers = ("seq", "epoch", "claimed_at_s", "claimed_block")
    amounts = ("gross_wei", "protocol_wei", "node_share_wei")
    changed = [
        *(replace(RECORD, **{name: 2}) for name in (*numbers, *amounts)),
        *(replace(RECORD, pots=(replace(RECORD.pots[0], **{n: Wei(2)}),)) for n in ("start_wei", "gross_wei")),
        replace(RECORD, items_root=digest("2")),
        replace(RECORD, node=account(2)),
        replace(RECORD, credits=()),
        replace(RECORD, pots=()),
    ]
    assert len({record_hash(RECORD), *(record_hash(other) for other in changed)}) == len(changed) + 1
