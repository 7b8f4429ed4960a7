"""The payer's half of a stream: it pays a chunk ahead, counts for itself, and signs for what it was given.

A node that asks for more than was agreed, or says that it gave more than it did, gets no further voucher and no
countersignature, and the payer has risked one chunk.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from openledger_protocol.attribution import Share
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.commitments import fingerprint, output_commit, prompt_commit
from openledger_protocol.constants import FLAG_AUDITABLE
from openledger_protocol.eip712 import Domain, hex_digest
from openledger_protocol.errors import MalformedError, PaymentRequiredError, ProtocolError, ReceiptRefusedError
from openledger_protocol.inference import Message, SamplingParams
from openledger_protocol.payments import ChannelConfig, Receipt, Work, nonce_commit, price_wei
from openledger_protocol.primitives import ZERO_DIGEST, AdapterId, Address, DatanetId, Digest, Nonce, RequestId, Wei
from openledger_protocol.receipts import Delivery, check_receipt
from openledger_protocol.wire.inference import (
    Award,
    Chunk,
    Countersign,
    ErrorMessage,
    Open,
    ReceiptMessage,
    Salts,
    VoucherMessage,
    decode,
    encode,
    error_from_message,
    error_message,
)

from ..errors import NetworkError
from ..inference.tokenizer import Tokenizer
from ..ledger.receipts import ReceiptRow
from ..p2p.streams import MessageStream
from .wallet import PayerChannel, PayerWallet

RECEIPT_TURN_TIMEOUT_S = 5.0
SEQ_AHEAD_NS = 3600 * 10**9
"""A node's clock may be ahead of ours by an hour; what is further ahead would hold up every later receipt."""

