"""The delivery of one paid stream: chunks go out as far as vouchers cover them, and a signed receipt ends it.

A receipt is made for exactly what was delivered, whatever happens: also if the payer stops paying, leaves or
stops reading, and if the node is shutting down.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Final

import trio

from openledger_protocol.constants import RECEIPTS_OPEN_MAX
from openledger_protocol.epoch import Windows
from openledger_protocol.errors import (
    MalformedError,
    OldChannelError,
    PaymentRequiredError,
    ProtocolError,
    UnavailableError,
)
from openledger_protocol.inference import Completion, TokenChunk
from openledger_protocol.payments import Terms, check_covered, price_wei
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.rules import SIGNALS_RULE, TEXT_RULE
from openledger_protocol.signals import DatanetSignals, signals_from_bytes
from openledger_protocol.wire.inference import (
    Chunk,
    Countersign,
    InferenceMessage,
    Open,
    Ping,
    ReceiptMessage,
    VoucherMessage,
    decode,
    encode,
)

from ..errors import NetworkError
from ..ledger.receipts import ReceiptRow
from ..p2p.streams import MessageStream
from ..serving.admission import Admitted
from ..serving.service import Failure, Outcome, Serving
from .accounts import ChannelAccounts, LaneAccount
from .receipts import Delivered, ReceiptMaker

AHEAD_CHUNKS: Final = 2
"""Chunks that the engine may compute beyond what was delivered, so that it need not wait for a voucher on its way."""

COUNTERSIGN_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 30.0
"""A payer that reads nothing for this long counts as gone: its receipt is made, and its place is freed."""

FAIL_POINTS: Final = ("chunk:covered", "chunk:sent", "receipt:sent")
"""Points at which a crash test may kill the node, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerTerms:
    """The terms on which this node sells answers."""

    node: Address
    terms: Terms
    windows: Windows
    chunk_tokens: int  # tokens that a payer pays ahead
    voucher_timeout_s: float


