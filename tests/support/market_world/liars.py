"""Messages of a paid stream that are changed on the way, and a payer that follows a script."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio
import trio.testing

from openledger_node.errors import NetworkError
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId
from openledger_node.payments.payer import Bought, Purchase
from openledger_node.payments.purchase import CountedAnswer, exchange_of
from openledger_protocol.attribution import shares_hash
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.opening import work_of
from openledger_protocol.payments import Receipt, SignedVoucher, Voucher, receipt_digest, voucher_digest
from openledger_protocol.primitives import BASE_ONLY, AdapterId, ChannelId, Wei
from openledger_protocol.wire.inference import (
    Chunk,
    Countersign,
    ErrorMessage,
    InferenceMessage,
    Open,
    ReceiptMessage,
    VoucherMessage,
    decode,
    encode,
)

from .market import Market
from .requests import purchase
from .seller import Seller
from .terms import CHANNEL, CHUNK_TOKENS, DOMAIN, INFER, NOW_S, price, sign_as

Tamper = Callable[[InferenceMessage], Iterable[InferenceMessage]]
"""Returns the messages that are sent in place of one."""


def as_it_is(message: InferenceMessage) -> Iterable[InferenceMessage]:
    return (message,)


def tamper_with(seller: Seller, by_node: Tamper = as_it_is, by_payer: Tamper = as_it_is) -> None:
    """Change on the way, from now on, the messages of a seller's paid streams."""

    async def serve(peer: PeerId, stream: trio.abc.Stream) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_relay, stream, theirs, by_payer)
            nursery.start_soon(_relay, theirs, stream, by_node)
            await seller.serve(peer, ours)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    seller.transport.handle(INFER, serve)


def break_off(message: InferenceMessage) -> Iterable[InferenceMessage]:
    """Lose the receipt on its way."""
    return () if isinstance(message, ReceiptMessage) else (message,)


def forget(message: InferenceMessage) -> Iterable[InferenceMessage]:
    """Lose each countersignature on its way."""
    return () if isinstance(message, Countersign) else (message,)


async def buy_through(market: Market, wanted: Purchase, **tampers: Tamper) -> Bought:
    """Buy while messages are changed on the way, and wait until the node has ended the stream."""
    num_served = market.seller.num_served
    tamper_with(market.seller, **tampers)
    try:
        return await market.buy(wanted)
    finally:
        await market.seller.wait_served(num_served + 1)


def change(kind: type[Any], **changes: Callable[[Any], Any]) -> Tamper:
    """Change fields of each message of a kind, each by what is made of the message."""

    def tamper(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, kind):
            message = replace(message, **{name: make(message) for name, make in changes.items()})
        return (message,)

    return tamper


def receipt(signer: str = "node signer", **changes: Callable[[Receipt], Any]) -> Tamper:
    """Change fields of the receipt, `work__x` those of its work, and sign it anew."""

    def tamper(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, ReceiptMessage):
            told = message.receipt
            own = {name: make(told) for name, make in changes.items() if "__" not in name}
            work = {name.split("__")[1]: make(told) for name, make in changes.items() if "__" in name}
            told = replace(told, **own, work=replace(told.work, **work))
            message = replace(message, receipt=told, signature=sign_as(signer)(receipt_digest(told, DOMAIN)))
        return (message,)

    return tamper


async def _relay(source: trio.abc.Stream, target: trio.abc.Stream, tamper: Tamper) -> None:
    receiving, sending = messages_of(source), messages_of(target)
    try:
        while True:
            for told in tamper(decode(await receiving.receive())):
                await sending.send(encode(told))
    except NetworkError:
        await target.aclose()


def messages_of(stream: trio.abc.Stream) -> MessageStream:
    return MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)