Show = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What is bought, from whom, and for how much at most."""

    request_id: RequestId
    award: Award
    adapter_id: AdapterId
    index_root: Digest
    datanet_ids: tuple[DatanetId, ...]
    profile_hash: Digest
    algo_id: int
    messages: tuple[Message, ...] | str
    sampling: SamplingParams
    channel_config: ChannelConfig
    signer: Address  # the node's key that signs receipts
    salts: Salts
    nonce: Nonce
    auditable: bool
    chunk_tokens: int  # paid ahead
    cost_max_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """An answer and the receipt for it."""

    text: str
    ids: tuple[int, ...]
    receipt: Receipt
    digest: Digest
    shares: tuple[Share, ...]
    why_cut: ProtocolError | None = None  # the answer ended early


@dataclass(slots=True, kw_only=True)
class _Stream:
    """One purchase on its way."""

    purchase: Purchase
    channel: PayerChannel
    messages: MessageStream
    tokens_in: int
    texts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    paid_tokens: int = 0
    why_cut: ProtocolError | None = None


class Payer:
    """Buys answers."""

    def __init__(
        self,
        *,
        wallet: PayerWallet,
        domain: Domain,
        tokenizer: Tokenizer,
        sign: Callable[[bytes], bytes],
        now_ns: Callable[[], int],
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._wallet = wallet
        self._domain = domain
        self._tokenizer = tokenizer
        self._sign = sign
        self._now_ns = now_ns
        self._fail_point = fail_point

    async def buy(self, purchase: Purchase, stream: trio.abc.Stream, show: Show) -> Bought:
        """Buy one answer; `show` gets its text as it comes.

        Raises:
            ProtocolError: the node refused the request, or did not keep what was agreed.
            NetworkError: the node left.
        """
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        prompt_ids = await trio.to_thread.run_sync(self._tokenizer.render, purchase.messages)
        live = _Stream(
            purchase=purchase,
            channel=await self._wallet.open(purchase.channel_config),
            messages=messages,
            tokens_in=len(prompt_ids),
        )
        try:
            await self._open(live)
            return await self._follow(live, show)
        finally:
            live.channel.tab.lose(purchase.request_id)  # nothing, if its receipt came
            with trio.CancelScope(shield=True):
                await messages.aclose()

    async def _open(self, live: _Stream) -> None:
        purchase = live.purchase
        opened = Open(
            id=purchase.request_id,
            award=purchase.award,
            adapter=purchase.adapter_id,
            messages=purchase.messages,
            sampling=purchase.sampling,
            channel_config=purchase.channel_config,
            voucher=(await self._pay(live, purchase.chunk_tokens)).voucher,
            nonce_commit=nonce_commit(purchase.nonce),
            salts=purchase.salts,
            auditable=purchase.auditable,
            prefix="",
        )
        await live.messages.send(encode(opened))

    async def _follow(self, live: _Stream, show: Show) -> Bought:
        """Take chunks, paying for the next ones, until the receipt comes."""
        while True:
            match decode(await live.messages.receive()):
                case Chunk() as chunk:
                    await self._take(live, chunk)
                    await show(chunk.text)
                case ReceiptMessage() as message:
                    return await self._settle(live, message)
                case ErrorMessage() as message:
                    self._hear(live, error_from_message(message))
                case _:
                    raise MalformedError("a node sends chunks, a receipt and errors, and nothing else")

    def _hear(self, live: _Stream, error: ProtocolError) -> None:
        """An error before the first chunk ends it all; later the receipt for what was delivered still comes."""
        if not live.ids:
            raise error
        live.why_cut = error

    async def _take(self, live: _Stream, chunk: Chunk) -> None:
        """Check one chunk, and pay for the next where that is due.

        Raises:
            ReceiptRefusedError: it says something else than what was given.
        """
        purchase = live.purchase
        live.ids += chunk.ids
        live.texts.append(chunk.text)
        if chunk.tokens != len(live.ids):
            raise ReceiptRefusedError(f"the node counts {chunk.tokens} tokens, and has sent {len(live.ids)}")
        price = price_wei(live.tokens_in, len(live.ids), purchase.award.terms)
        tab = live.channel.tab
        highest = tab.charged_wei + tab.lost_wei + price
        if len(tab.running) > 1:
            highest = tab.ceiling_wei  # streams beside this one have run on in the meantime
        if chunk.cumulative > highest:
            raise ReceiptRefusedError(f"the node says {chunk.cumulative} wei are owed, and {highest} is the most")
        if live.paid_tokens - len(live.ids) <= purchase.chunk_tokens // 2:
            await self._pay_on(live)

    async def _pay_on(self, live: _Stream) -> None:
        """Raise the ceiling by a chunk, unless the answer's end or the buyer's own limit is reached."""
        purchase = live.purchase
        wanted = min(len(live.ids) + purchase.chunk_tokens, purchase.award.tokens_max)
        if (
            wanted > live.paid_tokens
            and price_wei(live.tokens_in, wanted, purchase.award.terms) <= purchase.cost_max_wei
        ):
            await live.messages.send(encode(await self._pay(live, wanted)))

    async def _pay(self, live: _Stream, num_tokens: int) -> VoucherMessage:
        """A voucher that covers `num_tokens` of this answer.

        Raises:
            PaymentRequiredError: they cost more than the buyer will pay.
        """
        purchase, tab = live.purchase, live.channel.tab
        live.paid_tokens = min(num_tokens, purchase.award.tokens_max)
        price = price_wei(live.tokens_in, live.paid_tokens, purchase.award.terms)
        if price > purchase.cost_max_wei:
            raise PaymentRequiredError(
                f"{live.tokens_in} prompt tokens and {live.paid_tokens} of the answer cost {price} wei, "
                f"and {purchase.cost_max_wei} is the most that this request may"
            )
        tab.run_up(purchase.request_id, price)
        return VoucherMessage(
            voucher=await self._wallet.raise_ceiling(live.channel, Wei(tab.owed_wei + tab.lost_wei))
        )

    async def _settle(self, live: _Stream, message: ReceiptMessage) -> Bought:
        """Check the receipt, keep it, and countersign.

        Raises:
            ProtocolError: it is not what was agreed and delivered: it gets no countersignature, and hears why.
        """
        receipt, purchase, channel = message.receipt, live.purchase, live.channel
        before = Wei(receipt.cumulative_wei - receipt.amount_wei)
        await self._wallet.wait_turn(channel, before, timeout_s=RECEIPT_TURN_TIMEOUT_S)
        try:
            digest = self._check(live, message, before)
        except ProtocolError as error:
            await live.messages.send(encode(error_message(error)))
            raise
        countersignature = self._sign(digest)
        self._fail_point("payer:countersigned")
        row = ReceiptRow(
            digest=hex_digest(digest),
            receipt=receipt,
            shares=message.shares,
            signature=message.signature,
            countersignature=countersignature,
            nonce=purchase.nonce,
        )
        await self._wallet.keep(channel, row)
        await self._send_countersign(live, Countersign(signature=countersignature, nonce=purchase.nonce))
        return Bought(
            text="".join(live.texts),
            ids=tuple(live.ids),
            receipt=receipt,
            digest=row.digest,
            shares=message.shares,
            why_cut=live.why_cut,
        )

    def _check(self, live: _Stream, message: ReceiptMessage, before_wei: Wei) -> bytes:
        receipt, channel = message.receipt, live.channel
        if receipt.seq > self._now_ns() + SEQ_AHEAD_NS:
            raise ReceiptRefusedError(f"the receipt's seq {receipt.seq} is a time that has not come yet")
        if not _is_prefix("".join(live.texts), live.ids, self._tokenizer):
            raise ReceiptRefusedError("the text that the node has sent is not what its token ids say")
        channel.tab.find_lost(before_wei)  # if they don't explain it, the check below refuses `cumulative`
        delivery = Delivery(
            signer=live.purchase.signer,
            channel_id=channel.channel_id,
            seq_last=channel.seq_last,
            charged_wei=channel.tab.charged_wei,
            ceiling_wei=channel.tab.ceiling_wei,
            terms=live.purchase.award.terms,
            adapter_id=live.purchase.adapter_id,
            datanet_ids=live.purchase.datanet_ids,
            algo_id=live.purchase.algo_id,
            flags=FLAG_AUDITABLE if live.purchase.auditable else 0,
            nonce_commit=nonce_commit(live.purchase.nonce),
            work=self._work(live),
        )
        return check_receipt(receipt, message.signature, message.shares, delivery, self._domain)

    def _work(self, live: _Stream) -> Work:
        """What the receipt must say was done: by our own counts of what came."""
        purchase, text = live.purchase, "".join(live.texts)
        return Work(
            request_id=purchase.request_id,
            profile_hash=purchase.profile_hash,
            index_root=purchase.index_root,
            tokens_in=live.tokens_in,
            tokens_out=min(len(live.ids), len(self._tokenizer.encode(text))),
            prompt_commit=prompt_commit(purchase.salts.prompt, purchase.messages, purchase.sampling),
            output_commit=output_commit(purchase.salts.output, text),
            retrieval_hash=ZERO_DIGEST,
            fingerprint=fingerprint(
                request_id=purchase.request_id,
                adapter_id=purchase.adapter_id,
                profile_hash=purchase.profile_hash,
                prompt_tokens=live.tokens_in,
                ids=live.ids,
                salt=purchase.salts.fingerprint,
            ),
        )

    async def _send_countersign(self, live: _Stream, message: Countersign) -> None:
        with suppress(NetworkError):  # a countersignature is evidence, and the receipt counts without it
            await live.messages.send(encode(message))


def _is_prefix(text: str, ids: list[int], tokenizer: Tokenizer) -> bool:
    """Whether the ids say the text: all of it, or up to where a stop string cut it."""
    decoder = tokenizer.decoder()
    return "".join(decoder.push(token_id) for token_id in ids).startswith(text)
