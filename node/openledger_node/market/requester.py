"""The requester: calls for bids, buys from the best node, pays it, and continues with the next if it fails.

The text that a node has delivered is kept and paid for; the next node continues after it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from openledger_protocol.adapter import AdapterManifest
from openledger_protocol.advertisement import Advertisement
from openledger_protocol.errors import (
    AdapterRefusedError,
    BadSignatureError,
    PaymentRequiredError,
    ProtocolError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.payments import ChannelConfig, price_wei
from openledger_protocol.primitives import BASE_ONLY, ZERO_WEI, AdapterId, Address, Digest, Generation, Salt, Wei
from openledger_protocol.registry import RegistryEntry, check_entry
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import Award, Salts

from ..engine.tokenizer import Tokenizer
from ..errors import ChainError
from ..ledger.sellers import Sellers
from ..p2p.transport import PeerId, Transport
from ..payments.payer import Payer
from ..payments.purchase import Purchase
from ..payments.spending_limit import SpendingLimit
from ..serving.admission import render
from .attempt import Attempt, Show
from .award import FIRST_TOKENS, too_expensive
from .board import AdTable
from .call_memory import AskedSellers
from .caller import Caller, RequesterLimits
from .calls import ReceivedBid
from .progress import RequestProgress
from .request import NetworkRequest, RemoteAnswer
from .vetting import Exposure, Vetting
from .worth import Worth

__all__ = ["Backing", "Requester", "RequesterLimits"]

ROUNDS_MAX = 8
"""Calls for one answer. A bid that expired while another node answered, or while a newcomer was busy, must be
requested again. A newcomer takes twice as many requests at a time in each round, so these are enough for 255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """The requester's questions to chain and wallet; each may wait, and raise ProtocolError or ChainError."""

    channel_with: Callable[[Address, Generation], Awaitable[ChannelConfig]]  # a wallet, its ledger's
    may_sign: Callable[[Address, Address], Awaitable[bool]]  # signer, wallet
    bond_of: Callable[[Address], Awaitable[Wei]]  # a wallet's bond; 0 below the network's minimum stake
    find_entry: Callable[[AdapterId], Awaitable[RegistryEntry]]
    find_manifest: Callable[[AdapterId, PeerId], Awaitable[AdapterManifest]]  # here, or from that peer


