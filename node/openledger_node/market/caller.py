"""Calls for bids: the sellers that a request calls, the bids that it accepts, and what is remembered of them."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import trio
from eth_hash.auto import keccak

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.auction import price_ceiling
from openledger_protocol.errors import UnavailableError, UnknownModelError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Address, Digest, Wei
from openledger_protocol.wire.frames import wire_name

from ..ledger.sellers import Outcome, Sellers
from ..p2p.transport import PeerId, Transport
from .award import Awarded, award_bids, is_good
from .board import AdTable
from .call_memory import AskedSellers, UnreachedPeers, is_own_uplink
from .calls import Bids, ReceivedBid, call_in_waves, tell_all
from .candidates import candidates, explorer, without_defaulted
from .own_line import OwnLine
from .progress import RequestProgress
from .request import NetworkRequest
from .vetting import Vetting
from .worth import Worth

Model = tuple[Digest, AdapterId]
"""A base, and an adapter or none."""

MODELS_MAX = 256
PAID_MAX = 32
"""Answers whose prices are remembered: a day's work for a home, and few enough to follow a falling market."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequesterLimits:
    """Limits on the number of nodes called, and on waiting for them."""

    candidates_max: int = 8
    bid_timeout_s: float = 1.5
    stall_timeout_s: float = 15.0
    price_in_max_wei: Wei | None = None  # of 1,000 tokens; None: see `price_max`
    price_out_max_wei: Wei | None = None


