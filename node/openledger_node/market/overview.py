"""This node's view of its market without asking anyone: peers, the last hour's calls, and how its prices compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import AdapterId, Digest

from ..ledger.sellers import SellerRecord
from ..p2p.connections import KnownPeer
from ..p2p.reachability import NOT_CHECKED, Reach
from ..p2p.transport import Path, PeerId
from ..text import rfc3339
from .bid_history import CallRecord
from .board import AdTable, Listed, is_warm
from .call_memory import AskedSeller
from .demand import Demanded
from .names import full_name
from .unserved import Unserved, UnservedCalls
from .worth import Worth

ADVERTISED = "advertisement"
"""Where a peer was learned of that this node has never connected to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """One model sold here, with this node's price and the prices in other nodes' valid advertisements."""

    name: str
    adapter: AdapterId
    own: Terms
    others: tuple[Terms, ...]

    @property
    def own_wei(self) -> int:
        """This node's price for 1,000 tokens in and 1,000 out."""
        return both(self.own)

    @property
    def others_wei(self) -> tuple[int, ...]:
        """The same price of other nodes, cheapest first."""
        return tuple(sorted(map(both, self.others)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """Peers, recent calls and prices at one moment."""

    num_peers: int
    num_serving: int  # that advertise that they serve
    was_dialled: bool  # a peer has dialled in
    addresses: tuple[str, ...]
    calls: tuple[CallRecord, ...]  # of the last hour, oldest first
    now_s: float  # by the clock of `calls`
    priced: tuple[Priced, ...]  # base first
    demand: tuple[Demanded, ...] = ()  # calls of the last day by adapter, for this node's base
    lacking: tuple[Demanded, ...] = ()  # of these, calls for adapters that are not here
    wanted: tuple[Demanded, ...] = ()  # models that were requested here and that nobody offers
    unserved: tuple[Unserved, ...] = ()  # calls of the last day that this node did not serve
    offered: Mapping[AdapterId, str] = field(
        default_factory=dict
    )  # of these, adapters that can be pulled, full names
    second_copy: str | None = None  # why nothing is sold, if another process advertises with this node's keys
    reach: Reach = NOT_CHECKED
    not_sold: Mapping[AdapterId, str] = field(default_factory=dict)  # registered adapters here, and why not

    def most_asked(self) -> Priced | None:
        """The model that most calls asked for; the base if there were none."""
        counts = {each.adapter: sum(call.adapter == each.adapter for call in self.calls) for each in self.priced}
        return max(self.priced, key=lambda each: counts[each.adapter], default=None)


def demand_to_plain(view: MarketView) -> dict[str, Any]:
    """The demand of the last day for JSON: calls by adapter, and models that nobody offers."""
    names = {each.adapter: each.name for each in view.priced}
    lacking = {each.key: each.count for each in view.lacking}
    adapters = [
        {
            "adapter_id": each.key,
            "model": names.get(AdapterId(each.key)),
            "calls": each.count,
            "lacking": lacking.get(each.key, 0),
            "by_hour": list(each.by_hour),
        }
        for each in view.demand
    ]
    wanted = [{"model": each.key, "requests": each.count, "by_hour": list(each.by_hour)} for each in view.wanted]
    return {"adapters": adapters, "wanted": wanted}


def offered_names(ads: AdTable, unserved: UnservedCalls) -> dict[AdapterId, str]:
    """The full names of the adapters that somebody offers and this node lacks; empty while none is asked for."""
    if not any(each.kind.cause == "lacking" for each in unserved.day()):
        return {}
    return {each.adapter.id: full_name(each.adapter) for each in ads.adapters()}


def rank_of(own_wei: int, others_wei: Sequence[int]) -> int:
    """1 for the cheapest; equal prices share the better rank."""
    return 1 + sum(price < own_wei for price in others_wei)


def both(terms: Terms) -> int:
    """A price to compare offers at a glance: for 1,000 tokens in and 1,000 out."""
    return terms.price_in_wei + terms.price_out_wei


def priced(name: str, adapter: AdapterId, own: Terms, offers: Sequence[Advertisement]) -> Priced:
    """Set one model's price beside those of its offers."""
    return Priced(name=name, adapter=adapter, own=own, others=tuple(ad.terms for ad in offers))


# ---- Known peers for display: where each was learned of, and its offer.


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerStanding:
    """This node's experience with one seller, and the chain's word on it."""

    record: SellerRecord
    worth: Worth
    asked: AskedSeller


def with_sellers(known: Sequence[KnownPeer], ads: Sequence[Advertisement]) -> list[KnownPeer]:
    """The known peers, and those that are known by their advertisements alone."""
    ids = {peer.peer_id for peer in known}
    heard = [
        KnownPeer(
            peer_id=PeerId(ad.peer_id),
            address=next(iter((*ad.addresses, *ad.circuits)), ""),
            learned_from=ADVERTISED,
            is_connected=False,
        )
        for ad in ads
        if ad.peer_id not in ids
    ]
    return [*known, *heard]


def peer_to_plain(
    peer: KnownPeer,
    ad: Advertisement | None,
    *,
    base: Digest,
    standing: SellerStanding | None,
    path: Path | None = None,
) -> dict[str, Any]:
    """One peer for JSON; fields from its advertisement are None without a valid one.

    `price_wei` is for 1,000 tokens in and 1,000 out, before surcharges. `has_our_base`: it can answer for `base`.
    `path` is None without a connection.
    """
    return {
        **_peer_to_plain(peer, ad, base=base),
        "path": path,
        "relays": list(ad.relays) if ad else [],
        "seller": standing_to_plain(standing) if standing else None,
    }


def standing_to_plain(standing: SellerStanding) -> dict[str, Any]:
    """A seller's standing for JSON: who is called, who wins, and why not."""
    record, speed = standing.record, standing.record.speed
    return {
        "bonded_wei": None if standing.worth.bonded_wei is None else str(standing.worth.bonded_wei),
        "trust_ppm": record.trust_ppm,
        "num_whole": record.successes,
        "num_late": record.late,
        "num_failed": record.failures + record.aborted,
        "num_unreached": record.unreached,
        "measured_tokens_per_s": None if speed is None else float(round(speed.tokens_per_s, 1)),
        "measured_ttft_ms": None if speed is None else round(speed.ttft_ms),
        "num_asked": standing.asked.num_asked,
        "num_won": standing.asked.num_won,
        "why_not": standing.asked.why,
    }


def _peer_to_plain(peer: KnownPeer, ad: Advertisement | None, *, base: Digest) -> dict[str, Any]:
    return {
        "peer_id": peer.peer_id,
        "address": peer.address or None,
        "learned_from": peer.learned_from,
        "is_connected": peer.is_connected,
        "serves": bool(ad and ad.serves),
        "adapters": [adapter.name for adapter in ad.warm] if ad else [],
        "wallet": ad.wallet if ad else None,
        "generation": ad.generation if ad else None,
        "has_our_base": ad.base == base if ad else None,
        "price_wei": str(both(ad.terms)) if ad else None,
        "tokens_per_s": ad.tokens_per_s if ad else None,
        "slots_free": ad.slots_free if ad else None,
        "advertised": rfc3339(ad.issued_s) if ad else None,
    }


def adapter_to_plain(
    listed: Listed, offers: Sequence[Advertisement], *, base_name: str | None, is_our_base: bool, is_here: bool
) -> dict[str, Any]:
    """One adapter that other nodes offer, for JSON; `price_wei` is the lowest for 1,000 tokens in and 1,000 out.

    A seller without it in memory loads it for the first request, and asks up to its ceiling; `price_cold_wei` is the
    lowest ceiling of these.
    An advertisement has neither the size nor the rank of an adapter, and names its base by digest only.
    """
    cold = [both(ad.ceiling) for ad in offers if not is_warm(ad, listed.adapter.id)]
    return {
        "name": listed.adapter.name,
        "full_name": full_name(listed.adapter),
        "id": listed.adapter.id,
        "base": base_name,
        "base_digest": listed.base,
        "is_our_base": is_our_base,
        "is_here": is_here,
        "num_sellers": len(offers),
        "num_in_memory": len(offers) - len(cold),
        "price_wei": str(min(both(ad.terms) for ad in offers)) if offers else None,
        "price_cold_wei": str(min(cold)) if cold else None,
    }
