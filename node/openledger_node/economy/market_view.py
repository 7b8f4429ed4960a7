"""What this node knows of its market without asking anybody: peers, the last hour's calls, its price's place."""

from collections.abc import Sequence
from dataclasses import dataclass

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import AdapterId

from ..market.heard import HeardCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """One model that is sold here, and what others ask for it: advertisements that count just now."""

    name: str
    adapter: AdapterId
    own: Terms
    others: tuple[Terms, ...]

    @property
    def own_wei(self) -> int:
        """Of 1,000 tokens in and 1,000 out."""
        return both(self.own)

    @property
    def others_wei(self) -> tuple[int, ...]:
        """The same of the others, the cheapest first."""
        return tuple(sorted(map(both, self.others)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """All of it."""

    num_peers: int
    num_serving: int  # that advertise
    was_dialled: bool  # somebody has come by himself
    addresses: tuple[str, ...]
    calls: tuple[HeardCall, ...]  # of the last hour, the oldest first
    now_s: float  # of the clock of `calls`
    priced: tuple[Priced, ...]  # the base first

    def most_asked(self) -> Priced | None:
        """The model that most calls were for; the base where there were none."""
        counts = {each.adapter: sum(call.adapter == each.adapter for call in self.calls) for each in self.priced}
        return max(self.priced, key=lambda each: counts[each.adapter], default=None)


def both(terms: Terms) -> int:
    """The price by which offers are compared at a glance: of 1,000 tokens in and 1,000 out."""
    return terms.price_in_wei + terms.price_out_wei


def priced(name: str, adapter: AdapterId, own: Terms, offers: Sequence[Advertisement]) -> Priced:
    """One model's place among its offers."""
    return Priced(name=name, adapter=adapter, own=own, others=tuple(ad.terms for ad in offers))