class Caller:
    """Calls the most promising sellers of a model, and ranks their bids."""

    def __init__(
        self,
        *,
        network: str,
        transport: Transport,
        line: OwnLine,
        table: AdTable,
        vetting: Vetting,
        sellers: Sellers,
        limits: RequesterLimits,
        now_ns: Callable[[], int],
        salt: bytes,
    ) -> None:
        self._protocol = wire_name(network, "call")
        self._transport = transport
        self._line = line
        self._table = table
        self._vetting = vetting
        self._sellers = sellers
        self._limits = limits
        self._now_ns = now_ns
        self._unreached = UnreachedPeers(trio.current_time)
        self._slow = UnreachedPeers(trio.current_time)  # they bid later than others are waited for
        self._paid: dict[Model, deque[Terms]] = {}  # of the last whole answers; the model paid last comes last
        self.asked = AskedSellers()
        self.conversations = Conversations(salt=salt, now_s=trio.current_time)

    def offers(self, progress: RequestProgress) -> list[Advertisement]:
        """Advertisements for the requested model, except those of this node, and of nodes and wallets that failed."""
        found = self._table.offers(progress.requested.base, progress.requested.adapter)
        offers = [
            ad
            for ad in found
            if ad.peer_id not in progress.tried
            and ad.wallet not in progress.passed_over
            and ad.peer_id != self._transport.peer_id
        ]
        bonded = [ad for ad in offers if self._vetting.worth_of(ad).bonded_wei != 0]
        awake = [ad for ad in bonded if not self._unreached.is_resting(PeerId(ad.peer_id))]
        sure = [ad for ad in awake if self._vetting.worth_of(ad).is_bonded]
        if len(sure) >= self._limits.candidates_max:
            return sure  # others are read in their turn, and hold up no call
        return awake or bonded or offers  # if nobody is fit, the reasons are told

    async def ranked_bids(self, progress: RequestProgress) -> list[ReceivedBid]:
        """Call the most promising nodes, tell each whether it has won, and return the acceptable bids, best first."""
        offers = self.offers(progress)
        if not offers:
            return []
        records = await trio.to_thread.run_sync(self._sellers.of, [ad.wallet for ad in offers])
        wanted, sticky = progress.wanted(), self.conversations.seller_of(progress.requested)
        offers = without_defaulted(offers, records, wanted)
        ordered = self._slow_last(candidates(offers, records, wanted, sticky))
        chosen, unfit = await self._vetting.choose(ordered, records, self._limits.candidates_max)
        for peer_id, error in unfit.items():
            progress.blame(PeerId(peer_id), error)
        if not chosen:
            return []
        timeout_s, listed = self._limits.bid_timeout_s, self._table.offers(progress.requested.base, wanted.adapter)
        # The chosen ones are fit. They count even if they left the board while the chain was asked about them.
        most = price_max(
            (*chosen, *reversed(listed)),
            self._vetting.worth_of,
            own_in_wei=self._limits.price_in_max_wei,
            own_out_wei=self._limits.price_out_max_wei,
            paid=self._paid.get(_model(progress.requested), ()),
        )
        call = progress.call(chosen, price_max=most, deadline_ms=max(1, int(timeout_s * 1_000)))
        beside = self._line.beside([PeerId(ad.peer_id) for ad in chosen])
        bids = await call_in_waves(
            self._transport,
            self._protocol,
            call,
            chosen,
            timeout_s=timeout_s,
            is_good=lambda received: is_good(call, received, chosen, records, progress),
        )
        awarded = award_bids(call, bids, chosen, records, progress, explorer(offers, records, wanted), sticky)
        await tell_all(bids, call, awarded.winner, awarded.reasons)
        for peer_id, error in awarded.unfit.items():
            progress.blame(peer_id, error)
        called = [ad for ad in chosen if ad.peer_id not in bids.spared]
        if bids.failed and not (bids.received or bids.refused) and await self._line.is_gone(beside):
            self._blame_own_line(len(called), next(iter(bids.failed)), progress)
        else:
            await self._note_call(called, bids, awarded, progress)
        return awarded.ranked

    def _slow_last(self, ordered: Sequence[Advertisement]) -> list[Advertisement]:
        """Put sellers that kept the others waiting behind all that did not."""
        return sorted(ordered, key=lambda ad: self._slow.is_resting(PeerId(ad.peer_id)))

    async def _note_call(
        self, called: Sequence[Advertisement], bids: Bids, awarded: Awarded, progress: RequestProgress
    ) -> None:
        """Remember what became of each seller that was called."""
        await self.note_each(
            {ad.wallet for ad in called if ad.peer_id in bids.failed.keys() | awarded.broken}, "failures"
        )
        await self._note_unreached(called, bids, progress)
        for ad in called:
            peer_id = PeerId(ad.peer_id)
            if peer_id in bids.late:
                self._slow.note(peer_id)
            elif peer_id in bids.asked:
                self._slow.forget(peer_id)
            refusal = awarded.unfit.get(peer_id)
            why = awarded.reasons.get(peer_id) or (refusal.message if refusal else None)
            if peer_id in bids.late:
                why = "it had not bid when another bid well"
            self.asked.note(peer_id, has_won=peer_id == awarded.winner, why=why)
            if isinstance(refusal, UnknownModelError):
                self._table.misses.note(peer_id, progress.requested.adapter)

    async def _note_unreached(self, called: Sequence[Advertisement], bids: Bids, progress: RequestProgress) -> None:
        """Rest the sellers that were not reached, unless nobody was, and keep it apart from their failures."""
        for peer_id in bids.asked:
            self._unreached.forget(peer_id)
        if is_own_uplink(len(called), bids.unreached.keys()):
            self._blame_own_line(len(called), next(iter(bids.unreached)), progress)
            return
        for peer_id in bids.unreached:
            self._unreached.note(peer_id)
        await self.note_each({ad.wallet for ad in called if ad.peer_id in bids.unreached}, "unreached")

    def _blame_own_line(self, num_called: int, peer_id: PeerId, progress: RequestProgress) -> None:
        why = f"none of {num_called} sellers was reached: check this machine's connection to the network"
        progress.blame(peer_id, UnavailableError(why))

    def note_paid(self, requested: NetworkRequest, terms: Terms) -> None:
        """Note the prices of a whole answer that was paid. They say nothing about other models."""
        model = _model(requested)
        paid = self._paid.pop(model, deque[Terms](maxlen=PAID_MAX))
        paid.append(terms)
        self._paid[model] = paid
        if len(self._paid) > MODELS_MAX:
            del self._paid[next(iter(self._paid))]

    async def note_each(self, wallets: Collection[Address], outcome: Outcome) -> None:
        """Note one outcome of several sellers."""
        for wallet in wallets:
            note = partial(self._sellers.note, wallet, outcome, now_ns=self._now_ns())
            await trio.to_thread.run_sync(note)


