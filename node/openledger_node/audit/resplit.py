"""One claim, split by any values: the credits that its finalisation makes, computed as the contracts do."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from openledger_protocol.claims import AdapterTerms, ClaimDivision, divide_lines
from openledger_protocol.epoch import Params
from openledger_protocol.payouts import Credited, CreditRole, lapse_fee_wei, late_amounts, payout_amounts
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Wei
from openledger_protocol.settlement import ClaimRecord

from ..settlement.records import payouts_of
from .claim_lines import Lines
from .claims import TERMS, ClaimHistory
from .draws import redraws_max
from .splits import ADAPTER_OWNERS, DATANET_OWNERS

STAKERS: Final = "stakers"
ROLES: Final = (
    "protocol",
    STAKERS,
    "nodes",
    ADAPTER_OWNERS,
    DATANET_OWNERS,
    "contributors",
    "treasuries",
)
"""Everybody who gets a part of a claim. Fees for late lists and lapsed draws are the protocol's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitClaim:
    """A claim's record, and what its finalisation credits."""

    record: ClaimRecord
    division: ClaimDivision
    credits: tuple[Credited, ...]  # in the contract's order
    stakers_wei: Wei  # the protocol gets them while nobody has bonded

    @property
    def lapse_fee_wei(self) -> Wei:
        """The fee of a draw that lapses."""
        return lapse_fee_wei(self.record)


def split_claim(
    claim: ClaimHistory, lines: Lines, params: Params, adapters: Mapping[AdapterId, AdapterTerms]
) -> SplitClaim:
    """Split a final claim by `params`, with the registries of its time and its own payout list.

    With other shares the node's share may cover fewer repeated draws than there were. Such a claim would have ended
    late.
    """
    assert claim.record is not None
    assert claim.to is not None, "the claim is final"
    division = divide_lines(lines, params=params, registry=adapters, datanets=claim.datanets)
    record = replace(
        claim.record,
        protocol_wei=division.protocol_wei,
        stakers_wei=division.stakers_wei,
        node_share_wei=division.node_share_wei,
        credits=division.credits,
        pots=division.pots,
    )
    return SplitClaim(
        record=record,
        division=division,
        credits=tuple(_credits(claim, record)),
        stakers_wei=record.stakers_wei if claim.to.has_stakers else ZERO_WEI,
    )


def _credits(claim: ClaimHistory, record: ClaimRecord) -> list[Credited]:
    assert claim.to is not None
    redraws, most = claim.draws.redraws, redraws_max(record)
    if claim.is_late or redraws > most:
        is_proposed = claim.proposed is not None
        return late_amounts(record, claim.to, is_proposed=is_proposed, num_redraws=min(redraws, most))
    assert claim.proposed is not None, "only a late claim has no list"
    fee = Wei(redraws * lapse_fee_wei(record))
    return payout_amounts(record, payouts_of(claim.proposed), claim.to, fee_wei=fee)


def difference_from_chain(claim: ClaimHistory, split: SplitClaim) -> str | None:
    """The first difference between a claim as it was split here and as the chain paid it; None if there is none."""
    for name in ("protocol_wei", "stakers_wei", "node_share_wei", "credits", "pots"):
        if getattr(split.record, name) != getattr(claim.record, name):
            return f"its {name.removesuffix('_wei').replace('_', ' ')}"
    if list(split.credits) != claim.credited:
        return "its credits"
    return (
        None
        if sum(each.amount_wei for each in split.credits) + split.stakers_wei == claim.released_wei
        else "its sum"
    )


# ---- sums over claims


class SplitSums:
    """The wei that claims pay: by role, node, Datanet, adapter and account."""

    def __init__(self) -> None:
        self.roles: Counter[str] = Counter()
        self.nodes: Counter[str] = Counter()  # the node's shares, less its fees
        self.staked: Counter[str] = Counter()  # the stakers' part, by bonded node, rounded down
        self.datanets: Counter[str] = Counter()  # owners, contributors and treasuries
        self.adapters: Counter[str] = Counter()  # their owners, and their Datanets through them
        self.accounts: Counter[str] = Counter()  # all credits
        self.others: Counter[str] = Counter()  # credits to accounts, but for nodes' shares
        self.lapse_fees_wei = 0  # of one lapsed draw of each claim
        self.gross: Counter[str] = Counter()  # by adapter

    def add(self, split: SplitClaim, lines: Lines) -> None:
        """Add a claim."""
        self.lapse_fees_wei += split.lapse_fee_wei
        self.roles[STAKERS] += split.stakers_wei
        self.gross.update(dict(lines))
        for credited, role, adapter_id, datanet_id in _named(split):
            self.roles[role] += credited.amount_wei
            self.accounts[credited.account] += credited.amount_wei
            if credited.role == CreditRole.NODE:
                self.nodes[split.record.node] += credited.amount_wei
            else:
                self.others[credited.account] += credited.amount_wei
            if adapter_id is not None:
                self.adapters[adapter_id] += credited.amount_wei
            if datanet_id is not None:
                self.datanets[datanet_id] += credited.amount_wei


def _named(split: SplitClaim) -> Iterator[tuple[Credited, str, str | None, str | None]]:
    """Each credit with its role, its adapter and its Datanet."""
    owners = iter(split.division.owners)
    for credited in split.credits:
        if credited.role == CreditRole.OWNER:
            part = next(owners)
            role = ADAPTER_OWNERS if part.datanet_id is None else DATANET_OWNERS
            yield credited, role, part.adapter_id, part.datanet_id
        elif credited.pot is not None:
            pot = split.record.pots[credited.pot]
            yield credited, TERMS[credited.role], pot.adapter_id, pot.datanet_id
        else:
            yield credited, TERMS[credited.role], None, None
