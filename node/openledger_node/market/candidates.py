"""The sellers that a request calls, in order, as a pure function of their offers and of what is known about each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from eth_hash.auto import keccak

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.auction import NEWCOMER_ANSWERS, TIE, is_exploring
from openledger_protocol.constants import PPM
from openledger_protocol.primitives import AdapterId, Address, RequestId

from ..ledger.sellers import SellerRecord
from ..p2p.transport import PeerId
from .board import is_warm

BEST_KNOWN, PROMISING = 2, 2
"""Places for the best sellers by measurement, and for the best ones by advertisement. The other places are drawn.

Without any measurement only one place is for an advertisement, because the lowest price among strangers is what a
seller that never answers would name.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The part of a call that decides whom it goes to."""

    id: RequestId
    adapter: AdapterId
    tokens_in: int
    tokens_max: int
    is_wary: bool = False  # a seller took this request and did not answer it


def candidates(
    offers: Sequence[Advertisement],
    records: Mapping[Address, SellerRecord],
    wanted: Wanted,
    sticky: PeerId | None = None,
) -> list[Advertisement]:
    """Order offers: the seller of the conversation, the two best known, the two most promising, others by lot.

    One call of twenty also tries out an explorer. The first three are called before the others, so an explorer takes
    the place of the second best known if the conversation has a seller. The lot is a hash of the request, so that
    requests spread and no seller can bid itself into all of them. A wallet's second offer comes after the first of
    every other wallet, so that many peer ids of one wallet don't take all places of a call.

    A request that a seller has left unanswered gives no place for a low price, or else the next cheap seller that
    never answers would win it as well.
    """
    by_promise = sorted(offers, key=lambda ad: (_promise(ad, records[ad.wallet], wanted), _lot(ad, wanted)))
    known = [ad for ad in by_promise if records[ad.wallet].num_measured >= NEWCOMER_ANSWERS]
    costs = {ad.peer_id: _known_cost(ad, records[ad.wallet], wanted) for ad in known}
    least = min(costs.values(), default=Fraction(0))
    # Those that the award would treat as equals take turns, or else the first two would win all calls.
    best_known = sorted(known, key=lambda ad: (max(costs[ad.peer_id], TIE * least), _lot(ad, wanted)))
    explored = explorer(offers, records, wanted)
    kept = [ad for ad in offers if ad.peer_id == sticky]
    num_known = BEST_KNOWN - (1 if kept and explored else 0)
    num_promising = 0 if wanted.is_wary else PROMISING if known else 1
    first = [
        *kept,
        *_one_per_wallet([ad for ad in best_known if ad not in kept])[:num_known],
        *(ad for ad in offers if ad.peer_id == explored),
        *_one_per_wallet(by_promise)[:num_promising],
    ]
    by_lot = sorted(offers, key=lambda ad: _lot(ad, wanted))
    return _in_turns({ad.peer_id: ad for ad in (*first, *by_lot)}.values())


def without_defaulted(
    offers: Sequence[Advertisement], records: Mapping[Address, SellerRecord], wanted: Wanted
) -> list[Advertisement]:
    """Leave out sellers that owe an answer, except for the explorer, unless all of them do.

    No price makes up for an answer that never comes. They are called again when nobody else is left, and they have a
    way back as explorers.
    """
    explored = explorer(offers, records, wanted)
    kept = [ad for ad in offers if not records[ad.wallet].num_owed or ad.peer_id == explored]
    return kept or list(offers)


def explorer(
    offers: Sequence[Advertisement], records: Mapping[Address, SellerRecord], wanted: Wanted
) -> PeerId | None:
    """The seller that this call tries out; None for most calls.

    It is the one with the fewest answers here in the cheaper half, since no other could win.
    """
    if not offers or wanted.is_wary or not is_exploring(wanted.id):
        return None
    prices = sorted(_price(ad, wanted) for ad in offers)
    cheaper = [ad for ad in offers if _price(ad, wanted) <= prices[(len(prices) - 1) // 2]]
    least = min(cheaper, key=lambda ad: (records[ad.wallet].num_answers, _lot(ad, wanted)))
    return PeerId(least.peer_id)


def _promise(ad: Advertisement, record: SellerRecord, wanted: Wanted) -> tuple[int, bool]:
    """Price ÷ trust, as far as that is known before bidding; then warm nodes first."""
    return (_price(ad, wanted) + 1) * PPM // record.trust_ppm, not is_warm(ad, wanted.adapter)


def _known_cost(ad: Advertisement, record: SellerRecord, wanted: Wanted) -> Fraction:
    speed = record.speed
    assert speed is not None, "it was measured"
    time_ms = speed.ttft_ms + 1_000 * wanted.tokens_max / speed.tokens_per_s
    return (_price(ad, wanted) + 1) * time_ms / record.trust_ppm


def _price(ad: Advertisement, wanted: Wanted) -> int:
    return wanted.tokens_in * ad.terms.price_in_wei + wanted.tokens_max * ad.terms.price_out_wei


def _lot(ad: Advertisement, wanted: Wanted) -> bytes:
    return keccak((wanted.id + ad.peer_id).encode())


def _one_per_wallet(ads: Sequence[Advertisement]) -> list[Advertisement]:
    firsts: dict[Address, Advertisement] = {}
    for ad in ads:
        firsts.setdefault(ad.wallet, ad)
    return list(firsts.values())


def _in_turns(ads: Iterable[Advertisement]) -> list[Advertisement]:
    num_before: Counter[Address] = Counter()
    turns: list[tuple[int, Advertisement]] = []
    for ad in ads:
        turns.append((num_before[ad.wallet], ad))
        num_before[ad.wallet] += 1
    return [ad for _, ad in sorted(turns, key=lambda turn: turn[0])]