class Requester:
    """Has requests answered by the network."""

    def __init__(
        self,
        *,
        network: str,
        transport: Transport,
        table: AdTable,
        payer: Payer,
        spending_limit: SpendingLimit,
        sellers: Sellers,
        base: Digest,
        tokenizer: Tokenizer,
        backing: Backing,
        limits: RequesterLimits,
        now_ns: Callable[[], int],
        draw: Callable[[], str],
    ) -> None:
        self._infer_protocol = wire_name(network, "infer")
        self._transport = transport
        self._table = table
        self._payer = payer
        self._spending_limit = spending_limit
        self._sellers = sellers
        self._base = base
        self._tokenizer = tokenizer
        self._backing = backing
        self._vetting = Vetting(may_sign=backing.may_sign, bond_of=backing.bond_of, sellers=sellers, now_ns=now_ns)
        table.worth_of = self._vetting.worth_of
        self._exposure = Exposure(sellers, now_ns)
        self._limits = limits
        self._now_ns = now_ns
        self._draw = draw  # 32 random bytes as 0x-hex
        self._caller = Caller(
            network=network,
            transport=transport,
            table=table,
            vetting=self._vetting,
            sellers=sellers,
            limits=limits,
            now_ns=now_ns,
            salt=bytes.fromhex(draw().removeprefix("0x")),
        )

    @property
    def spending_limit(self) -> SpendingLimit:
        """The limit that its purchases count against."""
        return self._spending_limit

    def worth_of(self, ad: Advertisement) -> Worth:
        """The worth of an advertiser, by what was last read from the chain."""
        return self._vetting.worth_of(ad)

    @property
    def asked(self) -> AskedSellers:
        """The calls to sellers since the start."""
        return self._caller.asked

    async def run(self) -> None:
        """Read the bonds of new advertisers until cancelled."""
        await self._vetting.keep_reading(self._table)

    async def answer(self, requested: NetworkRequest, show: Show) -> RemoteAnswer:
        """Have a request answered; `show` gets the text as it comes.

        Raises:
            UnknownModelError: no node offers the model.
            RequestTooLongError: the request fits into no node's context.
            PaymentRequiredError: every node asks more than this request, or all of today's requests, may cost.
            MalformedError: the only node that offers the model, or two of different wallets, call it malformed.
            UnavailableError: no node could answer it, or finish the answer that another node began.
        """
        progress = await self._begin(requested)
        for _ in range(ROUNDS_MAX):
            ranked = await self._caller.ranked_bids(progress)
            # A newcomer that is busy with another request is waited for only if no other bidder has answered.
            for received, may_wait in [*((bid, False) for bid in ranked), *((bid, True) for bid in ranked)]:
                wallet = received.message.wallet
                if received.peer_id in progress.tried or wallet in progress.passed_over:
                    continue
                if not await self._exposure.enter(wallet, may_wait=may_wait):
                    continue
                try:
                    if not received.is_good:
                        break  # it expired while other nodes answered; the next round calls again
                    if answered := await self._try(progress, received, show):
                        await self._caller.note_each(
                            progress.called_malformed, "failures"
                        )  # another node could read it
                        self._caller.conversations.note(requested, received.peer_id)
                        return answered
                    if received.peer_id not in progress.tried:
                        break  # its ledger has a new generation, which its next bid will name
                finally:
                    self._exposure.leave(wallet)
            if not self._caller.offers(progress):
                break
        raise progress.failure()

    async def _try(self, progress: RequestProgress, received: ReceivedBid, show: Show) -> RemoteAnswer | None:
        """Buy the rest of the answer from one bidder; None if it takes another one to finish it."""
        progress.tried.add(received.peer_id)
        request_id = progress.requested.request.request_id
        tokens_in, tokens_max = progress.tokens_before, progress.tokens_left(received.message.context_max)
        terms, left_wei = received.message.terms, progress.left_wei
        least = price_wei(tokens_in, min(tokens_max, FIRST_TOKENS), terms)
        most = Wei(min(left_wei, price_wei(tokens_in, tokens_max, terms)))
        if least > left_wei:
            progress.blame(received.peer_id, too_expensive(least, left_wei))
            return None
        if (limit_wei := progress.requested.cost_max_wei) is not None and most > limit_wei:
            progress.blame(received.peer_id, PaymentRequiredError(f"may cost {most} wei, and {limit_wei} are left"))
            return None
        try:
            granted = await self._spending_limit.hold(request_id, least_wei=least, most_wei=most)
        except PaymentRequiredError as error:
            return progress.end_at_limit(error)
        attempt = await self._buy(progress, received, tokens_max, granted, show)
        if attempt is None:
            return None
        progress.add(attempt)
        await self._note(attempt)
        if progress.is_refused:
            raise progress.failure()
        if attempt.is_whole:
            why_cut = attempt.bought.why_cut if attempt.bought and attempt.is_spent else None
            return progress.answered("length" if attempt.is_full else "stop", why_cut)
        return progress.answered("length") if progress.tokens_left() < 1 else None

    async def _begin(self, requested: NetworkRequest) -> RequestProgress:
        request = requested.request
        model = request.model
        if requested.base != self._base:
            raise UnknownModelError(f"{model!r} is for base {requested.base}, whose tokenizer is not on this machine")
        if not self._table.offers(requested.base, requested.adapter):
            raise UnknownModelError(f"nobody on the network offers {model!r} just now")
        try:
            is_base = requested.adapter == BASE_ONLY
            entry = None if is_base else await self._backing.find_entry(requested.adapter)
        except ChainError as error:
            raise UnavailableError(f"the chain can't be asked for the adapter's entry: {error}") from error
        prompt_ids = await trio.to_thread.run_sync(
            render, self._tokenizer, request.prompt, request.prefix, request.tooling
        )
        budget_wei = self._spending_limit.request_max_wei
        if requested.budget_wei is not None:
            budget_wei = min(budget_wei, requested.budget_wei)
        return RequestProgress(
            requested=requested,
            entry=entry,
            tokenizer=self._tokenizer,
            tokens_in=len(prompt_ids),
            budget_wei=budget_wei,
        )

    # ---- buying from one node

    async def _buy(
        self, progress: RequestProgress, received: ReceivedBid, tokens_max: int, granted_wei: Wei, show: Show
    ) -> Attempt | None:
        """Let one node answer for at most `granted_wei`; None if no stream to it could be opened."""
        attempt: Attempt | None = None
        try:
            purchase = await self._purchase(progress, received, tokens_max, granted_wei)
            attempt = Attempt(
                received=received,
                purchase=purchase,
                tokens_in=progress.tokens_before,
                tokenizer=self._tokenizer,
            )
            open_stream = partial(self._transport.open_stream, received.peer_id, self._infer_protocol)
            await attempt.run(self._payer, open_stream, show, stall_timeout_s=self._limits.stall_timeout_s)
        except (ProtocolError, ChainError) as error:  # before a stream was opened: `run` keeps later errors
            progress.blame(received.peer_id, error)
            return None
        finally:
            self._spending_limit.settle(
                progress.requested.request.request_id, attempt.spent_wei if attempt else ZERO_WEI
            )
        return attempt

    async def _purchase(
        self, progress: RequestProgress, received: ReceivedBid, tokens_max: int, granted_wei: Wei
    ) -> Purchase:
        """Describe the purchase from one node.

        Raises:
            BadSignatureError: its signer may not sign for its wallet.
            AdapterRefusedError: the chain's entry of the adapter differs from the manifest.
            ProtocolError: it does not show the manifest, or no channel to it could be opened.
        """
        requested, bid = progress.requested, received.message
        if progress.entry:
            await self._check_manifest(requested, progress.entry, received.peer_id)
        if not await self._backing.may_sign(bid.signer, bid.wallet):
            raise BadSignatureError(f"{bid.signer} may not sign for {bid.wallet}, says the chain")
        return Purchase(
            request_id=requested.request.request_id,
            award=Award(base=requested.base, terms=bid.terms, tokens_max=tokens_max),
            adapter_id=requested.adapter,
            index_root=progress.index_root,
            datanet_ids=progress.entry.datanet_ids if progress.entry else (),
            profile_hash=bid.profile_hash,
            algo_id=bid.algo_id,
            messages=requested.request.prompt,
            sampling=requested.request.sampling,
            tooling=requested.request.tooling,
            channel_config=await self._backing.channel_with(bid.wallet, bid.generation),
            signer=bid.signer,
            salts=Salts(prompt=Salt(self._draw()), output=Salt(self._draw()), fingerprint=Salt(self._draw())),
            chunk_tokens=bid.chunk_tokens,
            cost_max_wei=granted_wei,
            prefix=requested.request.prefix + progress.text,
            is_audited=requested.is_audited,
        )

    async def _check_manifest(self, requested: NetworkRequest, entry: RegistryEntry, peer_id: PeerId) -> None:
        """Check that the chain pays those whom the adapter's manifest names, before anything is paid."""
        manifest = await self._backing.find_manifest(requested.adapter, peer_id)
        check_entry(manifest, entry)
        if manifest.base.digest != requested.base:
            raise AdapterRefusedError(f"adapter {requested.adapter} was made for base {manifest.base.digest}")

    async def _note(self, attempt: Attempt) -> None:
        outcome = attempt.outcome()
        if outcome is None:
            return
        note = partial(
            self._sellers.note,
            attempt.received.message.wallet,
            outcome,
            now_ns=self._now_ns(),
            sample=attempt.sample(),
            is_default=attempt.is_default,
        )
        await trio.to_thread.run_sync(note)