def receipt_of(
    wanted: Purchase, *, num_tokens: int = CHUNK_TOKENS, by: str = "node signer", **changes: Any
) -> ReceiptMessage:
    """A node's receipt of a first chunk, or more, that it never sent."""
    work = work_of(
        exchange_of(wanted, CountedAnswer(tokens_in=5, text="", ids=())),
        request_id=wanted.request_id,
        adapter_id=wanted.adapter_id,
        profile_hash=wanted.profile_hash,
        index_root=wanted.index_root,
        tokens_in=5,
        canonical_ids=(),
    )
    told = Receipt(
        channel_id=CHANNEL,
        seq=1,
        issued_at_s=NOW_S,
        adapter_id=wanted.adapter_id,
        amount_wei=price(5, num_tokens),
        cumulative_wei=price(5, num_tokens),
        algo_id=wanted.algo_id,
        shares_hash=shares_hash(()),
        work=replace(work, tokens_out=num_tokens),
    )
    told = replace(told, **changes)
    return ReceiptMessage(receipt=told, signature=sign_as(by)(receipt_digest(told, DOMAIN)), shares=())


# ---- a payer that follows a script


def voucher_of(
    ceiling_wei: int, *, by: str = "authorizer", channel: ChannelId = CHANNEL, adapter: AdapterId = BASE_ONLY
) -> SignedVoucher:
    voucher = Voucher(channel_id=channel, adapter_id=adapter, max_claimable_wei=Wei(ceiling_wei))
    return SignedVoucher(voucher=voucher, signature=sign_as(by)(voucher_digest(voucher, DOMAIN)))


def open_of(wanted: Purchase, voucher: SignedVoucher, **changes: Any) -> Open:
    """The `open` of a purchase."""
    opened = Open(
        id=wanted.request_id,
        award=wanted.award,
        adapter=wanted.adapter_id,
        messages=wanted.messages,
        sampling=wanted.sampling,
        channel_config=wanted.channel_config,
        voucher=voucher,
        salts=wanted.salts,
        prefix="",
    )
    return replace(opened, **changes)


@dataclass
class Script:
    """One stream in the hands of a test."""

    raw: trio.abc.Stream
    messages: MessageStream

    async def say(self, *messages: InferenceMessage) -> None:
        for message in messages:
            await self.messages.send(encode(message))

    async def hear(self) -> InferenceMessage:
        return decode(await self.messages.receive())

    async def hear_error(self) -> ErrorMessage:
        """The next error; what else comes is passed over."""
        while not isinstance(heard := await self.hear(), ErrorMessage):
            pass
        return heard

    async def hear_receipt(self) -> tuple[list[Chunk], ReceiptMessage]:
        """All chunks up to the receipt, and the receipt."""
        chunks = []
        while not isinstance(heard := await self.hear(), ReceiptMessage):
            if isinstance(heard, Chunk):
                chunks.append(heard)
        return chunks, heard

    async def raise_to(self, ceiling_wei: int) -> None:
        await self.say(VoucherMessage(voucher=voucher_of(ceiling_wei)))

    async def countersign(self, told: Receipt, *, by: str = "authorizer") -> None:
        await self.say(Countersign(signature=sign_as(by)(receipt_digest(told, DOMAIN))))


async def show_nothing(_: str) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def streams_of(market: Market, *names: str) -> AsyncIterator[list[Script]]:
    """Streams on which the payer has paid for a first chunk, and that end without the seller's knowledge."""
    pairs = [trio.testing.memory_stream_pair() for _ in names]
    scripts = [Script(theirs, messages_of(theirs)) for _, theirs in pairs]
    async with trio.open_nursery() as nursery:

        async def buy(name: str, stream: trio.abc.Stream) -> None:
            with pytest.raises(NetworkError):
                await market.buyer.payer.buy(purchase(name), stream, show_nothing)

        for name, (ours, _), end in zip(names, pairs, scripts, strict=True):
            nursery.start_soon(buy, name, ours)
            await end.hear()
        yield scripts
        for end in scripts:
            await end.raw.aclose()


@asynccontextmanager
async def script(market: Market) -> AsyncIterator[Script]:
    """Open a stream; when it ends, so has the node's side of it."""
    num_served = market.seller.num_served
    stream = await market.open_stream()
    yield Script(stream, messages_of(stream))
    await stream.aclose()
    await market.seller.wait_served(num_served + 1)
