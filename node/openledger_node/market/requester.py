"""The requester: calls for bids, buys from the best node, pays it, and continues with the next if it fails.

It is the shell of the state machine `Answering`, whose actions it executes.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from openledger_protocol.adapter import AdapterManifest
from openledger_protocol.advertisement import Advertisement
from openledger_protocol.errors import (
    AdapterRefusedError,
    PaymentRequiredError,
    ProtocolError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Digest, Generation, Salt, Wei
from openledger_protocol.registry import RegistryEntry, check_entry
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import Award, Salts

from ..engine.backend import Profile
from ..engine.tokenizer import Tokenizer
from ..errors import ChainError, NetworkError
from ..ledger.sellers import Sellers
from ..p2p.transport import PeerId, Transport
from ..payments.payer import Payer
from ..payments.purchase import Purchase
from ..payments.spending_limit import SpendingLimit
from ..serving.admission import render
from . import steps
from .answering import Answering
from .attempt import Attempt, Show
from .board import AdTable
from .call_memory import AskedSellers
from .caller import Caller, RequesterLimits
from .own_line import OwnLine
from .progress import RequestProgress
from .reachable import open_to
from .request import NetworkRequest, RemoteAnswer
from .vetting import AWAY_AGAIN_S, Exposure, Vetting
from .worth import WALLET_MAX, Worth

__all__ = ["Backing", "Requester", "RequesterLimits"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """The requester's questions to chain and wallet; each may wait, and raise ProtocolError or ChainError."""

    channel_with: Callable[[Address, Generation], Awaitable[ChannelConfig]]  # a wallet, its ledger's
    may_sign: Callable[[Address, Address], Awaitable[bool]]  # signer, wallet
    bond_of: Callable[[Address], Awaitable[Wei]]  # a wallet's bond; 0 below the network's minimum stake
    find_entry: Callable[[AdapterId], Awaitable[RegistryEntry]]
    find_manifest: Callable[[AdapterId, PeerId], Awaitable[AdapterManifest]]  # here, or from that peer