@dataclass(slots=True, kw_only=True)
class StreamDelivery:
    """One stream: the request, and what has been delivered so far."""

    opened: Open
    lane: LaneAccount
    serving: Serving
    admitted: Admitted
    num_allowed: int  # tokens of the answer that the engine may compute
    messages: MessageStream
    seller_terms: SellerTerms
    accounts: ChannelAccounts
    receipts: ReceiptMaker
    fail_point: Callable[[str], None]
    algo_id: int = TEXT_RULE  # the attribution rule of its receipt
    shown: list[ReceiptRow] = field(default_factory=list)  # receipts that were sent and are not countersigned
    texts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    tokens_paid: float = inf  # tokens of the answer that the payer has paid on this stream
    why_cut: ProtocolError | None = None
    payer_done: trio.Event = field(default_factory=trio.Event)  # set when the payer sends nothing more

    def __post_init__(self) -> None:
        if self.opened.tokens_paid is not None:
            self.tokens_paid = self.opened.tokens_paid

    @property
    def tokens_in(self) -> int:
        """The number of prompt tokens."""
        return len(self.admitted.prompt_ids)

    async def show_waiting(self) -> None:
        """Send the channel's receipts that wait for their countersignature once more; with too many, wait for some.

        Countersignatures are the evidence by which contributors are paid, so a payer that gives none gets no more.

        Raises:
            OldChannelError: too many still wait, so the payer needs another channel.
            NetworkError: the payer left.
        """
        rows = await self.receipts.waiting(self.lane)
        self.shown = [row for row in rows if row.receipt.work.request_id not in self.lane.channel.streams]
        for row in self.shown:
            await self.messages.send(encode(receipt_message(row)), timeout_s=SEND_TIMEOUT_S)
        with trio.move_on_after(COUNTERSIGN_TIMEOUT_S):
            while len(self.shown) >= RECEIPTS_OPEN_MAX:
                await self._take(decode(await self.messages.receive()))
        if len(self.shown) >= RECEIPTS_OPEN_MAX:
            raise OldChannelError(
                f"{len(self.shown)} receipts of this channel wait for their countersignature: countersign them, "
                "or open another channel"
            )

    async def run(self, answers: "trio.MemoryReceiveChannel[Outcome]") -> None:
        """Deliver the answer and make its receipt."""
        self.lane.channel.streams.add(self.opened.id)
        try:
            await self._run(answers)
        finally:
            self.lane.channel.streams.discard(self.opened.id)

    async def _run(self, answers: "trio.MemoryReceiveChannel[Outcome]") -> None:
        last: Completion | Failure | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            try:
                async with answers:
                    last = await self._deliver(answers)
            finally:
                self.serving.abandon(self.admitted)  # a parked sequence would wait for ever
                with trio.CancelScope(shield=True):
                    await self._finish(last)
            nursery.cancel_scope.cancel()

    async def _deliver(self, answers: "trio.MemoryReceiveChannel[Outcome]") -> Completion | Failure | None:
        """Deliver chunk after chunk while they are paid for; None if the payer left or stopped paying."""
        async for outcome in answers:
            if not isinstance(outcome, TokenChunk):
                return outcome
            try:
                owed = await self.wait_covered(len(outcome.ids))
                self.fail_point("chunk:covered")
                sent = len(self.ids) + len(outcome.ids)
                chunk = Chunk(text=outcome.text, ids=outcome.ids, tokens=sent, cumulative=owed)
                await self.messages.send(encode(chunk), timeout_s=SEND_TIMEOUT_S)
                self.fail_point("chunk:sent")
            except PaymentRequiredError as error:
                self.why_cut = error
                return None
            except NetworkError:
                return None
            self.texts.append(outcome.text)
            self.ids += outcome.ids
            self._raise_allowance()
        return None

    def _raise_allowance(self) -> None:
        """Keep the engine's allowance one to two chunks beyond what was delivered, by one message a chunk."""
        chunk = self.seller_terms.chunk_tokens
        if self.num_allowed <= len(self.ids) + (AHEAD_CHUNKS - 1) * chunk:
            self.num_allowed = len(self.ids) + AHEAD_CHUNKS * chunk
            self.serving.allow(self.admitted, self.num_allowed)

    async def wait_covered(self, num_more: int) -> Wei:
        """Wait until vouchers cover `num_more` tokens more; return the total then owed.

        What was paid for a parallel stream is not spent here. If this stream breaks off, its payer knows only what it
        has paid on it, and would refuse a receipt over more.

        Raises:
            PaymentRequiredError: the payer's next voucher did not come in time.
        """
        tab, request_id = self.lane.tab, self.opened.id
        num_tokens = len(self.ids) + num_more
        price = price_wei(self.tokens_in, num_tokens, self.seller_terms.terms)
        # A stream keeps what it reserved at its start; another stream must not use it up.
        reserved = Wei(max(price, tab.running[request_id]))
        with trio.move_on_after(self.seller_terms.voucher_timeout_s):
            while num_tokens > self.tokens_paid or tab.ceiling_wei < tab.needed_wei(request_id, reserved):
                await self.lane.changed.wait()
        check_covered(tab.ceiling_wei, tab.needed_wei(request_id, reserved))
        if num_tokens > self.tokens_paid:
            raise PaymentRequiredError(
                f"the payer has paid for {self.tokens_paid} tokens of this answer, and {num_tokens} are next"
            )
        tab.run_up(request_id, reserved)
        return tab.needed_wei(request_id, price)

    async def _listen(self) -> None:
        """Receive the payer's messages during delivery; a refused voucher does not end the stream."""
        try:
            while not await self._take(decode(await self.messages.receive())):
                pass
        except ProtocolError as error:
            await self.messages.refuse(error, timeout_s=SEND_TIMEOUT_S)
        except NetworkError:
            pass  # it left; the receipt is made without its countersignature
        finally:
            self.payer_done.set()

    async def _take(self, message: InferenceMessage) -> bool:
        """Take one message of the payer; True if it countersigns this stream's own receipt, its last message.

        Raises:
            ProtocolError: it is none that a payer sends now.
        """
        match message:
            case VoucherMessage():
                await self._take_voucher(message)
            case Countersign():
                row = await self.receipts.countersign(self.shown, self.opened.channel_config.authorizer, message)
                self.shown.remove(row)
                return row.receipt.work.request_id == self.opened.id
            case Ping():
                pass
            case _:
                raise MalformedError("only vouchers and countersignatures follow `open`")
        return False

    async def _take_voucher(self, message: VoucherMessage) -> None:
        try:
            await self.accounts.accept(self.lane, message.voucher)
        except ProtocolError as error:
            await self.messages.refuse(error, timeout_s=SEND_TIMEOUT_S)
            return
        if message.tokens_paid is not None:
            self.tokens_paid = max(message.tokens_paid, 0 if self.tokens_paid == inf else self.tokens_paid)
            self.lane.notify()

    async def _finish(self, last: Completion | Failure | None) -> None:
        """Make the receipt for what was delivered, send it, and wait briefly for its countersignature."""
        if error := self.why_cut or _why_ended(last):
            await self.messages.refuse(error, timeout_s=SEND_TIMEOUT_S)
        if not self.ids:
            self.accounts.drop(self.lane, self.opened.id)
            return
        try:
            made = await self.receipts.make(await self._delivered(last), self.lane)
        except (OldChannelError, UnavailableError) as error:  # an old ledger, or no signals: the answer is a gift
            self.accounts.drop(self.lane, self.opened.id)
            await self.messages.refuse(error, timeout_s=SEND_TIMEOUT_S)
            return
        except BaseException:
            self.accounts.drop(self.lane, self.opened.id)  # else its reservation would never be freed
            raise
        self.shown.append(made.row)
        await self.messages.offer(encode(receipt_message(made.row, made.signals)), timeout_s=SEND_TIMEOUT_S)
        self.fail_point("receipt:sent")
        with trio.move_on_after(COUNTERSIGN_TIMEOUT_S):
            await self.payer_done.wait()

    async def _delivered(self, last: Completion | Failure | None) -> Delivered:
        """The delivered part of the answer, with its signals if its rule needs them.

        Raises:
            UnavailableError: the engine can't give them any more.
        """
        ids = tuple(self.ids)
        reduced = last.signals if isinstance(last, Completion) and last.ids == ids else ()
        if self.algo_id == SIGNALS_RULE and not reduced:  # the engine was ahead of the payer, or died
            reduced = await self.serving.replay(self.admitted, ids)
        return Delivered(
            opened=self.opened,
            adapter=self.admitted.adapter,
            text="".join(self.texts),
            ids=ids,
            tokens_in=self.tokens_in,
            algo_id=self.algo_id,
            signals={root: signals_from_bytes(content) for root, content in reduced},
        )


def receipt_message(row: ReceiptRow, signals: DatanetSignals = ()) -> ReceiptMessage:
    """The message that shows a signed receipt."""
    assert row.signature is not None, "a receipt is signed before it is sent"
    return ReceiptMessage(receipt=row.receipt, signature=row.signature, shares=row.shares, signals=signals)


def _why_ended(last: Completion | Failure | None) -> ProtocolError | None:
    """The reason why an answer is incomplete, so that its payer can continue on another node."""
    if isinstance(last, Failure):
        return last.error
    if last and last.finish_reason == "cancelled":
        return UnavailableError("this node is stopping, and has cut the answer here")
    return None
