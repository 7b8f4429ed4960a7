"""Ranking of nodes to call and of their bids, as pure functions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eth_hash.auto import keccak

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.auction import why_not
from openledger_protocol.constants import PPM
from openledger_protocol.errors import MalformedError, PaymentRequiredError, ProtocolError, UnavailableError
from openledger_protocol.inference import abilities_for
from openledger_protocol.payments import price_wei
from openledger_protocol.primitives import ZERO_DIGEST, Address, Digest, Wei
from openledger_protocol.wire.market import BidMessage, Call

from ..engine.tokenizer import Tokenizer
from ..ledger.sellers import SellerRecord
from ..p2p.transport import PeerId
from .board import is_warm
from .calls import Bids, ReceivedBid
from .progress import RequestProgress
from .ranking import bid_of, rank_bids
from .request import NetworkRequest

FIRST_TOKENS = 32
"""A node is too expensive if the request can't pay it for the prompt and this many tokens. If it can, the answer
ends where the money does."""


@dataclass(slots=True, kw_only=True)
class Awarded:
    """The judged bids of one call."""

    ranked: list[ReceivedBid] = field(default_factory=list)  # best first
    reasons: dict[PeerId, str] = field(default_factory=dict)  # told to the bidders that did not win
    unfit: dict[PeerId, ProtocolError] = field(default_factory=dict)  # nodes that can't answer at all, and why

    @property
    def winner(self) -> PeerId | None:
        """The winning peer, if any."""
        return self.ranked[0].peer_id if self.ranked else None


def most_promising(
    offers: Sequence[Advertisement], records: Mapping[Address, SellerRecord], requested: NetworkRequest
) -> list[Advertisement]:
    """Order offers by price ÷ reliability, as far as that is known before bidding, then warm and free nodes first.

    A wallet's second offer comes after the first of every other wallet, so that many peer ids of one wallet don't
    take all places of a call. Ties are ordered by a hash of the request, so that requests spread over equal nodes.
    """

    def rank(ad: Advertisement) -> tuple[int, bool, bool, bytes]:
        price = (ad.terms.price_in_wei + ad.terms.price_out_wei + 1) * PPM
        tie = keccak((requested.request.request_id + ad.peer_id).encode())
        weighed = price // records[ad.wallet].reliability_ppm
        return weighed, not is_warm(ad, requested.adapter), ad.slots_free == 0, tie

    num_before: Counter[Address] = Counter()
    turns: list[tuple[int, Advertisement]] = []
    for ad in sorted(offers, key=rank):
        turns.append((num_before[ad.wallet], ad))
        num_before[ad.wallet] += 1
    return [ad for _, ad in sorted(turns, key=lambda turn: turn[0])]


def award_bids(
    call: Call,
    bids: Bids,
    ads: Sequence[Advertisement],
    records: Mapping[Address, SellerRecord],
    progress: RequestProgress,
) -> Awarded:
    """Judge the bids of a call; `records` are those of all sellers of the model, by wallet."""
    awarded = Awarded(unfit={**bids.refused, **{who: UnavailableError(why) for who, why in bids.failed.items()}})
    advertised = {ad.peer_id: ad for ad in ads}
    fit: list[ReceivedBid] = []
    for received in bids.received:
        if error := _why_unfit(call, received, advertised[received.peer_id], progress):
            awarded.unfit[received.peer_id] = error
            awarded.reasons[received.peer_id] = error.message
        else:
            fit.append(received)
    awarded.ranked = rank_bids(call, fit, records)
    for loser in awarded.ranked[1:]:
        awarded.reasons[loser.peer_id] = _why_lost(awarded.ranked[0].message)
    return awarded


def too_expensive(least_wei: Wei, left_wei: Wei) -> PaymentRequiredError:
    """The error for a node that asks more than the request may cost."""
    return PaymentRequiredError(
        f"asks {least_wei} wei for the prompt and the first tokens, and {left_wei} are left of what this request "
        "may cost: see [payer] request_max_wei"
    )


def _why_unfit(
    call: Call, received: ReceivedBid, ad: Advertisement, progress: RequestProgress
) -> ProtocolError | None:
    terms = received.message.terms
    if why := _why_not_as_advertised(received.message, ad, progress.index_root):
        return MalformedError(why)
    if why := _why_it_counts_otherwise(received.message, progress.tokenizer):
        return UnavailableError(why)
    if missing := abilities_for(progress.requested.request) - {*received.message.can}:
        return UnavailableError(f"does not say that it can do this: {', '.join(sorted(missing))}")
    if why := why_not(call, bid_of(received)):
        is_dear = terms.price_in_wei > call.price_in_max or terms.price_out_wei > call.price_out_max
        return PaymentRequiredError(why) if is_dear else UnavailableError(why)
    least = price_wei(call.tokens_in, min(call.tokens_max, FIRST_TOKENS), terms)
    return too_expensive(least, progress.left_wei) if least > progress.left_wei else None


def _why_it_counts_otherwise(bid: BidMessage, own: Tokenizer) -> str | None:
    """The reason why a node would count other tokens than this one, if it names one."""
    for what, theirs, here in (
        ("chat template", bid.template, own.template_digest),
        ("tokenizer", bid.tokenizer, own.digest),
    ):
        is_known = theirs != ZERO_DIGEST and (what == "chat template" or here != ZERO_DIGEST)
        if is_known and theirs != here:
            return f"has another {what}, {theirs}, and this node has {here}: if yours is older, pull the base again"
    return None


def _why_not_as_advertised(bid: BidMessage, ad: Advertisement, index_root: Digest) -> str | None:
    """The contradiction between a bid and its peer's advertisement or the adapter's entry on the chain, if any."""
    for name in ("wallet", "signer", "profile_hash", "algo_id"):
        if getattr(bid, name) != getattr(ad, name):
            return f"bids with {name} {getattr(bid, name)}, and advertises {getattr(ad, name)}"
    if bid.index_root != index_root:
        return f"has an index with root {bid.index_root}, and {index_root} is registered"
    return None


def _why_lost(winner: BidMessage) -> str:
    terms = winner.terms
    return (
        f"another bid was better: {terms.price_in_wei} wei in, {terms.price_out_wei} out, "
        f"first token in {winner.ttft_ms} ms, then {winner.tokens_per_s} a second"
    )
