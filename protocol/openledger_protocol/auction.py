"""The award of a call: the lowest price × expected time ÷ trust wins, in exact integers.

A pure function of the bids and of the requester's record of each bidder, so that anyone can check it afterwards.
A bidder's own word on its speed counts only if the requester gives no estimate.
The winner is paid the price that it bid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import comb

from eth_hash.auto import keccak

from .codec import encode_frame
from .constants import NEWCOMER_CHUNK_MAX, PPM, PRICE_TOKENS
from .errors import MalformedError
from .payments import Terms
from .primitives import UINT128_MAX, RequestId, Wei
from .wire.market import BidMessage, Call, encode

PRIOR_WHOLE, PRIOR_FAILED = 4, 1
"""The prior for an unknown seller: four whole answers of five."""

EVIDENCE_MAX = 32
"""Counts of more answers than this are scaled down, so that sellers that have proved themselves are equals."""

LOWER_BOUND = Fraction(1, 5)
"""Trust is the probability of a whole answer that the evidence exceeds with four chances of five."""

PERMILLE = 1_000
SLACK_MS = 1_000
"""Added to each expected time, so that nobody wins by milliseconds."""

NEWCOMER_ANSWERS = 3
NEWCOMER_FACTOR = Fraction(5, 4)
"""A seller of which fewer answers were measured costs a quarter more."""

TIE = Fraction(103, 100)
"""Bids within 3 percent of the best are equals, and the request's id decides between them."""

STAY = Fraction(115, 100)
"""A conversation stays with its seller while its bid costs at most 15 percent more than the best."""

EXPLORE_ONE_IN = 20
_EXPLORE_DOMAIN = b"openledger.explore/1"


CEILING_MEDIANS = 3
"""By default a call allows so many times the median price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Time to the first token, and the rate after it."""

    ttft_ms: Fraction
    tokens_per_s: Fraction  # over 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """A peer's bid, with the requester's trust in that peer and the estimate of its speed."""

    peer_id: str
    message: BidMessage
    trust_ppm: int
    num_measured: int = 0  # answers behind the estimate
    speed: Speed | None = None  # the estimate; None takes the bidder's word


def award(call: Call, bids: Sequence[Bid], explorer: str | None = None, sticky: str | None = None) -> list[Bid]:
    """Rank the acceptable bids: the winner first, then the fallbacks in order.

    The order of arrival does not matter. Of a peer's several bids the best counts. Bids within 3 percent of the best
    are ordered by keccak(request id ‖ peer id), which favours nobody over many calls. `explorer` is the peer that
    this call tries out, if any: it wins if its price is in the cheaper half. `sticky` is the peer that has answered
    the conversation so far and has its beginning in a cache: it wins if it costs at most 15 percent more than the
    best.
    """
    ranked = sorted((bid for bid in bids if why_not(call, bid) is None), key=lambda bid: _rank(bid, call))
    best: dict[str, Bid] = {}
    for bid in ranked:
        best.setdefault(bid.peer_id, bid)
    found = list(best.values())
    if not found:
        return []
    least = expected_cost(found[0], call)
    equals = [bid for bid in found if expected_cost(bid, call) <= TIE * least]
    found[: len(equals)] = sorted(equals, key=lambda bid: _tie(call.id, bid.peer_id))
    kept = best.get(sticky) if sticky else None
    if kept and expected_cost(kept, call) <= STAY * least:
        found.remove(kept)
        return [kept, *found]
    tried = best.get(explorer) if explorer else None
    if tried and 2 * sum(_price(bid, call) < _price(tried, call) for bid in found) < len(found):
        found.remove(tried)
        found.insert(0, tried)
    return found


def is_exploring(id: RequestId) -> bool:
    """True for the one call in twenty that gives a place to an explorer, the seller with the fewest answers."""
    drawn = keccak(_EXPLORE_DOMAIN + bytes.fromhex(id.removeprefix("0x")))
    return int.from_bytes(drawn, "big") % EXPLORE_ONE_IN == 0


def why_not(call: Call, bid: Bid) -> str | None:
    """The reason why a bid is not acceptable, as told to its bidder; None if it is."""
    asked, terms = bid.message, bid.message.terms
    needed = call.tokens_in + call.tokens_max
    if asked.id != call.id:
        return f"for request {asked.id}, not for {call.id}"
    if terms.price_in_wei > call.price_in_max:
        return f"asks {terms.price_in_wei} wei per {PRICE_TOKENS} tokens of the prompt, over {call.price_in_max}"
    if terms.price_out_wei > call.price_out_max:
        return f"asks {terms.price_out_wei} wei per {PRICE_TOKENS} tokens of the answer, over {call.price_out_max}"
    if asked.context_max < needed:
        return f"has a context of {asked.context_max} tokens, and {needed} are needed"
    if asked.tokens_per_s < 1:
        return "makes no token in a second"
    if bid.num_measured < NEWCOMER_ANSWERS and asked.chunk_tokens > NEWCOMER_CHUNK_MAX:
        return (
            f"wants {asked.chunk_tokens} tokens paid ahead, and a seller with fewer than {NEWCOMER_ANSWERS} answers "
            f"here gets at most {NEWCOMER_CHUNK_MAX}: see [market] credit_tokens_max"
        )
    if bid.trust_ppm < 1:
        return "is not trusted at all"
    return None


