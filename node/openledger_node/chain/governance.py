"""Votes on the network's values: the governor, its timelock, the votes token, and the guardian's stop, typed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.eip712 import keccak_digest
from openledger_protocol.epoch import Params, Voting
from openledger_protocol.events import Event
from openledger_protocol.governance import ParamBounds, ProposalState, QueuedParams, Support
from openledger_protocol.primitives import Address, Digest, Wei

from ..errors import ChainError
from ..network_file import WRAPPED_VOTES
from .abi_codec import bytes_of_text
from .contract_values import Slash, params_of
from .deployment import Deployment

NEWEST_EPOCH: Final = 2**63
"""An epoch after all others: the values that were queued last are active in it."""

VOTES_TOKENS: Final = ("OpenToken", WRAPPED_VOTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedContent:
    """A proposal as it was sent; nothing of it can change."""

    id: int
    proposer: Address
    calls: tuple[ContractCall, ...]
    description: str  # of a stranger: bytes that are not UTF-8 are lone surrogates
    snapshot_s: int  # whoever holds delegated votes at this time can cast them afterwards
    deadline_s: int  # as it was proposed; a late quorum extends it
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Votes that were cast."""

    against_wei: Wei
    for_wei: Wei
    abstain_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardian:
    """The account that may stop new deposits once, and the end of that stop; 0 if there was none."""

    account: Address
    stopped_until_s: int


class Governance:
    """The governor of one network and what belongs to it."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._ask = deployment.ask
        self._call = deployment.call
        self.timelock = deployment.addresses["Timelock"]
        self.votes_token = self._find_votes_token()

    def _find_votes_token(self) -> str:
        """The contract that counts votes: the network's token itself, or its wrapper."""
        address = self._ask("OpenGovernor", "token")
        addresses = self._deployment.addresses
        found = next((name for name in VOTES_TOKENS if addresses.get(name) == address), None)
        if found is None:
            raise ChainError(
                f"the governor counts the votes of {address}, which network.json does not name: ask whoever gave it "
                "to you for the whole file"
            )
        return found

    @property
    def is_wrapped(self) -> bool:
        """True if OPEN has no votes by itself and is wrapped for them."""
        return self.votes_token == WRAPPED_VOTES

    # ---- rules that never change

    def voting(self) -> Voting:
        """Times and thresholds of votes."""
        return Voting(
            delay_s=self._ask("OpenGovernor", "votingDelay"),
            period_s=self._ask("OpenGovernor", "votingPeriod"),
            timelock_s=self._ask("Timelock", "getMinDelay"),
            threshold_wei=Wei(self._ask("OpenGovernor", "proposalThreshold")),
            quorum_floor_wei=Wei(self._ask("OpenGovernor", "quorumFloor")),
        )

    def late_extension_s(self) -> int:
        """The least time of a vote that is left after its quorum was reached."""
        seconds: int = self._ask("OpenGovernor", "lateQuorumVoteExtension")
        return seconds

    def bounds(self) -> ParamBounds:
        """Limits of the values."""
        row = self._ask("Params", "bounds")
        return ParamBounds(
            protocol_ppm_max=row["protocolPpmMax"],
            data_ppm_min=row["dataPpmMin"],
            data_ppm_max=row["dataPpmMax"],
            royalty_ppm_max=row["royaltyPpmMax"],
            credit_tokens_max=row["creditTokensMax"],
            least_context_max=row["leastContextMax"],
            guide_price_max_wei=Wei(row["guidePriceMax"]),
            min_stake_min_wei=Wei(row["minStakeMin"]),
            min_stake_max_wei=Wei(row["minStakeMax"]),
            min_deposit_min_wei=Wei(row["minDepositMin"]),
            min_deposit_max_wei=Wei(row["minDepositMax"]),
            adapter_bond_min_wei=Wei(row["adapterBondMin"]),
            adapter_bond_max_wei=Wei(row["adapterBondMax"]),
        )

    def newest_params(self) -> Params:
        """The values that were queued last, which the next proposal changes."""
        return self._deployment.params(NEWEST_EPOCH)

    # ---- votes

    def votes(self, account: Address) -> Wei:
        """Votes that are delegated to an account now."""
        return Wei(self._ask(self.votes_token, "getVotes", account))

    def votes_at(self, account: Address, at_s: int) -> Wei:
        """Votes that were delegated to an account at a time that is over."""
        return Wei(self._ask(self.votes_token, "getPastVotes", account, at_s))

    def held(self, account: Address) -> Wei:
        """Tokens of an account that are votes of whom it delegates to."""
        return Wei(self._ask(self.votes_token, "balanceOf", account))

    def delegate_of(self, account: Address) -> Address:
        """The account that votes for another; zero if nobody does."""
        return Address(self._ask(self.votes_token, "delegates", account))

    def supply(self) -> Wei:
        """All votes that there could be."""
        return Wei(self._ask(self.votes_token, "totalSupply"))

    def quorum(self, at_s: int) -> Wei:
        """The votes for and abstentions that a proposal needs whose voting began at a time that is over."""
        return Wei(self._ask("OpenGovernor", "quorum", at_s))

    # ---- proposals

    def state(self, proposal: int) -> ProposalState:
        """The state of a proposal."""
        return ProposalState(self._ask("OpenGovernor", "state", proposal))

    def tally(self, proposal: int) -> Tally:
        """The votes on a proposal."""
        row = self._ask("OpenGovernor", "proposalVotes", proposal)
        return Tally(
            against_wei=Wei(row["againstVotes"]), for_wei=Wei(row["forVotes"]), abstain_wei=Wei(row["abstainVotes"])
        )

    def deadline_s(self, proposal: int) -> int:
        """The last second of a vote, with its extension."""
        seconds: int = self._ask("OpenGovernor", "proposalDeadline", proposal)
        return seconds

    def eta_s(self, proposal: int) -> int:
        """The time from which a queued proposal can be executed; 0 before it is queued."""
        seconds: int = self._ask("OpenGovernor", "proposalEta", proposal)
        return seconds

    def has_voted(self, proposal: int, account: Address) -> bool:
        """True if an account's vote on a proposal is counted."""
        return bool(self._ask("OpenGovernor", "hasVoted", proposal, account))

    # ---- the guardian

    def guardian(self) -> Guardian:
        """The guardian and its stop of new deposits."""
        account = Address(self._ask("PaymentChannels", "guardian"))
        return Guardian(account=account, stopped_until_s=self._deployment.stopped_until_s())

    # ---- calls of the timelock, which a proposal consists of

    def set_params(self, params: Params) -> ContractCall:
        """Queue new values."""
        return self._call("Params", "set", params)

    def slash(self, slash: Slash) -> ContractCall:
        """Burn a part of a node's stake."""
        return self._call("NodeStaking", "slash", slash.node, slash.amount_wei, slash.evidence)

    def resume_deposits(self) -> ContractCall:
        """End the guardian's stop of new deposits."""
        return self._call("PaymentChannels", "resumeDeposits")

    def transfer(self, to: Address, amount_wei: Wei) -> ContractCall:
        """Send tokens of the treasury."""
        return self._call("OpenToken", "transfer", to, amount_wei)

    # ---- calls

    def propose(self, calls: Sequence[ContractCall], description: str) -> ContractCall:
        """Propose calls of the timelock."""
        return self._call("OpenGovernor", "propose", *_parts(calls), description)

    def cast_vote(self, proposal: int, support: Support, reason: str) -> ContractCall:
        """Vote once and for all."""
        if not reason:
            return self._call("OpenGovernor", "castVote", proposal, int(support))
        return self._call("OpenGovernor", "castVoteWithReason", proposal, int(support), reason)

    def delegate(self, to: Address) -> ContractCall:
        """Let an account vote with the sender's tokens, from the next proposal on."""
        return self._call(self.votes_token, "delegate", to)

    def queue(self, content: ProposedContent) -> ContractCall:
        """Begin the wait of a proposal that was carried."""
        return self._call("OpenGovernor", "queue", *_parts(content.calls), _hash(content))

    def execute(self, content: ProposedContent) -> ContractCall:
        """Carry out a proposal that waited long enough."""
        return self._call("OpenGovernor", "execute", *_parts(content.calls), _hash(content))

    def cancel(self, content: ProposedContent) -> ContractCall:
        """Take back a proposal; only its proposer, before voting begins."""
        return self._call("OpenGovernor", "cancel", *_parts(content.calls), _hash(content))

    def wrap(self, account: Address, amount_wei: Wei) -> ContractCall:
        """Turn OPEN into votes."""
        return self._call(WRAPPED_VOTES, "depositFor", account, amount_wei)

    def unwrap(self, account: Address, amount_wei: Wei) -> ContractCall:
        """Turn votes back into OPEN."""
        return self._call(WRAPPED_VOTES, "withdrawTo", account, amount_wei)


