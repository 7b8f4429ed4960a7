"""The payer's side of a stream: it pays one chunk ahead, counts for itself, and countersigns what it received.

A node that asks for more than was agreed, or claims to have delivered more than it did, gets no further voucher
and no countersignature. The payer risks one chunk.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX, to_plain
from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import MalformedError, PaymentRequiredError, ProtocolError
from openledger_protocol.opening import Opening
from openledger_protocol.payments import Work, price_wei
from openledger_protocol.primitives import ZERO_WEI, Digest, Wei
from openledger_protocol.receipts import Delivery
from openledger_protocol.signals import DatanetSignals
from openledger_protocol.wire.inference import (
    Chunk,
    Countersign,
    ErrorMessage,
    Open,
    ReceiptMessage,
    VoucherMessage,
    decode,
    encode,
)

from ..engine.tokenizer import Tokenizer
from ..ledger.bought import OpenPurchase
from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow
from ..ledger.sellers import Sellers
from ..p2p.streams import MessageStream
from ..serving.admission import render
from .audits import LAST_SEND_TIMEOUT_S, ReceiptAudits
from .countersigning import RECEIPT_TURN_TIMEOUT_S, Countersigner
from .late_receipts import LateReceipts, Reach
from .payer_lanes import PayerLane, PayerLanes
from .purchase import (
    Agreed,
    Bought,
    CountedAnswer,
    Purchase,
    Spelling,
    check_counts,
    check_owed,
    check_paid,
    check_signals,
    exchange_of,
    expected,
    told_by_seller,
    within_means,
)
from .spending_limit import SpendingLimit

__all__ = ["Bought", "Payer", "Purchase", "open_payer"]

FAIL_POINTS: Final = ("payer:opened", "payer:voucher-sent", "payer:countersign-sent")
"""Points at which a crash test may kill the payer, in order."""

Show = Callable[[str], Awaitable[None]]
NotePaid = Callable[[Wei], None]
"""Told the most that a purchase's node may charge by now, before the voucher for it leaves."""

Keep = Callable[[Digest, Opening], None]


def open_payer(
    ledger: Ledger,
    *,
    domain: Domain,
    tokenizer: Tokenizer,
    sign: Callable[[bytes], bytes],
    now_ns: Callable[[], int],
    keep: Keep = lambda _, __: None,
    audits: ReceiptAudits | None = None,
    fail_point: Callable[[str], None] = lambda _: None,
) -> "Payer":
    """Open the payer whose channels are in `ledger`; `keep` stores exchanges, and the caller runs `audits`."""
    wallet = PayerLanes(ledger=ledger, domain=domain, sign=sign, now_ns=now_ns, fail_point=fail_point)
    return Payer(
        wallet=wallet,
        domain=domain,
        tokenizer=tokenizer,
        sign=sign,
        now_ns=now_ns,
        keep=keep,
        audits=audits,
        fail_point=fail_point,
    )


@dataclass(slots=True, kw_only=True)
class _PaidStream:
    """One purchase in progress."""

    purchase: Purchase
    lane: PayerLane
    messages: MessageStream
    tokens_in: int
    spelling: Spelling
    tokens_requested: int  # of the answer; the award allows fewer if the buyer can't pay for all
    texts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    note_paid: NotePaid
    paid_tokens: int = 0
    stored: OpenPurchase | None = None  # as the ledger keeps it until its receipt comes
    num_beside: int = 0  # streams on the lane when this one began
    number: int = 0  # among the lane's streams
    why_cut: ProtocolError | None = None
    has_receipt: bool = False  # it was taken, countersigned or not
    is_kept_open: bool = False  # until its receipt is audited
    signals: DatanetSignals = ()  # that came with its receipt

    @property
    def is_alone(self) -> bool:
        """True if no parallel stream has charged the lane since this one began."""
        return self.num_beside == 0 and self.lane.num_opened == self.number

    @property
    def counted(self) -> CountedAnswer:
        """The answer as received so far."""
        return CountedAnswer(
            tokens_in=self.tokens_in, text="".join(self.texts), ids=tuple(self.ids), signals=self.signals
        )


