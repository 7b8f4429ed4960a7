"""The award of a call: the lowest price × expected time ÷ reliability wins, in exact integers.

A pure function of the bids and of the requester's record of each bidder, so that anyone can check it afterwards.
A bidder's own word on its speed counts only if the requester gives no estimate.
The winner is paid the price that it bid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from eth_hash.auto import keccak

from .codec import encode_frame
from .constants import PPM, PRICE_TOKENS
from .primitives import RequestId, Wei
from .wire.market import BidMessage, Call, encode

PRIOR_SUCCESSES = 4
PRIOR_ANSWERS = 5
"""The prior for an unknown peer: four good answers of five. It wins if it is a fifth cheaper or
faster than a peer that never failed, and its first failures weigh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Time to the first token, and the rate after it."""

    ttft_ms: Fraction
    tokens_per_s: Fraction  # over 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """A peer's bid, with the requester's reliability figure and speed estimate for that peer."""

    peer_id: str
    message: BidMessage
    reliability_ppm: int
    speed: Speed | None = None  # the estimate; None takes the bidder's word


def award(call: Call, bids: Sequence[Bid]) -> list[Bid]:
    """Rank the acceptable bids: the winner first, then the fallbacks in order.

    The order of arrival does not matter. Of a peer's several bids the best counts. Ties are ordered by
    keccak(request id ‖ peer id), which favours nobody over many calls.
    """
    ranked = sorted((bid for bid in bids if why_not(call, bid) is None), key=lambda bid: _rank(bid, call))
    best: dict[str, Bid] = {}
    for bid in ranked:
        best.setdefault(bid.peer_id, bid)
    return list(best.values())


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
    if bid.reliability_ppm < 1:
        return "has never been reliable"
    return None


def expected_cost(bid: Bid, call: Call) -> Fraction:
    """The ranking figure of an acceptable bid, lower is better: price × expected time ÷ reliability.

    NOTE: the price is raised by one thousandth of a wei, so that free bids differ by their time.
    """
    terms = bid.message.terms
    price = call.tokens_in * terms.price_in_wei + call.tokens_max * terms.price_out_wei + 1
    return Fraction(price * expected_time_ms(bid, call) * PPM, bid.reliability_ppm)


def expected_time_ms(bid: Bid, call: Call) -> Fraction:
    """The time for the longest answer that the call allows, by the requester's estimate of the bidder's speed."""
    speed = bid.speed or claimed_speed(bid.message)
    return speed.ttft_ms + 1_000 * call.tokens_max / speed.tokens_per_s


def claimed_speed(message: BidMessage) -> Speed:
    """The speed that a bid promises."""
    return Speed(ttft_ms=Fraction(message.ttft_ms), tokens_per_s=Fraction(message.tokens_per_s))


def cost_max_wei(bid: Bid, call: Call) -> Wei:
    """The maximum cost of an answer by this bid, rounded up, which a voucher must cover."""
    terms = bid.message.terms
    price = call.tokens_in * terms.price_in_wei + call.tokens_max * terms.price_out_wei
    return Wei((price + PRICE_TOKENS - 1) // PRICE_TOKENS)


def reliability_ppm(*, successes: int, failures: int, aborted: int = 0, late: int = 0) -> int:
    """A seller's reliability from the requester's counts: over 0 and below 1,000,000.

    `failures`: no answer, not the agreed one, or a whole one in more than four times the promised time; `aborted`: it
    stopped after a part that was paid, half a success; `late`: the whole answer, but in more than twice the promised
    time, one success and two failures. Answers that the requester cancelled are not counted.
    """
    good = 2 * (successes + PRIOR_SUCCESSES) + aborted + 2 * late
    answers = 2 * (successes + failures + aborted + 3 * late + PRIOR_ANSWERS)
    return max(1, good * PPM // answers)


def _rank(bid: Bid, call: Call) -> tuple[Fraction, bytes, bytes]:
    # The message's bytes order two equal bids of one peer; otherwise their order of arrival would.
    return expected_cost(bid, call), _tie(call.id, bid.peer_id), encode_frame(encode(bid.message))


def _tie(id: RequestId, peer_id: str) -> bytes:
    return keccak(bytes.fromhex(id.removeprefix("0x")) + peer_id.encode())