ENTRY_S, ENTRIES_MAX = 600.0, 1_024
"""The time after which an adapter's entry is read from the chain again, and the entries that are kept."""


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
        rules: tuple[int, ...],
        backing: Backing,
        limits: RequesterLimits,
        now_ns: Callable[[], int],
        draw: Callable[[], str],
        replayed_by: Callable[[], Profile | None] = lambda: None,
    ) -> None:
        self._infer_protocol = wire_name(network, "infer")
        self._transport = transport
        self._table = table
        self._payer = payer
        self._spending_limit = spending_limit
        self._sellers = sellers
        self._base = base
        self._tokenizer = tokenizer
        self._rules = rules  # attribution rules that this node can check
        self._replayed_by = replayed_by  # see `RequestProgress.replayed_by`
        self._backing = backing
        self._vetting = Vetting(may_sign=backing.may_sign, bond_of=backing.bond_of, sellers=sellers, now_ns=now_ns)
        table.worth_of = self._vetting.worth_of
        self._exposure = Exposure(sellers, now_ns)
        self._limits = limits
        self._now_ns = now_ns
        self._draw = draw  # 32 random bytes as 0x-hex
        self._entries: dict[AdapterId, tuple[RegistryEntry, float]] = {}  # each with the time until which it is good
        self.late_receipts = payer.late_receipts(reach=self._reach, spending_limit=spending_limit, sellers=sellers)
        salt = bytes.fromhex(draw().removeprefix("0x"))
        self._line = OwnLine(transport, network=network, salt=salt)
        self._caller = Caller(
            network=network,
            transport=transport,
            line=self._line,
            table=table,
            vetting=self._vetting,
            sellers=sellers,
            limits=limits,
            now_ns=now_ns,
            salt=salt,
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
        """Read the bonds of new advertisers, and ask for receipts that did not come, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._vetting.keep_reading, self._table)
            nursery.start_soon(self.late_receipts.run)

    async def _reach(self, wallet: Address) -> trio.abc.Stream | None:
        """Open a stream to the seller with a wallet; None if none that may sign for it can be reached."""
        # Anyone may advertise with another's wallet, and each stranger costs a question to the chain.
        named = sorted(
            (each for each in self._table.live() if each.wallet == wallet),
            key=lambda ad: not self.worth_of(ad).is_bonded,
        )
        for ad in named[:WALLET_MAX]:
            try:
                await self._vetting.check_signer(ad.signer, wallet)
                return await open_to(self._transport, ad, self._infer_protocol)
            except (ProtocolError, ChainError, NetworkError) as error:
                log.info("%s can't be asked for receipts by %s: %s", wallet, ad.peer_id, error)
        return None

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
        machine = Answering(progress, stall_timeout_s=self._limits.stall_timeout_s)
        event: steps.RequestEvent = steps.Begun()
        try:
            while True:
                *at_once, action = machine.receive_event(event)
                self._execute(at_once, requested)
                if isinstance(action, steps.RaiseError):
                    raise action.error
                if isinstance(action, steps.ReturnAnswer):
                    await self._remember(progress, action.peer_id)
                    return action.answer
                event = await self._answer_to(action, progress, machine, show)
        except BaseException:
            self._execute(machine.receive_event(steps.Cancelled()), requested)
            raise

    def _execute(self, actions: Sequence[steps.Action], requested: NetworkRequest) -> None:
        """Do what needs no waiting."""
        for action in actions:
            match action:
                case steps.SettleMoney():
                    self._spending_limit.settle(
                        requested.request.request_id, action.spent_wei, lost_wei=action.lost_wei
                    )
                case steps.LeaveSeller():
                    self._exposure.leave(action.wallet)
                case _:
                    raise AssertionError(f"{action} is answered by an event")

    async def _answer_to(
        self, action: steps.Action, progress: RequestProgress, machine: Answering, show: Show
    ) -> steps.RequestEvent:
        """Execute an action, and return the event that answers it."""
        match action:
            case steps.CallSellers():
                if not self._caller.offers(progress):
                    return steps.NobodyLeft()
                return steps.BidsRanked(bids=await self._caller.ranked_bids(progress))
            case steps.EnterSeller():
                has_room = await self._exposure.enter(action.wallet, may_wait=action.may_wait)
                return steps.SellerEntered(at_s=trio.current_time()) if has_room else steps.SellerFull()
            case steps.HoldMoney():
                request_id = progress.requested.request.request_id
                least_wei, most_wei = action.least_wei, action.most_wei
                try:
                    granted = await self._spending_limit.hold(request_id, least_wei=least_wei, most_wei=most_wei)
                except PaymentRequiredError as error:
                    return steps.MoneyRefused(error=error)
                return steps.MoneyHeld(granted_wei=granted)
            case steps.BuyPart():
                return await self._buy(action, progress, machine, show)
            case steps.NoteOutcome():
                await self._note(progress.requested, action.attempt)
                return steps.OutcomeNoted()
            case _:
                raise AssertionError(f"{action} is not answered by an event")

    async def _remember(self, progress: RequestProgress, peer_id: PeerId) -> None:
        """Remember the seller that ended an answer, and those that could not read the request: another one could."""
        await self._caller.note_each(progress.called_malformed, "failures")
        self._caller.conversations.note(progress.requested, peer_id)

    async def _begin(self, requested: NetworkRequest) -> RequestProgress:
        request = requested.request
        model = request.model
        if requested.base != self._base:
            raise UnknownModelError(f"{model!r} is for base {requested.base}, whose tokenizer is not on this machine")
        if not self._table.offers(requested.base, requested.adapter):
            raise UnknownModelError(f"nobody on the network offers {model!r} just now")
        entry = None if requested.adapter == BASE_ONLY else await self._entry_of(requested.adapter)
        prompt_ids = await trio.to_thread.run_sync(
            render, self._tokenizer, request.prompt, request.prefix, request.tooling
        )
        return RequestProgress(
            requested=requested,
            entry=entry,
            rules=self._rules,
            tokenizer=self._tokenizer,
            tokens_in=len(prompt_ids),
            budget_wei=self._spending_limit.request_max_wei,
            replayed_by=self._replayed_by(),
        )

    async def _entry_of(self, adapter_id: AdapterId) -> RegistryEntry:
        """An adapter's entry on the chain.

        It never changes, so an old one is good while the chain is away. It is read again after a while, since a lying
        endpoint may have told a wrong one.

        Raises:
            UnknownModelError: it is not registered.
            UnavailableError: the chain can't be asked.
        """
        kept, until_s = self._entries.get(adapter_id, (None, 0.0))
        if kept and trio.current_time() < until_s:
            return kept
        try:
            entry, kept_s = await self._backing.find_entry(adapter_id), ENTRY_S
        except ChainError as error:
            if kept is None:
                raise UnavailableError(f"the chain can't be asked for the adapter's entry: {error}") from error
            entry, kept_s = kept, AWAY_AGAIN_S
        self._entries.pop(adapter_id, None)  # newest last
        self._entries[adapter_id] = entry, trio.current_time() + kept_s
        if len(self._entries) > ENTRIES_MAX:
            self._entries.pop(next(iter(self._entries)))
        return entry

    # ---- buying from one node

    async def _buy(
        self, action: steps.BuyPart, progress: RequestProgress, machine: Answering, show: Show
    ) -> steps.RequestEvent:
        """Buy the rest of the answer from one node, and return the event that ends its part."""
        try:
            purchase = await self._purchase(progress, action)
        except (ProtocolError, ChainError) as error:
            return steps.PurchaseNotReady(error=error)
        machine.receive_event(steps.PurchaseReady(at_s=trio.current_time()))
        beside, failure = self._line.beside((action.received.peer_id,)), None
        with trio.CancelScope(deadline=machine.deadline_s) as scope:

            async def take(text: str) -> None:
                (shown,) = machine.receive_event(steps.TextReceived(text=text, at_s=trio.current_time()))
                assert isinstance(shown, steps.ShowText)
                scope.deadline = machine.deadline_s
                await show(shown.text)
                machine.receive_event(steps.TextShown(at_s=trio.current_time()))
                scope.deadline = machine.deadline_s

            def note_paid(paid_wei: Wei) -> None:
                machine.receive_event(steps.PaidAhead(paid_wei=paid_wei, at_s=trio.current_time()))
                scope.deadline = machine.deadline_s

            try:
                stream = await self._transport.open_stream(action.received.peer_id, self._infer_protocol)
                machine.receive_event(steps.StreamOpened(at_s=trio.current_time()))
                scope.deadline = machine.deadline_s
                bought = await self._payer.buy(purchase, stream, take, note_paid)
                return steps.PartBought(bought=bought, at_s=trio.current_time())
            except ProtocolError as error:
                return steps.PartFailed(error=error, at_s=trio.current_time())
            except NetworkError as error:
                failure = error
        failure, at_s = failure or NetworkError(f"gave nothing for {machine.silence_s:.3g} s"), trio.current_time()
        return steps.PartFailed(error=failure, at_s=at_s, is_own_line=await self._line.is_gone(beside))

    async def _purchase(self, progress: RequestProgress, action: steps.BuyPart) -> Purchase:
        """Describe the purchase from one node.

        Raises:
            BadSignatureError: its signer may not sign for its wallet.
            AdapterRefusedError: the chain's entry of the adapter differs from the manifest.
            ProtocolError: it does not show the manifest, or no channel to it could be opened.
        """
        requested, bid = progress.requested, action.received.message
        if progress.entry:
            await self._check_manifest(requested, progress.entry, action.received.peer_id)
        await self._vetting.check_signer(bid.signer, bid.wallet)
        return Purchase(
            request_id=requested.request.request_id,
            award=Award(base=requested.base, terms=bid.terms, tokens_max=action.tokens_max),
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
            cost_max_wei=action.granted_wei,
            prefix=requested.request.prefix + progress.text,
        )

    async def _check_manifest(self, requested: NetworkRequest, entry: RegistryEntry, peer_id: PeerId) -> None:
        """Check that the chain pays those whom the adapter's manifest names, before anything is paid."""
        manifest = await self._backing.find_manifest(requested.adapter, peer_id)
        check_entry(manifest, entry)
        if manifest.base.digest != requested.base:
            raise AdapterRefusedError(f"adapter {requested.adapter} was made for base {manifest.base.digest}")

    async def _note(self, requested: NetworkRequest, attempt: Attempt) -> None:
        if attempt.bought and attempt.is_whole:
            self._caller.note_paid(requested, attempt.received.message.terms)
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