class Payer:
    """Buys answers from other nodes."""

    def __init__(
        self,
        *,
        wallet: PayerLanes,
        domain: Domain,
        tokenizer: Tokenizer,
        sign: Callable[[bytes], bytes],
        now_ns: Callable[[], int],
        keep: Keep = lambda _, __: None,
        audits: ReceiptAudits | None = None,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._keep = keep
        self._wallet = wallet
        self._tokenizer = tokenizer
        self._now_ns = now_ns
        self._fail_point = fail_point
        self._countersigner = Countersigner(
            wallet=wallet, domain=domain, sign=sign, now_ns=now_ns, audits=audits, fail_point=fail_point
        )

    def late_receipts(self, *, reach: Reach, spending_limit: SpendingLimit, sellers: Sellers) -> LateReceipts:
        """Open the service that asks sellers for receipts which did not come; `reach` opens a stream to a wallet."""
        self._wallet.on_late = spending_limit.settle_late
        return LateReceipts(
            lanes=self._wallet,
            countersigner=self._countersigner,
            reach=reach,
            spending_limit=spending_limit,
            sellers=sellers,
            now_ns=self._now_ns,
        )

    @property
    def _audits(self) -> ReceiptAudits | None:
        return self._countersigner.audits

    async def buy(
        self, purchase: Purchase, stream: trio.abc.Stream, show: Show, note_paid: NotePaid = lambda _: None
    ) -> Bought:
        """Buy one answer; `show` receives its text as it comes, and `note_paid` what its node may charge.

        Raises:
            ProtocolError: the node refused the request, or did not keep to the agreement.
            NetworkError: the node left.
        """
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        live: _PaidStream | None = None
        try:
            prompt, prefix, tooling = purchase.messages, purchase.prefix, purchase.tooling
            prompt_ids = await trio.to_thread.run_sync(render, self._tokenizer, prompt, prefix, tooling)
            lane = await self._wallet.open(purchase.channel_config, purchase.adapter_id)
            lane.num_opened += 1
            live = _PaidStream(
                purchase=within_means(purchase, len(prompt_ids)),
                tokens_requested=min(purchase.award.tokens_max, purchase.sampling.max_tokens),
                lane=lane,
                messages=messages,
                tokens_in=len(prompt_ids),
                spelling=Spelling(self._tokenizer),
                note_paid=note_paid,
                num_beside=len(lane.tab.running),
                number=lane.num_opened,
            )
            try:
                await self._open(live)
                return await self._follow(live, show)
            finally:
                self._wallet.lose(lane, purchase.request_id)  # no effect if its receipt came
                if self._audits and live.ids and not live.has_receipt:
                    await self._audits.hold_lost(purchase, exchange_of(purchase, live.counted))
        finally:
            if not (live and live.is_kept_open):
                await messages.aclose_shielded()

    async def _open(self, live: _PaidStream) -> None:
        purchase = live.purchase
        live.stored = self._stored(live)
        paid = await self._pay(live, purchase.chunk_tokens)
        opened = Open(
            id=purchase.request_id,
            award=purchase.award,
            adapter=purchase.adapter_id,
            messages=purchase.messages,
            sampling=purchase.sampling,
            channel_config=purchase.channel_config,
            voucher=paid.voucher,
            salts=purchase.salts,
            prefix=purchase.prefix,
            tooling=purchase.tooling,
            last_receipt=self._wallet.last_receipt(live.lane.channel_id),
            tokens_paid=paid.tokens_paid,
        )
        await live.messages.send(encode(opened))
        self._fail_point("payer:opened")

    def _stored(self, live: _PaidStream, work: Work | None = None) -> OpenPurchase:
        """The purchase as the ledger keeps it, with what was paid for it so far."""
        purchase = live.purchase
        return OpenPurchase(
            request_id=purchase.request_id,
            channel_id=live.lane.channel_id,
            adapter_id=purchase.adapter_id,
            most_wei=price_wei(live.tokens_in, live.paid_tokens, purchase.award.terms),
            agreed=to_plain(Agreed.of(purchase, live.tokens_in, now_s=self._now_ns() // 10**9, work=work)),
        )

    async def _follow(self, live: _PaidStream, show: Show) -> Bought:
        """Receive chunks and pay for the next ones until the receipt comes."""
        while True:
            match decode(await live.messages.receive()):
                case Chunk() as chunk:
                    await self._take(live, chunk)
                    await show(chunk.text)
                case ReceiptMessage() as message if message.receipt.work.request_id != live.purchase.request_id:
                    config = live.purchase.channel_config
                    await self._countersigner.answer_late(message, config, live.lane.channel_id, live.messages)
                case ReceiptMessage() as message:
                    return await self._settle(live, message)
                case ErrorMessage() as message:
                    await self._receive_error(live, told_by_seller(message))
                case _:
                    raise MalformedError("a node sends chunks, a receipt and errors, and nothing else")

    async def _receive_error(self, live: _PaidStream, error: ProtocolError) -> None:
        """Handle an error. Before the first chunk it ends the purchase; later the receipt still comes."""
        if not live.ids:
            live.note_paid(ZERO_WEI)
            await self._wallet.give_up(live.lane, live.purchase.request_id)
            raise error
        live.why_cut = error

    async def _take(self, live: _PaidStream, chunk: Chunk) -> None:
        """Check one chunk, and pay for the next if that is due.

        Raises:
            ReceiptRefusedError: it claims something other than what was delivered.
        """
        purchase = live.purchase
        live.ids += chunk.ids
        live.texts.append(chunk.text)
        price = price_wei(live.tokens_in, len(live.ids), purchase.award.terms)
        check_counts(chunk, purchase, len(live.ids))
        live.spelling.take(chunk.text, chunk.ids)
        check_owed(chunk, live.lane, price, is_alone=live.is_alone)
        check_paid(len(live.ids), live.paid_tokens)
        if live.paid_tokens - len(live.ids) <= purchase.chunk_tokens // 2:
            await self._pay_on(live)

    async def _pay_on(self, live: _PaidStream) -> None:
        """Raise the ceiling by a chunk, unless the end of the answer is covered."""
        purchase = live.purchase
        num_tokens = min(len(live.ids) + purchase.chunk_tokens, purchase.award.tokens_max)
        if num_tokens > live.paid_tokens:
            await live.messages.offer(encode(await self._pay(live, num_tokens)))
            self._fail_point("payer:voucher-sent")

    async def _pay(self, live: _PaidStream, num_tokens: int) -> VoucherMessage:
        """Sign a voucher that covers `num_tokens` of this answer.

        Raises:
            PaymentRequiredError: they cost more than the buyer will pay.
        """
        purchase = live.purchase
        live.paid_tokens = min(num_tokens, purchase.award.tokens_max)
        price = price_wei(live.tokens_in, live.paid_tokens, purchase.award.terms)
        if price > purchase.cost_max_wei:
            raise PaymentRequiredError(
                f"{live.tokens_in} prompt tokens and {live.paid_tokens} of the answer cost {price} wei, "
                f"and {purchase.cost_max_wei} is the most that this request may"
            )
        tab, request_id = live.lane.tab, purchase.request_id
        before_wei = tab.running.get(request_id)
        tab.run_up(request_id, price)
        assert live.stored, "a purchase is stored with its first voucher"
        try:
            voucher = await self._wallet.raise_ceiling(live.lane, replace(live.stored, most_wei=price))
        except BaseException:  # no voucher left this node, so nothing was paid: a lost stream can't explain it
            if before_wei is None:
                tab.drop(request_id)
            else:
                tab.run_up(request_id, before_wei)
            raise
        live.note_paid(price)
        return VoucherMessage(voucher=voucher, tokens_paid=live.paid_tokens)

    async def _settle(self, live: _PaidStream, message: ReceiptMessage) -> Bought:
        """Check the receipt, store it, and countersign it, at once or once its shares are recomputed.

        Raises:
            ProtocolError: it differs from what was agreed and delivered. The node gets the error instead of a
                countersignature.
        """
        receipt, purchase = message.receipt, live.purchase
        before = Wei(max(0, receipt.cumulative_wei - receipt.amount_wei))
        take = partial(self._take_receipt, live, message, before)
        try:
            row = await self._wallet.in_turn(
                live.lane, purchase.request_id, before, take, timeout_s=RECEIPT_TURN_TIMEOUT_S
            )
        except ProtocolError as error:
            error.values["ids"] = tuple(live.ids)  # the answer was delivered, whatever its receipt says
            live.signals = ()  # of a receipt that was refused; a later one comes without any
            await self._wallet.expect(self._stored(live, self._expected(live).work))
            await live.messages.refuse(error, timeout_s=LAST_SEND_TIMEOUT_S)
            raise
        live.has_receipt = True
        if row.countersignature:
            countersign = encode(Countersign(signature=row.countersignature))
            await live.messages.offer(countersign, timeout_s=LAST_SEND_TIMEOUT_S)
            self._fail_point("payer:countersign-sent")
        elif self._audits:
            live.is_kept_open = self._audits.start(row.digest, live.messages, closes=True)
        return Bought(
            text="".join(live.texts),
            ids=tuple(live.ids),
            receipt=receipt,
            digest=row.digest,
            shares=message.shares,
            why_cut=live.why_cut or _why_short(live),
        )

    async def _take_receipt(self, live: _PaidStream, message: ReceiptMessage, before_wei: Wei) -> ReceiptRow:
        """Check a receipt, countersign it unless it is drawn for an audit, and store it."""
        lane = live.lane
        check_signals(message.signals, live.purchase)
        live.signals = message.signals
        lane.find_lost(before_wei)  # if lost streams don't explain it, the check below refuses `cumulative`
        exchange = exchange_of(live.purchase, live.counted)
        drawn = exchange if self._audits and self._audits.draw(live.purchase) else None
        node = live.purchase.channel_config.node
        row = await self._countersigner.take(lane, message, self._expected(live), node, drawn)
        await trio.to_thread.run_sync(self._keep, row.digest, exchange)
        return row

    def _expected(self, live: _PaidStream) -> Delivery:
        return expected(live.purchase, live.counted, live.lane, self._tokenizer, now_s=self._now_ns() // 10**9)


def _why_short(live: _PaidStream) -> ProtocolError | None:
    """The error for an answer that ended at the buyer's own limit, if it did."""
    if live.tokens_requested > live.purchase.award.tokens_max == len(live.ids):
        return PaymentRequiredError(
            f"the answer was cut after {len(live.ids)} of {live.tokens_requested} tokens: this request "
            f"may cost at most {live.purchase.cost_max_wei} wei"
        )
    return None
