"""Plans of voters: what each command would do, what counts, and why it is refused."""

from collections.abc import Mapping
from typing import Any, Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.governance import ProposalState, Support
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Wei, check_address, wei_from_text

from ..chain.refusals import open_text, time_text
from ..errors import NodeError
from ..home import Home
from ..settlement.session import NetworkSession
from ..settlement.vote_actions import (
    CancelProposal,
    CastVote,
    DelegateVotes,
    ExecuteProposal,
    QueueProposal,
    UnwrapVotes,
    VoteAction,
    WrapVotes,
    vote_call,
)
from .proposals import FoundProposal, Proposals, under_way
from .proposing import propose
from .publishing import Planner, Publication

REASON_BYTES_MAX: Final = 1_000
SELF: Final = "self"

Arguments = Mapping[str, Any]


def vote(_: Home, session: NetworkSession, account: Address, arguments: Arguments) -> Publication:
    """Plan a vote, and say how much it counts.

    Raises:
        NodeError: it is too early, too late, or not the first.
    """
    proposals = Proposals(session)
    found = proposals.find(str(arguments["proposal"]))
    support, reason = _support(arguments["support"]), str(arguments.get("reason") or "")
    if len(reason.encode("utf-8", "surrogatepass")) > REASON_BYTES_MAX:
        raise NodeError(
            f"a reason has at most {REASON_BYTES_MAX:,} bytes, since everybody pays to keep it: shorten it"
        )
    _check_votes_run(found, proposals)
    if proposals.governance.has_voted(found.content.id, account):
        raise NodeError(f"{account} has voted on proposal {found.number}, and a vote can't be changed")
    action = CastVote(proposal=found.content.id, number=found.number, support=support, reason=reason)
    weight = proposals.weight(found.content, account)
    return _publication(session, account, action, _weight_lines(proposals, found, account, weight))


def delegate(_: Home, session: NetworkSession, account: Address, arguments: Arguments) -> Publication:
    """Plan who votes with an account's tokens."""
    proposals = Proposals(session)
    governance = proposals.governance
    to = account if arguments["to"] == SELF else check_address(arguments["to"])
    held = governance.held(account)
    if governance.delegate_of(account) == to:
        return Publication(note=f"{_whose(to, account)} casts the votes of {account} already: {open_text(held)}")
    details = [
        f"{open_text(held)} of {account} become votes of {_whose(to, account)}, and so does what comes in later",
        "they count in votes that begin after this, and the account keeps its tokens",
        *_stake_lines(session, account),
    ]
    if running := [each.number for each in proposals.open() if each.state == ProposalState.ACTIVE]:
        details.append(f"they don't count in votes that run already: proposal {', '.join(map(str, running))}")
    return _publication(session, account, DelegateVotes(to=to), details)


def queue(_: Home, session: NetworkSession, account: Address, arguments: Arguments) -> Publication:
    """Plan to begin the wait of a proposal that was carried.

    Raises:
        NodeError: it was not carried, or not yet, or waits already.
    """
    proposals = Proposals(session)
    found = proposals.find(str(arguments["proposal"]))
    if found.state != ProposalState.SUCCEEDED:
        raise NodeError(f"proposal {found.number} can't be queued: {_why(found, proposals)}")
    ready_s = proposals.now_s + proposals.voting.timelock_s
    return _publication(
        session,
        account,
        QueueProposal(content=found.content, number=found.number),
        [f"`openledger-node gov execute {found.number}` can follow from about {time_text(ready_s)}"],
    )


def execute(_: Home, session: NetworkSession, account: Address, arguments: Arguments) -> Publication:
    """Plan to carry out a proposal that waited long enough.

    Raises:
        NodeError: it is not queued, or its wait is not over.
    """
    proposals = Proposals(session)
    found = proposals.find(str(arguments["proposal"]))
    if found.state != ProposalState.QUEUED or proposals.governance.eta_s(found.content.id) > proposals.now_s:
        raise NodeError(f"proposal {found.number} can't be executed: {_why(found, proposals)}")
    shown = proposals.to_plain(found, account)
    details = [line for action in shown["actions"] for line in (action["changes"] or [action["text"]])]
    return _publication(session, account, ExecuteProposal(content=found.content, number=found.number), details)


def cancel(_: Home, session: NetworkSession, account: Address, arguments: Arguments) -> Publication:
    """Plan to take back a proposal of one's own.

    Raises:
        NodeError: it is another's, or its voting has begun.
    """
    proposals = Proposals(session)
    found = proposals.find(str(arguments["proposal"]))
    if found.content.proposer != account:
        raise NodeError(f"only {found.content.proposer} can cancel proposal {found.number}: vote against it")
    if found.state != ProposalState.PENDING:
        raise NodeError(
            f"proposal {found.number} can be cancelled only before its voting begins: {_why(found, proposals)}"
        )
    return _publication(session, account, CancelProposal(content=found.content, number=found.number), [])


