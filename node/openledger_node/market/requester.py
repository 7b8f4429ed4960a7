"""The requester: it calls for bids, has the best one answer, pays it, and turns to the next when it fails.

What a node has delivered stays delivered and is paid; the next one goes on behind it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.errors import (
    BadSignatureError,
    PaymentRequiredError,
    ProtocolError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.payments import ChannelConfig, price_wei
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Digest, Nonce, Salt, Wei
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import Award, Salts

from ..engine.tokenizer import Tokenizer
from ..errors import ChainError
from ..ledger.peers import Outcome, Peers
from ..p2p.transport import PeerId, Transport
from ..payments.payer import Payer
from ..payments.purchase import Purchase
from ..payments.spending_limit import SpendingLimit
from .attempt import Attempt, Show
from .award import FIRST_TOKENS, award_bids, most_promising, too_dear
from .board import AdTable
from .calls import ReceivedBid, call_all, tell_all
from .progress import RequestProgress
from .request import AdapterEntry, NetworkRequest, RemoteAnswer

ROUNDS_MAX = 4
"""Calls for one answer: a bid that has run out while another node answered is asked for anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterLimits:
    """Whom a requester asks, and how long it waits."""

    candidates_max: int = 8
    bid_timeout_s: float = 1.5
    stall_timeout_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """What the requester asks of chain and wallet; each may wait, and raise ProtocolError or ChainError."""

    channel_with: Callable[[Address], Awaitable[ChannelConfig]]
    may_sign: Callable[[Address, Address], Awaitable[bool]]  # signer, wallet
    find_entry: Callable[[AdapterId], Awaitable[AdapterEntry]]