def median_terms(offers: Sequence[tuple[Terms, Wei]]) -> Terms:
    """The median prices of offers, each weighted by its seller's bonded stake; prompt and answer by themselves.

    Half of the stake asks no more than the median; where two prices fit, the higher one is it, so that a cheap half
    can't shut out the other. New wallets move it only by the stake that they bond. A price of 0 counts only if all
    are 0: three times nothing would shut out everyone who asks for money.

    Raises:
        MalformedError: no offer has stake.
    """
    staked = [(terms, stake) for terms, stake in offers if stake > 0]
    if not staked:
        raise MalformedError("a median price needs an offer of a seller with stake")
    return Terms(
        price_in_wei=_weighted_median([(terms.price_in_wei, stake) for terms, stake in staked]),
        price_out_wei=_weighted_median([(terms.price_out_wei, stake) for terms, stake in staked]),
    )


def price_ceiling(offers: Sequence[tuple[Terms, Wei]]) -> Terms:
    """The highest prices that a call allows unless its requester sets others: three times the median.

    Raises:
        MalformedError: as in `median_terms`.
    """
    median = median_terms(offers)
    return Terms(
        price_in_wei=Wei(min(CEILING_MEDIANS * median.price_in_wei, UINT128_MAX)),
        price_out_wei=Wei(min(CEILING_MEDIANS * median.price_out_wei, UINT128_MAX)),
    )


def expected_cost(bid: Bid, call: Call) -> Fraction:
    """The ranking figure of an acceptable bid, lower is better: price × (expected time + 1 s) ÷ trust.

    NOTE: the price is raised by one thousandth of a wei, so that free bids differ by their time.
    """
    cost = Fraction((_price(bid, call) + 1) * (expected_time_ms(bid, call) + SLACK_MS) * PPM, bid.trust_ppm)
    return cost * NEWCOMER_FACTOR if bid.num_measured < NEWCOMER_ANSWERS else cost


def expected_time_ms(bid: Bid, call: Call) -> Fraction:
    """The time for the longest answer that the call allows, by the requester's estimate of the bidder's speed."""
    speed = bid.speed or claimed_speed(bid.message)
    return speed.ttft_ms + 1_000 * call.tokens_max / speed.tokens_per_s


def claimed_speed(message: BidMessage) -> Speed:
    """The speed that a bid promises."""
    return Speed(ttft_ms=Fraction(message.ttft_ms), tokens_per_s=Fraction(message.tokens_per_s))


def cost_max_wei(bid: Bid, call: Call) -> Wei:
    """The maximum cost of an answer by this bid, rounded up, which a voucher must cover."""
    return Wei((_price(bid, call) + PRICE_TOKENS - 1) // PRICE_TOKENS)


def trust_ppm(*, whole: int, failed: int = 0, late: int = 0) -> int:
    """A requester's trust in a seller from its own answers, from 1 to 1,000,000.

    The square of the lower 20 percent bound of Beta(4 + whole, 1 + failed + 2 · late). The bound is the greatest
    number of thousandths k with P[Binomial(4 + whole + failed + 2 · late, k ÷ 1000) ≥ 4 + whole] ≤ 1 ÷ 5. It needs
    integers alone, so every implementation gets the same number.

    `late`: whole answers that took more than twice the promised time; over four times counts as `failed`, and so does
    an answer that broke off. Of more than 32 answers each count is scaled down to 32 in all, against the seller.
    """
    total = whole + failed + late
    if total > EVIDENCE_MAX:
        failed, late = (-(-count * EVIDENCE_MAX // total) for count in (failed, late))
        whole = whole * EVIDENCE_MAX // total
    return max(1, _lower_bound(PRIOR_WHOLE + whole, PRIOR_FAILED + failed + 2 * late) ** 2)


@cache
def _lower_bound(alpha: int, beta: int) -> int:
    """The lower bound of a Beta distribution in thousandths, by bisection; for at most 33 × 65 pairs."""
    low, high = 0, PERMILLE
    while high - low > 1:
        middle = (low + high) // 2
        if _tail(alpha, alpha + beta - 1, middle) * LOWER_BOUND.denominator <= PERMILLE ** (alpha + beta - 1):
            low = middle
        else:
            high = middle
    return low


def _tail(least: int, num_tries: int, permille: int) -> int:
    """P[Binomial(num_tries, permille ÷ 1000) ≥ least] × 1000^num_tries."""
    against = PERMILLE - permille
    return sum(
        comb(num_tries, hits) * permille**hits * against ** (num_tries - hits) for hits in range(least, num_tries + 1)
    )


def _price(bid: Bid, call: Call) -> int:
    """The price of the longest answer that the call allows, in thousandths of a wei."""
    return call.tokens_in * bid.message.terms.price_in_wei + call.tokens_max * bid.message.terms.price_out_wei


def _weighted_median(prices: Sequence[tuple[Wei, Wei]]) -> Wei:
    asked = [(price, stake) for price, stake in prices if price > 0] or prices
    half, below = sum(stake for _, stake in asked), 0
    for price, stake in sorted(asked):
        below += 2 * stake
        if below > half:
            return price
    raise AssertionError("the stake of all prices together is over half of it")


def _rank(bid: Bid, call: Call) -> tuple[Fraction, bytes, bytes]:
    # The message's bytes order two equal bids of one peer; otherwise their order of arrival would.
    return expected_cost(bid, call), _tie(call.id, bid.peer_id), encode_frame(encode(bid.message))


def _tie(id: RequestId, peer_id: str) -> bytes:
    return keccak(bytes.fromhex(id.removeprefix("0x")) + peer_id.encode())