def wrap(_: Home, session: NetworkSession, account: Address, arguments: Arguments) -> Publication:
    """Plan to turn OPEN into votes, on a network whose token has none.

    Raises:
        NodeError: the token has votes by itself.
    """
    amount = _wrapped_amount(session, arguments)
    details = ("delegate them once: `openledger-node gov delegate self`",)
    return Publication(actions=(WrapVotes(amount_wei=amount),), details=details)


def unwrap(_: Home, session: NetworkSession, account: Address, arguments: Arguments) -> Publication:
    """Plan to turn votes back into OPEN.

    Raises:
        NodeError: the token has votes by itself, or the account has fewer votes.
    """
    amount = _wrapped_amount(session, arguments)
    if (held := Proposals(session).governance.held(account)) < amount:
        raise NodeError(f"{account} holds {open_text(held)} as votes, less than {open_text(amount)}: use less")
    return Publication(actions=(UnwrapVotes(amount_wei=amount),))


VOTING: Final[Mapping[str, Planner]] = {
    "gov propose": propose,
    "gov vote": vote,
    "gov delegate": delegate,
    "gov queue": queue,
    "gov execute": execute,
    "gov cancel": cancel,
    "gov wrap": wrap,
    "gov unwrap": unwrap,
}
"""The commands of voters."""


def _publication(session: NetworkSession, account: Address, action: VoteAction, details: list[str]) -> Publication:
    """One action, unless the same one is on its way: a second would cost gas and be refused."""
    _, summary, call = vote_call(action, account, session.deployment)
    if any(sent.intent.call == call for sent in under_way(session, account)):
        return Publication(note=f"this is on its way already: {summary}")
    return Publication(actions=(action,), details=tuple(details))


def _support(text: object) -> Support:
    names: dict[object, Support] = {each.name.lower(): each for each in Support}
    if text not in names:
        raise MalformedError(f"a vote is for, against or abstain, not {str(text)[:40]!r}")
    return names[text]


def _check_votes_run(found: FoundProposal, proposals: Proposals) -> None:
    if found.state != ProposalState.ACTIVE:
        raise NodeError(f"nobody can vote on proposal {found.number} now: {_why(found, proposals)}")


def _why(found: FoundProposal, proposals: Proposals) -> str:
    """The state of a proposal in words, with the time of the next one."""
    content, governance = found.content, proposals.governance
    match found.state:
        case ProposalState.PENDING:
            return f"voting begins after {time_text(content.snapshot_s)}"
        case ProposalState.ACTIVE:
            return f"voting ends after {time_text(governance.deadline_s(content.id))}"
        case ProposalState.SUCCEEDED:
            return f"it was carried and is not queued yet; run `openledger-node gov queue {found.number}`"
        case ProposalState.QUEUED if (eta_s := governance.eta_s(content.id)) > proposals.now_s:
            return f"the timelock holds it until {time_text(eta_s)}"
        case ProposalState.QUEUED:
            return f"it is queued; run `openledger-node gov execute {found.number}`"
        case ProposalState.DEFEATED:
            tally, quorum = governance.tally(content.id), governance.quorum(content.snapshot_s)
            return (
                f"it was not carried, with {open_text(tally.for_wei)} for, {open_text(tally.against_wei)} against, "
                f"and {open_text(tally.abstain_wei)} abstaining of a quorum of {open_text(quorum)}"
            )
        case state:
            return f"it is {state.name.lower()}"


def _weight_lines(proposals: Proposals, found: FoundProposal, account: Address, weight: Wei | int) -> list[str]:
    """The weight of a vote, and why there is none."""
    if weight:
        return [f"{open_text(weight)} of votes count: those that {account} had when voting began"]
    governance, begun = proposals.governance, time_text(found.content.snapshot_s)
    who = governance.delegate_of(account)
    if who == ZERO_ADDRESS:
        why = (
            f"its {open_text(governance.held(account))} were not delegated when voting began ({begun}); "
            "`openledger-node gov delegate self` makes them count in later votes"
        )
    elif who == account:
        why = (
            f"it delegated its tokens, or got them, only after voting had begun ({begun}); they count in later votes"
        )
    else:
        why = f"{who} casts them"
    return [
        f"this vote counts nothing: {account} has no votes here, because {why}",
        *_stake_lines(proposals.session, account),
    ]


def _stake_lines(session: NetworkSession, account: Address) -> list[str]:
    bonded = session.deployment.stake(account).bonded_wei
    return [f"staked OPEN has no vote: {open_text(bonded)} of {account}"] if bonded else []


def _whose(who: Address, account: Address) -> str:
    return "this account itself" if who == account else who


def _wrapped_amount(session: NetworkSession, arguments: Arguments) -> Wei:
    if not Proposals(session).governance.is_wrapped:
        raise NodeError(
            "the token of this network has votes by itself, so nothing is wrapped: run `openledger-node gov delegate`"
        )
    return wei_from_text(arguments["amount_wei"])
