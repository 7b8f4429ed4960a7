"""Values of a contributor's report: payouts, other credits and withdrawals of one account."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import AdapterId, Address, DatanetId, Digest, Wei
from openledger_protocol.settlement import Payout

from ..network_file import Network
from .shown import ShownAnswer


class AwardState(StrEnum):
    """The stage of a payout; only `final` money can be withdrawn."""

    IN_REVIEW = "in review"
    TO_BE_DRAWN = "to be drawn"
    DRAWN = "drawn"
    FINAL = "final"
    LAPSED = "lapsed"  # not shown in time, so the pot went to the protocol


PENDING = (AwardState.IN_REVIEW, AwardState.TO_BE_DRAWN, AwardState.DRAWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutAward:
    """An account's line in the payout list of one claim: its part of one pot."""

    node: Address
    seq: int
    epoch: int
    pot: int
    adapter_id: AdapterId
    datanet_id: DatanetId
    weight: int  # Σ amount · ppm over the receipts of the claim
    pot_gross_wei: Wei  # charged for the adapter's answers in the claim
    pot_wei: Wei  # the part of it for this Datanet's rows
    amount_wei: Wei
    state: AwardState
    claimed_at_s: int
    ready_at_s: int  # the end of the review period
    late_at_s: int  # from then on anyone may close the claim, and the pot goes to the protocol
    credited_at_s: int | None
    list_hash: Digest
    payouts: tuple[Payout, ...]  # the whole list, which hashes to what the contract stores
    transactions: Mapping[str, Digest]  # by step: claim, propose, draw, finalize
    # None: not published yet, or not readable. An endpoint need not have the data of transactions.
    answers: tuple[ShownAnswer, ...] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCredit:
    """A credit in another role: node, owner, a Datanet's treasury or the protocol."""

    node: Address
    seq: int
    role: CreditRole
    amount_wei: Wei
    credited_at_s: int
    transaction: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """A withdrawal from the account's balance."""

    to: Address
    amount_wei: Wei
    withdrawn_at_s: int
    transaction: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PayingDatanet:
    """A Datanet as the chain describes it; the texts are its owner's, on one line."""

    name: str = ""
    licence: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributorReport:
    """Everything that the chain says of one account's earnings at one block."""

    network: Network
    account: Address
    block: int
    block_hash: Digest
    time_s: int
    balance_wei: Wei
    awards: tuple[PayoutAward, ...]
    others: tuple[OtherCredit, ...]
    withdrawals: tuple[Withdrawn, ...]
    datanets: Mapping[DatanetId, PayingDatanet]  # those that paid
    faults: tuple[str, ...]  # each names a claim that can't be relied on, and why
    num_endpoints: int = field(default=1, compare=False)

    @property
    def holds(self) -> bool:
        """True if every list, amount and balance agrees with the chain."""
        return not self.faults

    def sum_wei(self, *states: AwardState) -> Wei:
        """The account's payouts in these states."""
        return Wei(sum(award.amount_wei for award in self.awards if award.state in states))

    @property
    def withdrawn_wei(self) -> Wei:
        """Everything that has left the balance."""
        return Wei(sum(each.amount_wei for each in self.withdrawals))
