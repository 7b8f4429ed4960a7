"""The paid door: a peer's stream comes in, vouchers run ahead of chunks, and a signed receipt ends it.

Whatever happens on the way, a receipt is made for what was delivered, and for nothing else: also when the payer stops
paying, or leaves.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.epoch import Windows, check_withdraw_delay
from openledger_protocol.errors import (
    MalformedError,
    PaymentRequiredError,
    ProtocolError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.inference import Completion, InferenceRequest, TokenChunk
from openledger_protocol.payments import Terms, check_covered, price_wei
from openledger_protocol.primitives import BASE_ONLY, Address, Digest, Wei
from openledger_protocol.wire.inference import (
    Award,
    Chunk,
    Countersign,
    ErrorMessage,
    Open,
    Ping,
    ReceiptMessage,
    VoucherMessage,
    decode,
    encode,
    error_message,
)

from ..errors import NetworkError
from ..inference.adapters import Adapter
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId
from .accounts import Account, Accounts
from .receipts import Delivered, ReceiptMaker
from .service import Admitted, Failure, Outcome, ServingDesk, open_channel

OPEN_TIMEOUT_S = 10.0
COUNTERSIGN_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What this node sells, and on which terms."""

    node: Address
    terms: Terms
    windows: Windows
    chunk_tokens: int  # that a payer pays ahead
    voucher_timeout_s: float


@dataclass(slots=True, kw_only=True)
class _Delivery:
    """One stream: what was asked, and what has been handed over."""

    opened: Open
    account: Account
    admitted: Admitted
    texts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    why_cut: ProtocolError | None = None

    @property
    def tokens_in(self) -> int:
        return len(self.admitted.prompt_ids)