class Requester:
    """Has requests answered by the network."""

    def __init__(
        self,
        *,
        network: str,
        transport: Transport,
        board: AdTable,
        payer: Payer,
        purse: SpendingLimit,
        peers: Peers,
        base: Digest,
        tokenizer: Tokenizer,
        backing: Backing,
        patience: RequesterLimits,
        now_ns: Callable[[], int],
        draw: Callable[[], str],
    ) -> None:
        self._call_protocol, self._infer_protocol = wire_name(network, "call"), wire_name(network, "infer")
        self._transport = transport
        self._board = board
        self._payer = payer
        self._purse = purse
        self._peers = peers
        self._base = base
        self._tokenizer = tokenizer
        self._backing = backing
        self._patience = patience
        self._now_ns = now_ns
        self._draw = draw  # 32 random bytes as 0x-hex

    @property
    def purse(self) -> SpendingLimit:
        """What may be spent."""
        return self._purse

    async def answer(self, wanted: NetworkRequest, show: Show) -> RemoteAnswer:
        """Have a request answered; `show` gets the text as it comes.

        Raises:
            UnknownModelError: nobody offers it.
            RequestTooLongError: it fits no offered context.
            PaymentRequiredError: all ask more than it, or today's requests together, may cost.
            UnavailableError: nobody could answer it, or finish what was begun.
        """
        progress = await self._begin(wanted)
        for _ in range(ROUNDS_MAX):
            for heard in await self._ranked(progress):
                if not heard.is_good:
                    break  # it has run out while others answered: the next round asks anew
                if answered := await self._try(progress, heard, show):
                    return answered
            if not self._offers(progress):
                break
        raise progress.failure()

    async def _begin(self, wanted: NetworkRequest) -> RequestProgress:
        model = wanted.request.model
        if wanted.base != self._base:
            raise UnknownModelError(f"{model!r} is for base {wanted.base}, whose tokenizer is not on this machine")
        if not self._board.offers(wanted.base, wanted.adapter):
            raise UnknownModelError(f"nobody on the network offers {model!r} just now")
        entry = await self._entry(wanted.adapter)
        prompt_ids = await trio.to_thread.run_sync(self._tokenizer.render, wanted.request.prompt)
        return RequestProgress(
            wanted=wanted,
            entry=entry,
            tokenizer=self._tokenizer,
            tokens_in=len(prompt_ids),
            budget_wei=self._purse.request_max_wei,
        )

    async def _entry(self, adapter: AdapterId) -> AdapterEntry:
        if adapter == BASE_ONLY:
            return AdapterEntry()
        try:
            return await self._backing.find_entry(adapter)
        except ChainError as error:
            raise UnavailableError(f"the chain can't be asked for the adapter's entry: {error}") from error

    # ---- who shall answer

    def _offers(self, progress: RequestProgress) -> list[Advertisement]:
        """Who offers what is wanted and was not tried."""
        found = self._board.offers(progress.wanted.base, progress.wanted.adapter)
        return [ad for ad in found if ad.peer_id not in progress.tried and ad.peer_id != self._transport.peer_id]

    async def _ranked(self, progress: RequestProgress) -> list[ReceivedBid]:
        """Call the most promising nodes, tell them how they did, and return those that may answer, the best first."""
        offers = self._offers(progress)
        if not offers:
            return []
        records = await trio.to_thread.run_sync(self._peers.of, [ad.peer_id for ad in offers])
        chosen = most_promising(offers, records, progress.wanted)[: self._patience.candidates_max]
        timeout_s = self._patience.bid_timeout_s
        call = progress.call(chosen, deadline_ms=max(1, int(timeout_s * 1_000)))
        bids = await call_all(self._transport, self._call_protocol, call, chosen, timeout_s=timeout_s)
        awarded = award_bids(call, bids, chosen, records, progress)
        await tell_all(bids, call, awarded.winner, awarded.reasons)
        for peer_id, error in awarded.unfit.items():
            progress.blame(peer_id, error)
        for peer_id in bids.failed:
            await self._note(peer_id, "failures")
        return awarded.ranked

    # ---- its answer

    async def _try(self, progress: RequestProgress, heard: ReceivedBid, show: Show) -> RemoteAnswer | None:
        """Let one node answer; None if another one has to go on."""
        progress.tried.add(heard.peer_id)
        tokens_in, tokens_max = progress.tokens_before, progress.tokens_left(heard.message.context_max)
        terms, request_id = heard.message.terms, progress.wanted.request.request_id
        least = price_wei(tokens_in, min(tokens_max, FIRST_TOKENS), terms)
        most = Wei(min(progress.left_wei, price_wei(tokens_in, tokens_max, terms)))
        if least > progress.left_wei:
            progress.blame(heard.peer_id, too_dear(least, progress.left_wei))
            return None
        try:
            granted = await self._purse.hold(request_id, least_wei=least, most_wei=most)
        except PaymentRequiredError as error:
            return progress.end_at_limit(error)
        attempt: Attempt | None = None
        try:
            purchase = await self._purchase(progress, heard, tokens_max, granted)
            attempt = Attempt(heard=heard, purchase=purchase, tokens_in=tokens_in, tokenizer=self._tokenizer)
            await self._run(attempt, show)
        except (ProtocolError, ChainError) as error:  # before any stream was opened
            progress.blame(heard.peer_id, error)
            return None
        finally:
            self._purse.settle(request_id, attempt.spent_wei if attempt else Wei(0))
        return await self._conclude(progress, attempt)

    async def _run(self, attempt: Attempt, show: Show) -> None:
        open_stream = partial(self._transport.open_stream, attempt.heard.peer_id, self._infer_protocol)
        await attempt.run(self._payer, open_stream, show, stall_timeout_s=self._patience.stall_timeout_s)

    async def _conclude(self, progress: RequestProgress, attempt: Attempt) -> RemoteAnswer | None:
        """Note what a node has given; the answer, if it is whole."""
        progress.add(attempt)
        if outcome := attempt.outcome():
            await self._note(attempt.heard.peer_id, outcome)
        if attempt.is_whole:
            why_cut = attempt.bought.why_cut if attempt.bought and attempt.is_spent else None
            return progress.answered("length" if attempt.is_full else "stop", why_cut)
        return progress.answered("length") if progress.tokens_left() < 1 else None

    async def _purchase(
        self, progress: RequestProgress, heard: ReceivedBid, tokens_max: int, granted_wei: Wei
    ) -> Purchase:
        """What is bought of a node.

        Raises:
            BadSignatureError: who signs for it may not.
            ProtocolError: there is no channel to be had with it.
        """
        wanted, bid = progress.wanted, heard.message
        if not await self._backing.may_sign(bid.signer, bid.wallet):
            raise BadSignatureError(f"{bid.signer} may not sign for {bid.wallet}, says the chain")
        return Purchase(
            request_id=wanted.request.request_id,
            award=Award(base=wanted.base, terms=bid.terms, tokens_max=tokens_max),
            adapter_id=wanted.adapter,
            index_root=progress.entry.index_root,
            datanet_ids=progress.entry.datanet_ids,
            profile_hash=bid.profile_hash,
            algo_id=bid.algo_id,
            messages=wanted.request.prompt,
            sampling=wanted.request.sampling,
            channel_config=await self._backing.channel_with(bid.wallet),
            signer=bid.signer,
            salts=Salts(prompt=Salt(self._draw()), output=Salt(self._draw()), fingerprint=Salt(self._draw())),
            nonce=Nonce(self._draw()),
            auditable=wanted.auditable,
            chunk_tokens=bid.chunk_tokens,
            cost_max_wei=granted_wei,
            prefix=progress.text,
        )

    async def _note(self, peer_id: PeerId, outcome: Outcome) -> None:
        note = partial(self._peers.note, peer_id, outcome, now_ns=self._now_ns())
        await trio.to_thread.run_sync(note)
