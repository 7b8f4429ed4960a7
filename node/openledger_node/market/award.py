"""Judging the bids of a call: those that are acceptable in the order of the award, and the reasons of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.auction import NEWCOMER_ANSWERS, why_not
from openledger_protocol.errors import MalformedError, PaymentRequiredError, ProtocolError, UnavailableError
from openledger_protocol.inference import abilities_for
from openledger_protocol.payments import Terms, price_wei
from openledger_protocol.primitives import ZERO_DIGEST, Address, Digest, Wei
from openledger_protocol.rules import SIGNALS_RULE, rule_names
from openledger_protocol.wire.market import BidMessage, Call

from ..engine.profile_hash import why_incomparable
from ..engine.tokenizer import Tokenizer
from ..ledger.sellers import SellerRecord
from ..p2p.transport import PeerId
from .calls import Bids, ReceivedBid
from .progress import RequestProgress
from .ranking import bid_of, rank_bids

FIRST_TOKENS = 32
"""A node is too expensive if the request can't pay it for the prompt and this many tokens. If it can, the answer
ends where the money does."""


@dataclass(slots=True, kw_only=True)
class Awarded:
    """The judged bids of one call."""

    ranked: list[ReceivedBid] = field(default_factory=list)  # best first
    reasons: dict[PeerId, str] = field(default_factory=dict)  # told to the bidders that did not win
    unfit: dict[PeerId, ProtocolError] = field(default_factory=dict)  # nodes that can't answer at all, and why
    broken: set[PeerId] = field(default_factory=set)  # of these, those that bid otherwise than they advertise

    @property
    def winner(self) -> PeerId | None:
        """The winning peer, if any."""
        return self.ranked[0].peer_id if self.ranked else None


def award_bids(
    call: Call,
    bids: Bids,
    ads: Sequence[Advertisement],
    records: Mapping[Address, SellerRecord],
    progress: RequestProgress,
    explorer: PeerId | None = None,
    sticky: PeerId | None = None,
) -> Awarded:
    """Judge the bids of a call; `records` are those of all sellers of the model, by wallet."""
    silent = {who: UnavailableError(why) for who, why in (bids.failed | bids.unreached).items()}
    refused = {who: _with_setting(error) for who, error in bids.refused.items()}
    awarded = Awarded(unfit={**refused, **silent})
    advertised = {ad.peer_id: ad for ad in ads}
    fit: list[ReceivedBid] = []
    for received in bids.received:
        if error := _why_unfit(call, received, advertised[received.peer_id], records, progress):
            awarded.unfit[received.peer_id] = error
            awarded.reasons[received.peer_id] = error.message
            if isinstance(error, MalformedError):
                awarded.broken.add(received.peer_id)
        else:
            fit.append(received)
    awarded.ranked = rank_bids(call, fit, records, explorer, sticky)
    for loser in awarded.ranked[1:]:
        awarded.reasons[loser.peer_id] = _why_lost(awarded.ranked[0].message)
    return awarded


def is_good(
    call: Call,
    received: ReceivedBid,
    ads: Sequence[Advertisement],
    records: Mapping[Address, SellerRecord],
    progress: RequestProgress,
) -> bool:
    """True for an acceptable bid of a seller that has proved itself here, so that no others need be called."""
    ad = next(ad for ad in ads if ad.peer_id == received.peer_id)
    if _why_unfit(call, received, ad, records, progress):
        return False
    return records[ad.wallet].num_measured >= NEWCOMER_ANSWERS


def too_expensive(least_wei: Wei, left_wei: Wei) -> PaymentRequiredError:
    """The error for a node that asks more than the request may cost."""
    return PaymentRequiredError(
        f"asks {least_wei} wei for the prompt and the first tokens, and {left_wei} are left of what this request "
        "may cost: see [payer] request_max_wei"
    )


def _why_unfit(
    call: Call,
    received: ReceivedBid,
    ad: Advertisement,
    records: Mapping[Address, SellerRecord],
    progress: RequestProgress,
) -> ProtocolError | None:
    terms = received.message.terms
    if why := _why_over_ceiling(terms, ad.ceiling) or _why_not_as_advertised(
        received.message, ad, progress.index_root
    ):
        return MalformedError(why)
    if why := _why_wrong_rule(received.message, progress):
        return UnavailableError(why)
    if why := _why_it_counts_otherwise(received.message, progress.tokenizer):
        return UnavailableError(why)
    if missing := abilities_for(progress.requested.request) - {*received.message.can}:
        return UnavailableError(f"does not say that it can do this: {', '.join(sorted(missing))}")
    if why := why_not(call, bid_of(received, records[received.message.wallet])):
        is_dear = terms.price_in_wei > call.price_in_max or terms.price_out_wei > call.price_out_max
        return _with_setting(PaymentRequiredError(why)) if is_dear else UnavailableError(why)
    least = price_wei(call.tokens_in, min(call.tokens_max, FIRST_TOKENS), terms)
    return too_expensive(least, progress.left_wei) if least > progress.left_wei else None


def _with_setting(error: ProtocolError) -> ProtocolError:
    """Name the settings to a requester whose call allowed too low a price, by its own word or the bidder's."""
    if not isinstance(error, PaymentRequiredError):
        return error
    return PaymentRequiredError(f"{error.message}: see [payer] price_in_max_wei and price_out_max_wei")


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
    for name in ("wallet", "signer", "profile_hash"):
        if getattr(bid, name) != getattr(ad, name):
            return f"bids with {name} {getattr(bid, name)}, and advertises {getattr(ad, name)}"
    if bid.algo_id not in (ad.algo_id, *ad.rules):
        return f"bids with algo_id {bid.algo_id}, and advertises {', '.join(map(str, (ad.algo_id, *ad.rules)))}"
    if bid.index_root != index_root:
        return f"has an index with root {bid.index_root}, and {index_root} is registered"
    return None


def _why_wrong_rule(bid: BidMessage, progress: RequestProgress) -> str | None:
    """The reason why an answer's shares may not be divided by a bid's rule, if there is one.

    A bidder chooses the profile that it names. If no replay here could be compared with it, no audit could call the
    bidder's signals wrong.
    """
    if progress.entry is None:
        return None
    rule = bid.algo_id
    if rule not in progress.entry.rules:
        return (
            f"divides by attribution rule {rule} ({rule_names([rule])}), and the Datanets of this adapter allow "
            f"{rule_names(progress.entry.rules)}"
        )
    if rule not in progress.rules:
        return f"divides by attribution rule {rule}, and this node can check {rule_names(progress.rules)} only"
    if rule != SIGNALS_RULE:
        return None
    if why := why_incomparable(progress.requested.base, bid.profile_hash, progress.replayed_by):
        return f"divides by poa-v3, and no audit here could check it: {why}"
    return None


def _why_over_ceiling(terms: Terms, ceiling: Terms) -> str | None:
    """The reason why a bid is dearer than its bidder's advertisement allows, if it is."""
    if terms.price_in_wei <= ceiling.price_in_wei and terms.price_out_wei <= ceiling.price_out_wei:
        return None
    return (
        f"bids {terms.price_in_wei} wei in and {terms.price_out_wei} out, over the ceiling in its advertisement, "
        f"{ceiling.price_in_wei} and {ceiling.price_out_wei}"
    )


def _why_lost(winner: BidMessage) -> str:
    terms = winner.terms
    return (
        f"another bid was better: {terms.price_in_wei} wei in, {terms.price_out_wei} out, "
        f"first token in {winner.ttft_ms} ms, then {winner.tokens_per_s} a second"
    )
