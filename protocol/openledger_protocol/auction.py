"""Who serves a call: the lowest price × expected time ÷ reliability, in exact integers.

A pure function of the bids and of what the requester has seen of each bidder, so that it can be checked afterwards;
the winner is paid what it asked.
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
"""What a peer counts for that nobody knows: four good answers of five. It gets work when it is a fifth cheaper or
faster than one that never failed, and its first failures weigh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """A peer's bid, and how reliable the requester has found that peer."""

    peer_id: str
    message: BidMessage
    reliability_ppm: int


def award(call: Call, bids: Sequence[Bid]) -> list[Bid]:
    """Rank the bids that the call can take, the winner first and then whom to turn to if it fails.

    The order in which bids came does not matter; of a peer's several bids the best counts. Equal ones are ordered by
    keccak(request id ‖ peer id), which favours nobody over many calls.
    """
    ranked = sorted((bid for bid in bids if why_not(call, bid) is None), key=lambda bid: _rank(bid, call))
    best: dict[str, Bid] = {}
    for bid in ranked:
        best.setdefault(bid.peer_id, bid)
    return list(best.values())


def why_not(call: Call, bid: Bid) -> str | None:
    """Why a call can't take a bid, as its bidder is told; None if it can."""
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
    """What ranks a bid that the call can take, lower is better: price × expected time ÷ reliability.

    NOTE: the price counts one thousandth of a wei more than it is, so that free bids differ by their time.
    """
    terms = bid.message.terms
    price = call.tokens_in * terms.price_in_wei + call.tokens_max * terms.price_out_wei + 1
    return Fraction(price * expected_time_ms(bid, call) * PPM, bid.reliability_ppm)


def expected_time_ms(bid: Bid, call: Call) -> Fraction:
    """How long the longest answer takes that the call allows, as the bidder says."""
    return bid.message.ttft_ms + Fraction(1_000 * call.tokens_max, bid.message.tokens_per_s)


def cost_max_wei(bid: Bid, call: Call) -> Wei:
    """The most that an answer costs by this bid, rounded up: what a voucher must be good for."""
    terms = bid.message.terms
    price = call.tokens_in * terms.price_in_wei + call.tokens_max * terms.price_out_wei
    return Wei((price + PRICE_TOKENS - 1) // PRICE_TOKENS)


def reliability_ppm(*, successes: int, failures: int, aborted: int = 0, late: int = 0) -> int:
    """How far a peer's word counts, from what the requester has seen of it: over 0 and below 1,000,000.

    `failures`: nothing came, or not what was agreed; `aborted`: it broke off after a part that was paid, half a
    success; `late`: the whole answer, but in more than twice the time of its bid, half a success too. What the
    requester itself broke off is not counted.
    """
    good = 2 * (successes + PRIOR_SUCCESSES) + aborted + late
    answers = 2 * (successes + failures + aborted + late + PRIOR_ANSWERS)
    return max(1, good * PPM // answers)


def _rank(bid: Bid, call: Call) -> tuple[Fraction, bytes, bytes]:
    # The bytes of the message order two equal bids of one peer: else their order of arrival would.
    return expected_cost(bid, call), _tie(call.id, bid.peer_id), encode_frame(encode(bid.message))


def _tie(id: RequestId, peer_id: str) -> bytes:
    return keccak(bytes.fromhex(id.removeprefix("0x")) + peer_id.encode())
