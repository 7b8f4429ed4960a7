"""Actions of voters; each is one transaction."""

from dataclasses import dataclass

from openledger_protocol.chain import ContractCall
from openledger_protocol.governance import Support
from openledger_protocol.primitives import Address, Wei

from ..chain.deployment import Deployment
from ..chain.governance import Governance, ProposedContent
from ..chain.refusals import open_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeCalls:
    """Put calls of the timelock to the vote."""

    calls: tuple[ContractCall, ...]
    description: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CastVote:
    """Vote on a proposal with all votes that the account had when voting began."""

    proposal: int
    number: int
    support: Support
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegateVotes:
    """Let an account vote with the tokens of the acting one."""

    to: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueProposal:
    """Begin the wait of a proposal that was carried."""

    content: ProposedContent
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteProposal:
    """Carry out a proposal that waited long enough."""

    content: ProposedContent
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelProposal:
    """Take back a proposal of one's own before its voting begins."""

    content: ProposedContent
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapVotes:
    """Turn OPEN of a token without votes into votes."""

    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class UnwrapVotes:
    """Turn wrapped votes back into OPEN."""

    amount_wei: Wei


VoteAction = (
    ProposeCalls
    | CastVote
    | DelegateVotes
    | QueueProposal
    | ExecuteProposal
    | CancelProposal
    | WrapVotes
    | UnwrapVotes
)

PROPOSE_KIND = "gov propose"

VOTED = {Support.AGAINST: "vote against", Support.FOR: "vote for", Support.ABSTAIN: "abstain on"}


def vote_call(action: VoteAction, account: Address, deployment: Deployment) -> tuple[str, str, ContractCall]:
    """The kind, the summary and the call of an action's transaction."""
    governance = Governance(deployment)
    match action:
        case ProposeCalls(calls=calls, description=description, title=title):
            return PROPOSE_KIND, f"propose: {title}", governance.propose(calls, description)
        case CastVote(proposal=proposal, number=number, support=support, reason=reason):
            said = f"{VOTED[support]} proposal {number}"
            return "gov vote", said, governance.cast_vote(proposal, support, reason)
        case DelegateVotes(to=to):
            said = "vote with one's own tokens" if to == account else f"let {to} vote with one's own tokens"
            return "gov delegate", said, governance.delegate(to)
        case QueueProposal(content=content, number=number):
            return "gov queue", f"queue proposal {number}", governance.queue(content)
        case ExecuteProposal(content=content, number=number):
            return "gov execute", f"execute proposal {number}", governance.execute(content)
        case CancelProposal(content=content, number=number):
            return "gov cancel", f"cancel proposal {number}", governance.cancel(content)
        case WrapVotes(amount_wei=amount):
            return "gov wrap", f"turn {open_text(amount)} into votes", governance.wrap(account, amount)
        case UnwrapVotes(amount_wei=amount):
            return "gov unwrap", f"turn votes back into {open_text(amount)}", governance.unwrap(account, amount)