def content_of(event: Event) -> ProposedContent:
    """A proposal from its `ProposalCreated`."""
    given: Any = event.arguments
    calls = zip(given["targets"], given["values"], given["calldatas"], strict=True)
    return ProposedContent(
        id=given["proposalId"],
        proposer=Address(given["proposer"]),
        calls=tuple(
            ContractCall(to=Address(to), data=bytes.fromhex(data[2:]), value_wei=Wei(value))
            for to, value, data in calls
        ),
        description=given["description"],
        snapshot_s=given["voteStart"],
        deadline_s=given["voteEnd"],
        block=event.block.number,
    )


def queued_of(event: Event) -> QueuedParams:
    """Values from their `ParamsQueued`."""
    given: Any = event.arguments
    return QueuedParams(from_epoch=given["fromEpoch"], params=params_of(given["values"]))


def history_of(events: Sequence[Event]) -> list[QueuedParams]:
    """The values that were ever queued, ascending by epoch; a later row of the same epoch replaces the earlier."""
    rows: list[QueuedParams] = []
    for each in map(queued_of, events):
        if rows and rows[-1].from_epoch == each.from_epoch:
            rows.pop()
        rows.append(each)
    return rows


def _parts(calls: Sequence[ContractCall]) -> tuple[list[Address], list[int], list[bytes]]:
    return [call.to for call in calls], [call.value_wei for call in calls], [call.data for call in calls]


def _hash(content: ProposedContent) -> Digest:
    return keccak_digest(bytes_of_text(content.description))
