"""The award's formula: price × estimated time ÷ trust, where time is measured first and claimed second.

Speed decides how high a price may win, so a claim alone must not. A newcomer is believed to be as fast as others are,
and a seller that was measured is believed less and less. Everything here is a pure function of bids and records.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from openledger_protocol.auction import Bid, Speed, award, claimed_speed, expected_time_ms
from openledger_protocol.primitives import Address
from openledger_protocol.wire.market import Call

from ..ledger.sellers import SellerRecord
from ..p2p.transport import PeerId
from .calls import ReceivedBid

CLAIM_WEIGHT = 3
"""A claim weighs as much as this many measured answers."""


def rank_bids(
    call: Call,
    fit: Sequence[ReceivedBid],
    records: Mapping[Address, SellerRecord],
    explorer: PeerId | None = None,
    sticky: PeerId | None = None,
) -> list[ReceivedBid]:
    """Rank acceptable bids, best first, by price × estimated time ÷ trust.

    `explorer` is tried out by this call, and `sticky` has answered the conversation so far.
    """
    claims: dict[Address, Speed] = {}
    for received in sorted(fit, key=lambda one: expected_time_ms(bid_of(one, records[one.message.wallet]), call)):
        claims[received.message.wallet] = claimed_speed(received.message)  # the slowest claim of each wallet
    bids = []
    for received in fit:
        wallet = received.message.wallet
        record, bounds = records[wallet], bounds_for(wallet, claims, records)
        speed = estimate(claimed_speed(received.message), record, bounds, received.round_trip_ms)
        bids.append(bid_of(received, record, speed))
    by_peer = {received.peer_id: received for received in fit}
    return [by_peer[PeerId(bid.peer_id)] for bid in award(call, bids, explorer, sticky)]


def estimate(claim: Speed, record: SellerRecord, bounds: Speed, round_trip_ms: int) -> Speed:
    """Estimate a bidder's speed: x* = (3 · claim + n · measured) ÷ (3 + n), from a claim within `bounds`.

    The first token takes at least two round trips, one to open the stream and one for the request itself.
    """
    ttft_ms, tokens_per_s = max(claim.ttft_ms, bounds.ttft_ms), min(claim.tokens_per_s, bounds.tokens_per_s)
    if measured := record.speed:
        ttft_ms = _blend(ttft_ms, measured.ttft_ms, record.num_measured)
        tokens_per_s = _blend(tokens_per_s, measured.tokens_per_s, record.num_measured)
    return Speed(ttft_ms=max(ttft_ms, Fraction(2 * round_trip_ms)), tokens_per_s=tokens_per_s)


def bounds_for(wallet: Address, claims: Mapping[Address, Speed], records: Mapping[Address, SellerRecord]) -> Speed:
    """Bound a wallet's claim by the better quartile of what was measured at others.

    The bound is no worse than the median of the bidders, by measurement where there is one and else by claim. Before
    any measurement it is the only bound. Later it keeps a slow seller that was measured first from holding all others
    at its speed. Nor is it worse than what was measured at the wallet itself. Between two ranks the slower counts, so
    that of two claims the liar's is not the bound.
    """
    known = {other: record.speed for other, record in records.items() if record.speed is not None}
    others = [speed for other, speed in known.items() if other != wallet]
    bidders = [known.get(bidder, claim) for bidder, claim in claims.items()]
    own = [known[wallet]] if wallet in known else []
    bounds = [_quartile(speeds, quarters) for speeds, quarters in ((others, 3), (bidders, 2), (own, 2)) if speeds]
    return Speed(
        ttft_ms=min(bound.ttft_ms for bound in bounds), tokens_per_s=max(bound.tokens_per_s for bound in bounds)
    )


def bid_of(received: ReceivedBid, record: SellerRecord, speed: Speed | None = None) -> Bid:
    """Make a bid for the protocol's award; without an estimate it stands by its own word."""
    return Bid(
        peer_id=received.peer_id,
        message=received.message,
        trust_ppm=record.trust_ppm,
        num_measured=record.num_measured,
        speed=speed,
    )


def _quartile(speeds: Sequence[Speed], quarters: int) -> Speed:
    """The speed that so many quarters of the speeds don't exceed, each part by itself."""
    place = (len(speeds) - 1) * quarters // 4
    return Speed(
        ttft_ms=sorted((speed.ttft_ms for speed in speeds), reverse=True)[place],
        tokens_per_s=sorted(speed.tokens_per_s for speed in speeds)[place],
    )


def _blend(claim: Fraction, measured: Fraction, num_measured: int) -> Fraction:
    return (CLAIM_WEIGHT * claim + num_measured * measured) / (CLAIM_WEIGHT + num_measured)