def _model(requested: NetworkRequest) -> Model:
    return requested.base, requested.adapter


def price_max(
    offers: Sequence[Advertisement],
    worth_of: Callable[[Advertisement], Worth],
    *,
    own_in_wei: Wei | None,
    own_out_wei: Wei | None,
    paid: Sequence[Terms] = (),
) -> Terms:
    """The highest prices by the owner's settings, or by the bonded offers of a model, the cheapest last.

    A wallet with many nodes counts once, by its cheapest. The prices of the model's last answers are never too high.
    Otherwise a majority of stake that offers everything for 1 wei, and answers nothing, keeps others from bidding.

    Raises:
        MalformedError: a price is not set, and no offer has a bond.
    """
    if own_in_wei is not None and own_out_wei is not None:
        return Terms(price_in_wei=own_in_wei, price_out_wei=own_out_wei)
    cheapest = {ad.wallet: (ad.terms, bond) for ad in offers if (bond := worth_of(ad).bonded_wei)}
    usual = price_ceiling(list(cheapest.values()))
    in_wei = max(usual.price_in_wei, _middle([terms.price_in_wei for terms in paid]))
    out_wei = max(usual.price_out_wei, _middle([terms.price_out_wei for terms in paid]))
    return Terms(
        price_in_wei=in_wei if own_in_wei is None else own_in_wei,
        price_out_wei=out_wei if own_out_wei is None else own_out_wei,
    )


def _middle(prices: Sequence[Wei]) -> Wei:
    """The lower median; 0 for none."""
    return sorted(prices)[(len(prices) - 1) // 2] if prices else ZERO_WEI


# ---- conversations: a seller that answered one last still has its beginning in the cache; no text is kept here

KEPT_S = 600.0
"""A seller's cache gives way to other requests, so an older answer says little about it."""

KEPT_MAX = 4_096


class Conversations:
    """Sellers by conversation, which is known by its beginning up to the first turn of its user."""

    def __init__(self, *, salt: bytes, now_s: Callable[[], float]) -> None:
        self._salt = salt  # so that a digest in memory tells nothing about a short text
        self._now_s = now_s
        self._sellers: dict[bytes, tuple[PeerId, float]] = {}  # newest last

    def note(self, requested: NetworkRequest, peer_id: PeerId) -> None:
        """Note the seller that finished an answer."""
        key = self._key(requested)
        if key is None:
            return
        self._sellers.pop(key, None)
        self._sellers[key] = (peer_id, self._now_s())
        if len(self._sellers) > KEPT_MAX:
            self._sellers.pop(next(iter(self._sellers)))

    def seller_of(self, requested: NetworkRequest) -> PeerId | None:
        """The seller of a request's conversation; None for a new one, and for a text that is no conversation."""
        key = self._key(requested)
        peer_id, at_s = self._sellers.get(key, (None, 0.0)) if key else (None, 0.0)
        return peer_id if self._now_s() - at_s < KEPT_S else None

    def _key(self, requested: NetworkRequest) -> bytes | None:
        prompt = requested.request.prompt
        if isinstance(prompt, str):
            return None
        begin: list[str] = [requested.base, requested.adapter]
        for message in prompt:
            begin += [message.role, message.content]
            if message.role == "user":
                return keccak(self._salt + "\0".join(begin).encode())
        return None
