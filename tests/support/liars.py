"""Somebody between a payer and a node who changes what they say, and a payer that says what a script tells it."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import trio
import trio.testing

from openledger_node.errors import NetworkError
from openledger_node.p2p.streams import MessageStream
from openledger_node.payments.payer import Bought, Purchase
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import ProtocolError
from openledger_protocol.payments import Receipt, SignedVoucher, Voucher, nonce_commit, receipt_digest, voucher_digest
from openledger_protocol.primitives import ChannelId, Nonce, Wei
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

from .paid import Market
from .sides import CHANNEL, DOMAIN, sign_as

Tamper = Callable[[InferenceMessage], Iterable[InferenceMessage]]
"""What is said instead of a message."""


async def buy_through(
    market: Market, wanted: Purchase, *, by_node: Tamper | None = None, by_payer: Tamper | None = None
) -> Bought:
    """Buy from a node whose words, or to whom ours, are changed on the way."""
    ours, theirs = trio.testing.memory_stream_pair()
    num_served = market.num_served
    outcome: Bought | ProtocolError | NetworkError | None = None

    async def show(_: str) -> None:
        return

    async with trio.open_nursery() as nursery:
        node, payer = messages_of(await market.open_stream()), messages_of(theirs)
        nursery.start_soon(_relay, node, payer, by_node or as_it_is)
        nursery.start_soon(_relay, payer, node, by_payer or as_it_is)
        try:
            outcome = await market.buyer.buy(wanted, ours, show)
        except (ProtocolError, NetworkError) as error:
            outcome = error  # raised below: a nursery would wrap it
        await market.wait_served(num_served + 1)
        nursery.cancel_scope.cancel()
    if isinstance(outcome, Bought):
        return outcome
    assert outcome is not None
    raise outcome


def as_it_is(message: InferenceMessage) -> Iterable[InferenceMessage]:
    return (message,)


def change(kind: type[Any], **changes: Callable[[Any], Any]) -> Tamper:
    """Change fields of each message of a kind, each by what is made of the message."""

    def tamper(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, kind):
            message = replace(message, **{name: make(message) for name, make in changes.items()})
        return (message,)

    return tamper


def receipt(signer: str = "signer", **changes: Callable[[Receipt], Any]) -> Tamper:
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


async def _relay(source: MessageStream, target: MessageStream, tamper: Tamper) -> None:
    try:
        while True:
            for told in tamper(decode(await source.receive())):
                await target.send(encode(told))
    except NetworkError:
        await target.aclose()


def messages_of(stream: trio.abc.Stream) -> MessageStream:
    return MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)


# ---- a payer that follows a script


def voucher_of(ceiling_wei: int, *, by: str = "authorizer", channel: ChannelId = CHANNEL) -> SignedVoucher:
    voucher = Voucher(channel_id=channel, max_claimable_wei=Wei(ceiling_wei))
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
        nonce_commit=nonce_commit(wanted.nonce),
        salts=wanted.salts,
        auditable=wanted.auditable,
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

    async def countersign(self, told: Receipt, nonce: Nonce, *, by: str = "authorizer") -> None:
        await self.say(Countersign(signature=sign_as(by)(receipt_digest(told, DOMAIN)), nonce=nonce))


@asynccontextmanager
async def script(market: Market) -> AsyncIterator[Script]:
    """Open a stream; when it ends, so has the node's side of it."""
    num_served = market.num_served
    stream = await market.open_stream()
    yield Script(stream, messages_of(stream))
    await stream.aclose()
    await market.wait_served(num_served + 1)