class PaidDesk:
    """Serves peers that pay, over whatever carries their streams."""

    def __init__(
        self,
        *,
        desk: ServingDesk,
        shop: Shop,
        accounts: Accounts,
        receipts: ReceiptMaker,
        check_sellable: Callable[[Adapter], Awaitable[None]],
        nursery: trio.Nursery,
    ) -> None:
        self._desk = desk
        self._shop = shop
        self._accounts = accounts
        self._receipts = receipts
        self._check_sellable = check_sellable
        self._nursery = nursery

    async def serve(self, _: PeerId, stream: trio.abc.Stream) -> None:
        """Serve one stream to its end."""
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        try:
            with trio.move_on_after(OPEN_TIMEOUT_S) as scope:
                opened = decode(await messages.receive())
            if scope.cancelled_caught or not isinstance(opened, Open):
                raise MalformedError("a stream begins with `open`")
            delivery = await self._begin(opened)
        except ProtocolError as error:
            await _refuse(messages, error)
            return
        except NetworkError:
            return  # it left before anything was begun
        await self._run(delivery, messages)

    async def _begin(self, opened: Open) -> _Delivery:
        """Check all that can be checked before any work.

        Raises:
            ProtocolError: the request is refused, and nothing is owed.
        """
        shop = self._shop
        if opened.channel_config.node != shop.node:
            raise MalformedError(f"the channel is with {opened.channel_config.node}, this node is {shop.node}")
        if opened.prefix:
            raise UnavailableError(
                "this node does not go on with what another one has begun: ask for the whole answer"
            )
        check_award(opened.award, self._desk.base.digest, shop.terms)
        check_withdraw_delay(opened.channel_config.withdraw_delay_s, shop.windows)
        account = await self._accounts.open(opened.channel_config)
        admitted = await self._desk.admit(await trio.to_thread.run_sync(self._request, opened))
        try:
            await self._admit_payment(opened, account, admitted)
        except BaseException:
            self._desk.release()
            raise
        return _Delivery(opened=opened, account=account, admitted=admitted)

    def _request(self, opened: Open) -> InferenceRequest:
        """The request as the serving desk takes it.

        Raises:
            UnknownModelError: no adapter of that id is here.
        """
        names = {adapter.id: adapter.full_name for adapter in self._desk.adapters()} | {
            BASE_ONLY: self._desk.base.name
        }
        if opened.adapter not in names:
            raise UnknownModelError(f"adapter {opened.adapter} is not here")
        sampling = replace(opened.sampling, max_tokens=min(opened.sampling.max_tokens, opened.award.tokens_max))
        return InferenceRequest(
            request_id=opened.id, model=names[opened.adapter], prompt=opened.messages, sampling=sampling
        )

    async def _admit_payment(self, opened: Open, account: Account, admitted: Admitted) -> None:
        if admitted.adapter:
            await self._check_sellable(admitted.adapter)
        first_chunk = min(self._shop.chunk_tokens, admitted.request.sampling.max_tokens)
        price = price_wei(len(admitted.prompt_ids), first_chunk, self._shop.terms)
        await self._accounts.check_credit(account, account.tab.needed_wei(opened.id, price))
        await self._accounts.accept(account, opened.voucher)
        check_covered(account.tab.ceiling_wei, account.tab.needed_wei(opened.id, price))  # others may have come in
        account.tab.run_up(opened.id, price)

    async def _run(self, delivery: _Delivery, messages: MessageStream) -> None:
        send, answers = open_channel(delivery.admitted)
        self._nursery.start_soon(self._desk.handle, delivery.admitted, send)
        countersigned = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, delivery, messages, countersigned)
            async with answers:
                last = await self._deliver(delivery, messages, answers)
            with trio.CancelScope(shield=True):
                await self._finish(delivery, messages, last, countersigned)
            nursery.cancel_scope.cancel()

    async def _deliver(
        self, delivery: _Delivery, messages: MessageStream, answers: trio.MemoryReceiveChannel[Outcome]
    ) -> Completion | Failure | None:
        """Hand over chunk after chunk while they are paid for; None if the payer left or stopped paying."""
        async for outcome in answers:
            if not isinstance(outcome, TokenChunk):
                return outcome
            try:
                owed = await self._wait_covered(delivery, len(outcome.ids))
                sent = len(delivery.ids) + len(outcome.ids)
                chunk = Chunk(text=outcome.text, ids=outcome.ids, tokens=sent, cumulative=owed)
                await messages.send(encode(chunk))
            except PaymentRequiredError as error:
                delivery.why_cut = error
                return None
            except NetworkError:
                return None
            delivery.texts.append(outcome.text)
            delivery.ids += outcome.ids
        return None

    async def _wait_covered(self, delivery: _Delivery, num_more: int) -> Wei:
        """Wait until vouchers cover `num_more` tokens; return what is then owed in all.

        Raises:
            PaymentRequiredError: the payer's next voucher did not come in time.
        """
        account, request_id = delivery.account, delivery.opened.id
        price = price_wei(delivery.tokens_in, len(delivery.ids) + num_more, self._shop.terms)
        with trio.move_on_after(self._shop.voucher_timeout_s):
            while account.tab.ceiling_wei < account.tab.needed_wei(request_id, price):
                await account.raised.wait()
        needed = account.tab.needed_wei(request_id, price)
        check_covered(account.tab.ceiling_wei, needed)
        # What a stream has reserved at its beginning stays its own: another one may not run ahead on it.
        account.tab.run_up(request_id, max(price, account.tab.running[request_id]))
        return needed

    async def _listen(self, delivery: _Delivery, messages: MessageStream, countersigned: trio.Event) -> None:
        """Take what the payer sends while the answer goes out; one refused voucher ends no stream."""
        try:
            while True:
                message = decode(await messages.receive())
                match message:
                    case VoucherMessage():
                        await self._take_voucher(delivery, message, messages)
                    case Countersign():
                        await self._receipts.countersign(delivery.opened, message)
                        return
                    case Ping():
                        pass
                    case _:
                        raise MalformedError("only vouchers and a countersignature follow `open`")
        except ProtocolError as error:
            await _refuse(messages, error)
        except NetworkError:
            pass  # it left: the receipt is made without it
        finally:
            countersigned.set()  # or nothing more will come

    async def _take_voucher(self, delivery: _Delivery, message: VoucherMessage, messages: MessageStream) -> None:
        try:
            await self._accounts.accept(delivery.account, message.voucher)
        except ProtocolError as error:
            await _refuse(messages, error)

    async def _finish(
        self,
        delivery: _Delivery,
        messages: MessageStream,
        last: Completion | Failure | None,
        countersigned: trio.Event,
    ) -> None:
        """Make the receipt for what was delivered, hand it over, and wait a little for its countersignature."""
        if error := delivery.why_cut or (last.error if isinstance(last, Failure) else None):
            await _refuse(messages, error)
        if not delivery.ids:
            self._accounts.drop(delivery.account, delivery.opened.id)
        else:
            row, signature = await self._receipts.make(_delivered(delivery), delivery.account)
            await _offer(messages, ReceiptMessage(receipt=row.receipt, signature=signature, shares=row.shares))
        if delivery.ids:
            with trio.move_on_after(COUNTERSIGN_TIMEOUT_S):
                await countersigned.wait()


def check_award(award: Award, base: Digest, terms: Terms) -> None:
    """Require that what a payer believes to have agreed on is what we sell.

    Raises:
        UnknownModelError: it wants another base.
        UnavailableError: at other prices.
    """
    if award.base != base:
        raise UnknownModelError(f"base {award.base} is not served here, {base} is")
    if award.terms != terms:
        raise UnavailableError(
            f"1,000 tokens cost {terms.price_in_wei} wei in and {terms.price_out_wei} wei out here, "
            f"not {award.terms.price_in_wei} and {award.terms.price_out_wei}: ask again"
        )


def _delivered(delivery: _Delivery) -> Delivered:
    return Delivered(
        opened=delivery.opened,
        adapter=delivery.admitted.adapter,
        text="".join(delivery.texts),
        ids=tuple(delivery.ids),
        tokens_in=delivery.tokens_in,
    )


async def _offer(messages: MessageStream, message: ReceiptMessage | ErrorMessage) -> None:
    """Say something to a peer that may have gone: a receipt counts without it."""
    try:
        await messages.send(encode(message))
    except NetworkError:
        log.info("a payer left before its stream had ended")


async def _refuse(messages: MessageStream, error: ProtocolError) -> None:
    await _offer(messages, error_message(error))
