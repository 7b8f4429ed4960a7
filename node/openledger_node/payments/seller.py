"""The paid door: a peer's stream comes in, and is let in if all that can be checked before any work is right."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.epoch import check_withdraw_delay
from openledger_protocol.errors import MalformedError, ProtocolError, UnavailableError, UnknownModelError
from openledger_protocol.inference import InferenceRequest
from openledger_protocol.payments import Terms, check_covered, price_wei
from openledger_protocol.primitives import BASE_ONLY, Digest, RequestId
from openledger_protocol.wire.inference import Award, Open, decode

from ..errors import ChainError, LedgerError, NetworkError
from ..models.adapters import Adapter
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId
from ..serving.service import Serving, open_channel
from .accounts import ChannelAccount, ChannelAccounts
from .delivery import SellerTerms, StreamDelivery, refuse
from .receipts import ReceiptMaker

__all__ = ["SellerTerms", "StreamSeller", "check_award"]

OPEN_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class StreamSeller:
    """Serves peers that pay, over whatever carries their streams."""

    def __init__(
        self,
        *,
        desk: Serving,
        shop: SellerTerms,
        accounts: ChannelAccounts,
        receipts: ReceiptMaker,
        check_sellable: Callable[[Adapter], Awaitable[None]],
        nursery: trio.Nursery,
        terms_of: Callable[[RequestId], Terms | None] = lambda _: None,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._desk = desk
        self._shop = shop
        self._accounts = accounts
        self._receipts = receipts
        self._check_sellable = check_sellable
        self._nursery = nursery
        self._terms_of = terms_of  # of a bid that is still good, where they are not the shop's
        self._fail_point = fail_point

    def reprice(self, terms: Terms) -> None:
        """Sell at these terms from the next request on, but for bids that still stand."""
        self._shop = replace(self._shop, terms=terms)

    async def serve(self, _: PeerId, stream: trio.abc.Stream) -> None:
        """Serve one stream to its end."""
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        try:
            opened = await _receive_open(messages)
            self._check_terms(opened)
            account = await self._accounts.open(opened.channel_config)
            try:
                await self._serve(opened, account, messages)
            finally:
                self._accounts.close(account)
        except ProtocolError as error:
            await refuse(messages, error)
        except NetworkError:
            pass  # it left before anything was begun
        except (ChainError, LedgerError) as error:
            log.warning("a request is refused: %s", error)
            await refuse(messages, UnavailableError("this node can't take requests just now: try again soon"))

    def _check_terms(self, opened: Open) -> None:
        shop = self._shop
        if opened.channel_config.node != shop.node:
            raise MalformedError(f"the channel is with {opened.channel_config.node}, this node is {shop.node}")
        check_award(opened.award, self._desk.base.digest, self._terms_of(opened.id) or shop.terms)
        check_withdraw_delay(opened.channel_config.withdraw_delay_s, shop.windows)

    async def _serve(self, opened: Open, account: ChannelAccount, messages: MessageStream) -> None:
        """Admit a request and its payment, then answer it.

        Raises:
            ProtocolError: it is refused, and nothing is owed.
        """
        request = await trio.to_thread.run_sync(self._request, opened)
        admitted = await self._desk.admit(request, payer=opened.channel_config.payer)
        delivery = StreamDelivery(
            opened=opened,
            account=account,
            admitted=admitted,
            messages=messages,
            shop=replace(self._shop, terms=opened.award.terms),
            accounts=self._accounts,
            receipts=self._receipts,
            fail_point=self._fail_point,
        )
        try:
            await self._admit_payment(delivery)
        except BaseException:
            self._desk.release()
            raise
        send_answers, answers = open_channel(admitted.request)
        self._nursery.start_soon(self._desk.handle, admitted, send_answers)
        await delivery.run(answers)

    def _request(self, opened: Open) -> InferenceRequest:
        """The request as the serving desk takes it.

        Raises:
            UnknownModelError: no adapter of that id is here.
            MalformedError: it asks for what peers are not given.
        """
        names = {adapter.id: adapter.full_name for adapter in self._desk.adapters()} | {
            BASE_ONLY: self._desk.base.name
        }
        if opened.adapter not in names:
            raise UnknownModelError(f"adapter {opened.adapter} is not here")
        _check_sellable_sampling(opened)
        sampling = replace(opened.sampling, max_tokens=min(opened.sampling.max_tokens, opened.award.tokens_max))
        return InferenceRequest(
            request_id=opened.id,
            model=names[opened.adapter],
            prompt=opened.messages,
            sampling=sampling,
            prefix=opened.prefix,
        )

    async def _admit_payment(self, delivery: StreamDelivery) -> None:
        """Reserve the price of the prompt and of the first chunk, and wait until the channel's vouchers cover it."""
        opened, admitted, account = delivery.opened, delivery.admitted, delivery.account
        if admitted.adapter:
            await self._check_sellable(admitted.adapter)
        first_chunk = min(self._shop.chunk_tokens, admitted.request.sampling.max_tokens)
        price = price_wei(delivery.tokens_in, first_chunk, delivery.shop.terms)
        await self._accounts.admit(account, opened.voucher, opened.id, price)
        try:
            if len(account.tab.running) == 1:
                check_covered(account.tab.ceiling_wei, account.tab.owed_wei)  # nobody else will raise it
            await delivery.wait_covered(first_chunk)
        except BaseException:
            self._accounts.drop(account, opened.id)
            raise


def _check_sellable_sampling(opened: Open) -> None:
    """Require that what a payer asks can be given in pieces, by one node after another.

    Raises:
        MalformedError: it can't.
    """
    sampling = opened.sampling
    if sampling.logprobs is not None:
        raise MalformedError("logprobs are not given to other nodes: a chunk has no place for them")
    # What another node gave stands with the prompt here, where neither looks for it.
    if opened.prefix and (sampling.json_schema or sampling.frequency_penalty or sampling.presence_penalty):
        raise MalformedError("half an answer with a schema or penalties can't be gone on with: ask for it anew")


async def _receive_open(messages: MessageStream) -> Open:
    """Take the first message, which can't be long in coming.

    Raises:
        ProtocolError: it is no `open`.
        NetworkError: the peer left.
    """
    opened = None
    with trio.move_on_after(OPEN_TIMEOUT_S):
        opened = decode(await messages.receive())
    if not isinstance(opened, Open):
        raise MalformedError("a stream begins with `open`")
    return opened


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
