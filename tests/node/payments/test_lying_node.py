"""A node that says other than it did gets no countersignature, and hears why; and no crash or mix-up helps it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.liars import Tamper, buy_through, change, receipt
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import CHANNEL, CHUNK_TOKENS, Clock, price, word

from openledger_node.errors import NetworkError
from openledger_node.payments.payer import Purchase
from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.errors import (
    AttributionError,
    BadSignatureError,
    MalformedError,
    ProtocolError,
    ReceiptRefusedError,
)
from openledger_protocol.primitives import Address, DatanetId, Digest
from openledger_protocol.wire.inference import (
    Chunk,
    Countersign,
    ErrorMessage,
    InferenceMessage,
    Ping,
    ReceiptMessage,
)

JUMP_NS = 400 * 86_400 * 10**9

DATANET, OTHER_DATANET = (DatanetId(word(name)) for name in ("datanet", "other"))
CONTRIBUTOR = Address("0x" + "22" * 20)


def more(field: str, by: int = 1) -> Any:
    return lambda told: getattr(told, field) + by


def other(_: object) -> Digest:
    return Digest(word("other"))


def shared(*rows: tuple[str, str, int], stated: bool = True) -> Tamper:
    """A receipt with these shares; `stated`: its hash is theirs."""
    shares = tuple(Share(datanet_id=DatanetId(d), account=Address(a), ppm=ppm) for d, a, ppm in rows)

    def tamper(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, ReceiptMessage):
            (message,) = receipt(shares_hash=lambda _: shares_hash(shares if stated else ()))(message)
            assert isinstance(message, ReceiptMessage)
            message = replace(message, shares=shares)
        return (message,)

    return tamper


def with_token_more(message: InferenceMessage) -> Iterable[InferenceMessage]:
    """After the last token that was agreed on comes one more."""
    yield message
    if isinstance(message, Chunk) and message.tokens == 5:
        owed_wei = price(5, 6)
        yield Chunk(text="e", ids=(101,), tokens=6, cumulative=owed_wei)


CHUNKS: dict[str, tuple[Tamper, str]] = {
    "counts a token more": (change(Chunk, tokens=more("tokens")), "the node counts 2 tokens, and has sent 1"),
    "counts a token less": (change(Chunk, tokens=more("tokens", -1)), "the node counts 0 tokens, and has sent 1"),
    "asks for a wei more": (
        change(Chunk, cumulative=more("cumulative")),
        f"the node says {price(5, 1) + 1} wei are owed, and {price(5, 1)} is the most",
    ),
    "asks for a wei less": (
        change(Chunk, cumulative=more("cumulative", -1)),
        f"the node says {price(5, 1) - 1} wei are owed, and {price(5, 1)} is the least",
    ),
    "sends more than agreed": (with_token_more, "the node has sent 6 tokens, and 5 were agreed on"),
    "other ids than its text": (
        change(Chunk, ids=lambda _: (88,)),
        "the text that the node has sent is not what its token ids say",
    ),
}

RECEIPTS: dict[str, tuple[Tamper, str]] = {
    "another channel": (receipt(channel_id=other), f"channel_id {word('other')} is not {CHANNEL}"),
    "another adapter": (receipt(adapter_id=other), f"adapter_id {word('other')} is not 0x0"),
    "another algorithm": (receipt(algo_id=lambda _: 5), "algo_id 5 is not 1"),
    "a wei more": (
        receipt(amount_wei=more("amount_wei"), cumulative_wei=more("cumulative_wei")),
        "the receipt's amount_wei .* is not",
    ),
    "charged before": (receipt(cumulative_wei=more("cumulative_wei")), "the receipt's cumulative_wei .* is not"),
    "issued before": (receipt(issued_at_s=more("issued_at_s", -1_000)), "issued_at_s .* is minutes off"),
    "a seq beyond all": (receipt(seq=lambda _: 2**64 - 1), "seq .* is over the most"),
    "another profile": (receipt(work__profile_hash=other), "profile_hash .* is not"),
    "another index": (receipt(work__index_root=other), "index_root .* is not"),
    "another prompt": (receipt(work__prompt_commit=other), "prompt_commit .* is not"),
    "another answer": (receipt(work__output_commit=other), "output_commit .* is not"),
    "retrieved rows": (receipt(work__retrieval_hash=other), "retrieval_hash .* is not"),
    "other token ids": (receipt(work__fingerprint=other), "fingerprint .* is not"),
    "a longer prompt": (receipt(work__tokens_in=lambda _: 6), "tokens_in 6 is not 5"),
    "a longer answer": (receipt(work__tokens_out=lambda told: told.work.tokens_out + 1), "tokens_out .* is not"),
}

SHARES: dict[str, tuple[Tamper, type[ProtocolError], str]] = {
    "none at all": (shared(), AttributionError, "the shares are of 0 Datanets, not of the adapter's 1"),
    "of another Datanet": (
        shared((DATANET, CONTRIBUTOR, 1_000_000), (OTHER_DATANET, CONTRIBUTOR, 1_000_000)),
        AttributionError,
        "of 2 Datanets, not of the adapter's 1|ascend by Datanet",
    ),
    "a ppm short": (shared((DATANET, CONTRIBUTOR, 999_999)), AttributionError, "sum to 999999 ppm, not to 1000000"),
    "other than signed": (
        shared((DATANET, CONTRIBUTOR, 1_000_000), stated=False),
        ReceiptRefusedError,
        "shares_hash .* is not",
    ),
}


async def refused(
    market: Market, by_node: Tamper, error: type[ProtocolError], why: str, wanted: Purchase
) -> list[InferenceMessage]:
    """Buy; the payer refuses, and has countersigned and kept nothing. Returns its messages."""
    said: list[InferenceMessage] = []

    def listen(message: InferenceMessage) -> Iterable[InferenceMessage]:
        said.append(message)
        return (message,)

    with pytest.raises(error, match=why):
        await buy_through(market, wanted, by_node=by_node, by_payer=listen)
    assert not any(isinstance(message, Countersign) for message in said)
    assert market.buyer.ledger.receipts.newest(limit=10) == []
    (row,) = market.seller.ledger.receipts.newest(limit=10)
    assert row.countersignature is None
    return said


@pytest.mark.parametrize("lie", CHUNKS)
async def test_a_node_that_miscounts_is_left_at_once(market: Market, lie: str) -> None:
    tamper, why = CHUNKS[lie]
    await refused(market, tamper, ReceiptRefusedError, why, purchase(prompt="to...", max_tokens=5))
    channel = market.seller.ledger.channels.find(CHANNEL)
    assert channel is not None
    assert channel.charged_wei <= channel.ceiling_wei <= price(5, CHUNK_TOKENS) + 10


@pytest.mark.parametrize("lie", RECEIPTS)
async def test_a_receipt_that_says_other_than_was_done_is_not_countersigned(market: Market, lie: str) -> None:
    tamper, why = RECEIPTS[lie]
    said = await refused(market, tamper, ReceiptRefusedError, why, purchase())
    assert isinstance(said[-1], ErrorMessage), "the payer tells the node why"


@pytest.mark.parametrize("lie", SHARES)
async def test_shares_that_do_not_add_up_are_not_countersigned(market: Market, lie: str) -> None:
    tamper, error, why = SHARES[lie]
    await refused(market, tamper, error, why, purchase(datanet_ids=(DATANET,)))


@pytest.mark.parametrize(
    ("tamper", "error", "why"),
    [
        (receipt(signer="stranger"), BadSignatureError, "signed"),
        (change(ReceiptMessage, signature=lambda _: bytes(65)), ProtocolError, "signature"),
    ],
)
async def test_a_receipt_that_the_announced_key_did_not_sign_is_worth_nothing(
    market: Market, tamper: Tamper, error: type[ProtocolError], why: str
) -> None:
    await refused(market, tamper, error, why, purchase())


async def test_a_receipt_of_the_same_range_is_countersigned_for_one_stream_alone(market: Market) -> None:
    """A node that tells two streams that each comes right after the same receipt."""
    first: list[int] = []

    def from_zero(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, ReceiptMessage):
            first.append(message.receipt.seq)
            yield from receipt(cumulative_wei=lambda told: told.amount_wei)(message)
        else:
            yield message

    outcomes: list[str] = []

    async def buy(market: Market, name: str) -> None:
        try:
            await buy_through(market, purchase(name, prompt="ab...", max_tokens=6), by_node=from_zero)
            outcomes.append("bought")
        except ReceiptRefusedError as error:
            outcomes.append(error.message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(buy, market, "r1")
        nursery.start_soon(buy, market, "r2")
    assert len(first) == 2
    bought, refused_ = sorted(outcomes, key=lambda outcome: outcome != "bought")
    assert bought == "bought"
    assert "the receipt's" in refused_


async def test_a_receipt_of_another_request_is_not_countersigned_in_place_of_this_ones(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(NetworkError):
        await buy_through(market, purchase(), by_node=receipt(work__request_id=other))
    (row,) = market.seller.ledger.receipts.newest(limit=9)
    assert market.buyer.ledger.receipts.newest(limit=9) == []
    assert row.countersignature is None


async def test_a_receipt_sent_again_for_the_next_stream_is_refused(market: Market) -> None:
    old = (await market.buy(purchase("r1"))).receipt
    back = receipt(seq=lambda _: old.seq)
    with pytest.raises(ReceiptRefusedError, match=f"seq {old.seq} is not over the last one's {old.seq}"):
        await buy_through(market, purchase("r2"), by_node=back)


async def test_a_node_that_asks_for_more_than_the_vouchers_allow_is_left(market: Market) -> None:
    """It sends on and on without waiting for a voucher; what it asks is over the ceiling."""

    def flood(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if not isinstance(message, Chunk):
            return (message,)
        ids = (101,) * 100
        return (Chunk(text="e" * 100, ids=ids, tokens=100, cumulative=price(5, 100)),)

    ceiling = price(5, CHUNK_TOKENS)
    with pytest.raises(ReceiptRefusedError, match=f"wei are owed, and {ceiling} is the most"):
        await buy_through(market, purchase(prompt="on...", max_tokens=200), by_node=flood)
    known = market.buyer.ledger.channels.find(CHANNEL)
    assert known is not None
    assert known.ceiling_wei == ceiling


async def test_a_node_sends_chunks_a_receipt_and_errors_and_nothing_else(market: Market) -> None:
    def ping(message: InferenceMessage) -> Iterable[InferenceMessage]:
        return (Ping(), message)

    with pytest.raises(MalformedError, match="a node sends chunks, a receipt and errors, and nothing else"):
        await buy_through(market, purchase(), by_node=ping)


async def test_a_node_whose_clock_was_ahead_is_believed_again_once_it_is_right(tmp_path: Path) -> None:
    clock = Clock()
    clock.now_ns += JUMP_NS
    async with open_market(tmp_path, now_ns=clock) as market:
        with pytest.raises(ReceiptRefusedError, match="is minutes off the payer's clock"):
            await buy_through(market, purchase("r1"))
        clock.now_ns -= JUMP_NS
        bought = await buy_through(market, purchase("r2"))
        assert market.countersigned() == [False, True]
        second, first = market.seller.ledger.receipts.newest(limit=9)
        assert (first.receipt.seq, second.receipt.seq) == (1, 2), "it is no time"
        assert bought.receipt == second.receipt
        charged_wei = second.receipt.cumulative_wei - first.receipt.cumulative_wei
        assert charged_wei == bought.receipt.amount_wei == price(5, len(bought.ids))
