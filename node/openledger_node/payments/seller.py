"""The seller's side of paid streams: a request is admitted once everything that can be checked first is right."""

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.epoch import check_withdraw_delay
from openledger_protocol.errors import (
    MalformedError,
    OverloadedError,
    PaymentRequiredError,
    ProtocolError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.inference import InferenceRequest
from openledger_protocol.payments import Terms, check_covered, price_wei
from openledger_protocol.primitives import BASE_ONLY, ZERO_WEI, Digest, RequestId, Wei
from openledger_protocol.rules import SIGNALS_RULE
from openledger_protocol.wire.inference import AskReceipts, Award, Open, decode

from ..contained import contained
from ..errors import ChainError, LedgerError, NetworkError
from ..models.adapters import Adapter
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId
from ..serving.service import Serving, open_channel
from .accounts import ChannelAccounts, LaneAccount
from .asked_receipts import AskedReceipts
from .credit import Standing, check_credit
from .delivery import AHEAD_CHUNKS, SEND_TIMEOUT_S, SellerTerms, StreamDelivery
from .receipts import ReceiptMaker

OPEN_TIMEOUT_S = 10.0
UNCOVERED_MAX = 64
"""Streams of one channel that may wait for cover at once: as many as one peer may open.

Streams that an honest payer opens together arrive in any order, and a voucher that was signed early does not cover
those that came before it. They wait for the next one. With a limit of 2, eight streams at once were refused.
"""

PAID_MAX = 512
"""Peers that are remembered as having paid."""

log = logging.getLogger(__name__)

WINDOW_S = 60.0
PEER_MAX, ALL_MAX = 3, 8
"""Opens without a deposit in that time, of one peer and of all. After that, few others are looked up."""

ASK_ONE_IN = 40
"""Of further opens of channels that this node has not seen, so many are refused for each one that is looked up.

A look takes two questions, since the node's endpoint may be a block behind, so there is one in twenty opens.
"""


class StreamSeller:
    """Serves paying peers, over any transport."""

    def __init__(
        self,
        *,
        serving: Serving,
        seller_terms: SellerTerms,
        accounts: ChannelAccounts,
        receipts: ReceiptMaker,
        asked: AskedReceipts,
        check_sellable: Callable[[Adapter], Awaitable[int]],
        nursery: trio.Nursery,
        terms_of: Callable[[PeerId, RequestId], Terms | None] = lambda _, __: None,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._serving = serving
        self._seller_terms = seller_terms
        self._accounts = accounts
        self._receipts = receipts
        self._asked = asked
        self._check_sellable = check_sellable  # returns the attribution rule of the adapter's answers
        self._nursery = nursery
        self._terms_of = terms_of  # of a bid that is still valid, if they differ from `seller_terms`
        self._fail_point = fail_point
        self._unpaid = UnpaidOpens(trio.current_time)
        self._paying: Counter[PeerId] = Counter()  # streams that vouchers cover, by peer
        self._paid: dict[PeerId, None] = {}  # latest last

    def is_paying(self, peer_id: PeerId) -> bool:
        """True while a peer is sent an answer that it pays for."""
        return self._paying[peer_id] > 0

    def has_paid(self, peer_id: PeerId) -> bool:
        """True if a peer has paid for an answer since the start; the latest `PAID_MAX` are remembered."""
        return peer_id in self._paid

    def reprice(self, terms: Terms) -> None:
        """Sell at these terms from the next request on; bids that are still valid keep theirs."""
        self._seller_terms = replace(self._seller_terms, terms=terms)

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Serve one stream to its end."""
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        try:
            opened = await _receive_first(messages)
            if isinstance(opened, AskReceipts):
                await self._asked.answer(opened, messages)
                return
            with self._accounts.serving(opened.channel_config, opened.id):
                await self._serve_open(peer_id, opened, messages)
        except ProtocolError as error:
            await messages.refuse(error, timeout_s=SEND_TIMEOUT_S)
        except NetworkError:
            pass  # it left before any work began
        except (ChainError, LedgerError) as error:
            log.warning("a request is refused: %s", error)
            refusal = UnavailableError("this node can't take requests just now: try again soon")
            await messages.refuse(refusal, timeout_s=SEND_TIMEOUT_S)

    async def _serve_open(self, peer_id: PeerId, opened: Open, messages: MessageStream) -> None:
        self._check_terms(peer_id, opened)
        lane = await self._accounts.open(opened.channel_config, opened.adapter, opened.last_receipt)
        try:
            await self._serve(peer_id, opened, lane, messages)
        finally:
            self._accounts.close(lane)

    def _check_terms(self, peer_id: PeerId, opened: Open) -> None:
        seller_terms = self._seller_terms
        if opened.channel_config.node != seller_terms.node:
            raise MalformedError(
                f"the channel is with {opened.channel_config.node}, this node is {seller_terms.node}"
            )
        check_award(opened.award, self._serving.base.digest, self._terms_of(peer_id, opened.id) or seller_terms.terms)
        check_withdraw_delay(opened.channel_config.withdraw_delay_s, seller_terms.windows)

    async def _serve(self, peer_id: PeerId, opened: Open, lane: LaneAccount, messages: MessageStream) -> None:
        """Admit a request's payment, give it a place in the queue, and answer it.

        Only a stream that is covered has a place. Otherwise a payer of one chunk could keep all places from others.

        Raises:
            ProtocolError: it is refused, and nothing is owed.
        """
        request = await trio.to_thread.run_sync(self._request, opened)
        standing = await self._look_at_payer(peer_id, lane)
        num_allowed = AHEAD_CHUNKS * self._seller_terms.chunk_tokens
        admitted = await self._serving.examine(request, payer=opened.channel_config.payer, num_allowed=num_allowed)
        delivery = StreamDelivery(
            opened=opened,
            lane=lane,
            serving=self._serving,
            admitted=admitted,
            num_allowed=num_allowed,
            messages=messages,
            seller_terms=replace(self._seller_terms, terms=opened.award.terms),
            accounts=self._accounts,
            receipts=self._receipts,
            fail_point=self._fail_point,
        )
        await self._admit_payment(delivery, standing)
        try:
            self._serving.take_place(admitted)
        except ProtocolError:
            self._accounts.drop(lane, opened.id)
            raise
        send_answers, answers = open_channel(admitted.request)
        self._nursery.start_soon(contained, self._serving.handle, delivery.admitted, send_answers)
        with self._counted_paying(peer_id):
            await delivery.run(answers)

    @contextmanager
    def _counted_paying(self, peer_id: PeerId) -> Iterator[None]:
        self._paying[peer_id] += 1
        self._paid.pop(peer_id, None)
        self._paid[peer_id] = None
        if len(self._paid) > PAID_MAX:
            del self._paid[next(iter(self._paid))]
        try:
            yield
        finally:
            self._paying[peer_id] -= 1
            self._paying += Counter()  # forgets those that pay for nothing more

    def _request(self, opened: Open) -> InferenceRequest:
        """Translate an `open` message into a request for the serving service.

        Raises:
            UnknownModelError: this node has no adapter with that id.
            MalformedError: it uses a feature that is not sold to peers.
        """
        serving = self._serving
        is_base = opened.adapter == BASE_ONLY
        model = serving.base.name if is_base else serving.catalogue.with_id(opened.adapter).full_name
        _check_sellable_sampling(opened)
        sampling = replace(opened.sampling, max_tokens=min(opened.sampling.max_tokens, opened.award.tokens_max))
        return InferenceRequest(
            request_id=opened.id,
            model=model,
            prompt=opened.messages,
            sampling=sampling,
            prefix=opened.prefix,
            tooling=opened.tooling,
        )

    async def _look_at_payer(self, peer_id: PeerId, lane: LaneAccount) -> Standing:
        """Ask the chain about the payer's channel, before its prompt costs any work.

        Raises:
            OverloadedError: too many strangers have opened channels without a deposit.
            PaymentRequiredError: the channel has no deposit.
        """
        standing: Standing | None = None
        if not lane.channel.is_known:
            async with lane.channel.looking:
                if not lane.channel.is_known:
                    standing = await self._look_at_stranger(peer_id, lane)
        standing = standing or await self._accounts.standing_of(lane)
        if not standing.deposit_latest_wei:
            check_credit(standing, ZERO_WEI, needed_wei=Wei(1))
        return standing

    async def _look_at_stranger(self, peer_id: PeerId, lane: LaneAccount) -> Standing:
        is_counted, has_deposit = await self._count_look(peer_id, lane), True
        try:
            standing = await self._accounts.standing_of(lane)
            has_deposit = standing.deposit_latest_wei > 0
        finally:
            if is_counted and has_deposit:  # or the chain did not answer, which is not the payer's fault
                self._unpaid.forget(peer_id)
        return standing

    async def _count_look(self, peer_id: PeerId, lane: LaneAccount) -> bool:
        """Count a look at a channel that may have no deposit; False if this node's own blocks show one.

        Strangers could otherwise keep all new payers away with a few false opens a minute.

        Raises:
            OverloadedError: too many strangers have opened channels without a deposit.
        """
        try:
            self._unpaid.begin(peer_id)
        except OverloadedError:
            if not await self._accounts.was_paid_in(lane.channel):
                raise
            return False
        return True

    async def _admit_payment(self, delivery: StreamDelivery, standing: Standing) -> None:
        """Reserve the price of prompt and first chunk, and wait until vouchers cover it."""
        opened, admitted, lane = delivery.opened, delivery.admitted, delivery.lane
        if admitted.adapter:
            delivery.algo_id = await self._check_sellable(admitted.adapter)
            if delivery.algo_id == SIGNALS_RULE:
                delivery.admitted = replace(admitted, needs_signals=True)
        first_chunk = min(self._seller_terms.chunk_tokens, admitted.request.sampling.max_tokens)
        if delivery.tokens_paid < first_chunk:  # its next voucher comes only after a chunk
            raise PaymentRequiredError(
                f"`open` pays for {delivery.tokens_paid} tokens of the answer, and this node's first chunk has "
                f"{first_chunk}: call for bids again"
            )
        price = price_wei(delivery.tokens_in, first_chunk, delivery.seller_terms.terms)
        await self._accounts.admit(lane, opened.voucher, opened.id, price, standing)
        try:
            if len(lane.tab.running) == 1:
                check_covered(lane.tab.ceiling_wei, lane.tab.owed_wei)  # nothing else will raise it
            with _counted_uncovered(lane):
                await delivery.wait_covered(first_chunk)
            await delivery.show_waiting()
        except BaseException:
            self._accounts.drop(lane, opened.id)
            raise


@contextmanager
def _counted_uncovered(lane: LaneAccount) -> Iterator[None]:
    """Count a stream that waits until its lane is covered.

    Raises:
        PaymentRequiredError: too many streams of the channel wait already.
    """
    channel = lane.channel
    if lane.tab.ceiling_wei >= lane.tab.owed_wei:
        yield
        return
    if channel.num_uncovered >= UNCOVERED_MAX:
        raise PaymentRequiredError(
            f"{channel.num_uncovered} streams of this channel wait for a voucher already: send one that covers them"
        )
    channel.num_uncovered += 1
    try:
        yield
    finally:
        channel.num_uncovered -= 1


def _check_sellable_sampling(opened: Open) -> None:
    """Require that the answer can be delivered in pieces, by one node after another.

    Raises:
        MalformedError: it can't.
    """
    sampling = opened.sampling
    if sampling.logprobs is not None:
        raise MalformedError("logprobs are not sold to other nodes, because chunks have no field for them")
    # The prefix is part of the prompt here, and these penalties do not look at the prompt.
    if opened.prefix and (sampling.frequency_penalty or sampling.presence_penalty):
        raise MalformedError("an answer with penalties can't be resumed on another node: send it again")


async def _receive_first(messages: MessageStream) -> Open | AskReceipts:
    """Receive the first message, within a short time limit.

    Raises:
        ProtocolError: it is neither `open` nor `ask`.
        NetworkError: the peer left.
    """
    first = None
    with trio.move_on_after(OPEN_TIMEOUT_S):
        first = decode(await messages.receive())
    if not isinstance(first, Open | AskReceipts):
        raise MalformedError("a stream begins with `open` or `ask`")
    return first


def check_award(award: Award, base: Digest, terms: Terms) -> None:
    """Require that the payer's award matches what this node sells.

    Raises:
        UnknownModelError: it names another base.
        UnavailableError: it names other prices.
    """
    if award.base != base:
        raise UnknownModelError(f"base {award.base} is not served here, {base} is")
    if award.terms != terms:
        raise UnavailableError(
            f"1,000 tokens cost {terms.price_in_wei} wei in and {terms.price_out_wei} wei out here, "
            f"not {award.terms.price_in_wei} and {award.terms.price_out_wei}: ask again"
        )


class UnpaidOpens:
    """Recent opens of channels without a deposit, and of those that are being looked up.

    Channels and peer ids cost nothing to make up, and each new one costs questions to the chain: they are rationed.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._recent: deque[tuple[float, PeerId]] = deque(maxlen=ALL_MAX)  # oldest first
        self._num_refused = 0

    def begin(self, peer_id: PeerId) -> None:
        """Count a look at a channel that this node has not seen; `forget` takes it back if there is a deposit.

        It counts from its beginning. Otherwise any number of opens at the same time would each be looked up.

        Raises:
            OverloadedError: too many channels without a deposit were opened lately.
        """
        while self._recent and self._recent[0][0] < self._now_s() - WINDOW_S:
            self._recent.popleft()
        num_own = sum(other == peer_id for _, other in self._recent)
        if num_own >= PEER_MAX or len(self._recent) >= ALL_MAX:
            self._num_refused += 1
            if self._num_refused % ASK_ONE_IN:
                raise OverloadedError(
                    f"too many channels without a deposit were opened here in the last {WINDOW_S:.0f} s, so new "
                    "channels are seldom looked up: try again in a minute"
                )
        self._recent.append((self._now_s(), peer_id))

    def forget(self, peer_id: PeerId) -> None:
        """Take back a peer's newest look."""
        for number in range(len(self._recent) - 1, -1, -1):
            if self._recent[number][1] == peer_id:
                del self._recent[number]
                return
