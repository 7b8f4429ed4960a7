"""The plan of a proposal: what it changes, its course, and why it would fail, before anybody pays for it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.epoch import Params
from openledger_protocol.governance import (
    PARAM_SPECS,
    SHARES,
    STEP_EPOCHS,
    ParamSpec,
    Timeline,
    changed_params,
    find_param,
    is_within,
    moves_from,
    step_of,
    timeline_of,
    value_of,
)
from openledger_protocol.primitives import Address, check_address, check_digest, wei_from_text

from ..chain.contract_values import Slash
from ..chain.param_words import bound_text, param_text, range_text, typed_param
from ..chain.refusals import open_text, time_text
from ..chain.vote_words import describe_calls, proposed_slash, title_of
from ..errors import NodeError
from ..home import Home
from ..settlement.session import NetworkSession
from ..settlement.vote_actions import PROPOSE_KIND, ProposeCalls
from ..text import duration_text, rfc3339
from .proposals import Proposals, open_values, under_way
from .publishing import Publication

REASON_BYTES_MAX: Final = 4_000

Arguments = Mapping[str, Any]


def propose(_: Home, session: NetworkSession, account: Address, arguments: Arguments) -> Publication:
    """Plan a proposal of values, a slash, the end of a stop of deposits, and payments of the treasury.

    Raises:
        NodeError: it would fail, is in conflict with an open proposal, or the account has too few votes.
    """
    proposals = Proposals(session)
    _check_not_under_way(session, account)
    timeline = _timeline(proposals)
    values = _wanted_params(proposals, arguments.get("values") or {})
    calls: list[ContractCall] = []
    if values is not None:
        _check_values(proposals, values, timeline)
        if not arguments.get("is_anyway"):
            _check_no_conflict(proposals)
        calls.append(proposals.governance.set_params(values))
    slash = _wanted_slash(arguments.get("slash") or {})
    if slash is not None:
        _check_slash(proposals, slash, timeline)
        calls.append(proposals.governance.slash(slash))
    if arguments.get("is_resume"):
        calls.append(_resume(proposals, timeline))
    if arguments.get("spend_wei"):
        calls += _spend(proposals, arguments)
    if not calls:
        raise NodeError(
            "a proposal needs something to do: give KEY=VALUE, or `slash NODE AMOUNT --evidence FILE`, or `resume`, "
            "or --spend with --to"
        )
    _check_votes(proposals, account)
    actions = describe_calls(tuple(calls), session.deployment.addresses, proposals.newest)
    title = title_of(actions, len(calls))
    action = ProposeCalls(calls=tuple(calls), description=_description(arguments, account, proposals), title=title)
    lines = [line for each in actions for line in (each.changes or (each.text,))]
    return Publication(
        actions=(action,),
        details=(*lines, *_course(proposals, account, timeline, has_values=values is not None, slash=slash)),
    )


# ---- The values


def _wanted_params(proposals: Proposals, typed: Mapping[str, str]) -> Params | None:
    """All values as they would be; those that were not typed stay as they were queued last."""
    if not typed:
        return None
    changes = typed_changes(typed)
    wanted = replace(proposals.newest, **changes)  # type: ignore[arg-type]  # Wei is int at run time
    if not changed_params(proposals.newest, wanted):
        raise NodeError("these values hold or are queued already: `openledger-node gov params` shows them")
    return wanted


def typed_changes(typed: Mapping[str, str]) -> dict[str, int]:
    """Typed values by their field of `Params`.

    Raises:
        NodeError: there is no such value.
        MalformedError: it can't be read.
    """
    changes: dict[str, int] = {}
    for name, text in typed.items():
        spec = find_param(name)
        if spec is None:
            keys = [each.key for each in PARAM_SPECS]
            close = get_close_matches(name, keys, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(keys)}"
            raise NodeError(f"votes can't change {name[:40]!r}: {hint}")
        changes[spec.field] = typed_param(spec, str(text))
    return changes


def _check_values(proposals: Proposals, wanted: Params, timeline: Timeline) -> None:
    bounds, before = proposals.governance.bounds(), proposals.newest
    for spec in changed_params(before, wanted):
        value = value_of(wanted, spec)
        if not is_within(spec, value, bounds):
            among = "one of" if bounds.of(spec) is None else "from"
            raise NodeError(
                f"{spec.key} can't be {param_text(spec, value)}: it must be {among} {bound_text(spec, bounds)}, and "
                "no vote can change that"
            )
        _check_step(proposals, spec, value, timeline)


def _check_step(proposals: Proposals, spec: ParamSpec, value: int, timeline: Timeline) -> None:
    old, bounds = value_of(proposals.newest, spec), proposals.governance.bounds()
    if (step := step_of(spec, old, bounds)) is None:
        return
    if not step[0] <= value <= step[1]:
        raise NodeError(
            f"{spec.key} can't move from {param_text(spec, old)} to {param_text(spec, value)} at once: "
            f"one vote can set it from {range_text(spec, step)}, and the next one {STEP_EPOCHS} epochs later"
        )
    if timeline.active_epoch < (earliest := moves_from(spec, proposals.history)):
        wait_s = (earliest - timeline.active_epoch) * proposals.session.windows.epoch_s
        changed = "the shares" if spec.field in SHARES else spec.key
        raise NodeError(
            f"{changed} changed less than {STEP_EPOCHS} epochs before epoch {timeline.active_epoch:,}, in which "
            f"this would be active at the earliest: propose it after {time_text(proposals.now_s + wait_s)}"
        )


def _check_no_conflict(proposals: Proposals) -> None:
    """A proposal sets all values at once, so of two that are open the later one undoes the earlier."""
    if others := open_values(proposals.open(), proposals.session.deployment.addresses):
        other = others[0]
        raise NodeError(
            f"proposal {other.number} sets the values, too, and is {other.state.name.lower()}. Each proposal sets "
            "all of them, so the one that is executed last would undo the other. Wait until "
            f"`openledger-node gov show {other.number}` says that it is over, or add --anyway and name its values too"
        )


# ---- A slash, the end of a stop, and payments


def _wanted_slash(typed: Mapping[str, Any]) -> Slash | None:
    if not typed:
        return None
    amount = wei_from_text(typed["amount_wei"])
    return Slash(node=check_address(typed["node"]), amount_wei=amount, evidence=check_digest(typed["evidence"]))


def _check_slash(proposals: Proposals, slash: Slash, timeline: Timeline) -> None:
    deployment, windows = proposals.session.deployment, proposals.session.windows
    stake, most = deployment.stake(slash.node), proposals.newest.min_stake_wei
    if not 0 < slash.amount_wei <= most:
        raise NodeError(
            f"a slash takes up to the minimum stake, {open_text(most)}, and this is {open_text(slash.amount_wei)}: "
            "name an amount within that"
        )
    if not stake.bonded_wei + stake.unbonding_wei:
        raise NodeError(f"{slash.node} has no stake: there is nothing to burn")
    last_s = deployment.slashed_at_s(slash.node)
    if last_s and timeline.execute_at_s < last_s + windows.slash_gap_s:
        raise NodeError(
            f"{slash.node} was slashed at {time_text(last_s)}, and a vote that begins now is carried out at "
            f"{time_text(timeline.execute_at_s)}, less than {duration_text(windows.slash_gap_s)} later: propose it "
            "later"
        )
    for other in proposals.open():
        slashes = [proposed_slash(call, deployment.addresses) for call in other.content.calls]
        if any(found and found.node == slash.node for found in slashes):
            raise NodeError(
                f"proposal {other.number} would slash this node already: `openledger-node gov show {other.number}`"
            )


def _resume(proposals: Proposals, timeline: Timeline) -> ContractCall:
    until_s = proposals.governance.guardian().stopped_until_s
    if until_s <= proposals.now_s:
        raise NodeError("the guardian has not stopped new deposits, so there is nothing to end")
    if until_s <= timeline.execute_at_s:
        raise NodeError(
            f"the stop of new deposits ends by itself at {time_text(until_s)}, before a vote that begins now could "
            f"be carried out at {time_text(timeline.execute_at_s)}: wait for that"
        )
    return proposals.governance.resume_deposits()


def _spend(proposals: Proposals, arguments: Arguments) -> list[ContractCall]:
    """Pay tokens of the treasury; anybody brings in what claims have credited to it."""
    if not arguments.get("to"):
        raise NodeError("who gets it? Give the account by --to")
    to, amount = check_address(arguments["to"]), wei_from_text(arguments["spend_wei"])
    governance, deployment = proposals.governance, proposals.session.deployment
    tokens = deployment.token_balance(governance.timelock)
    if not 0 < amount <= tokens:
        credited = deployment.rewards_balance(governance.timelock)
        more = f", or bring in {open_text(credited)} by `openledger-node rewards withdraw {governance.timelock}`"
        raise NodeError(
            f"the treasury has {open_text(tokens)}, and this is {open_text(amount)}: spend less"
            f"{more if credited else ''}"
        )
    return [governance.transfer(to, amount)]


# ---- Votes, words and times


def _check_not_under_way(session: NetworkSession, account: Address) -> None:
    for sent in under_way(session, account):
        if sent.intent.kind == PROPOSE_KIND:
            raise NodeError(
                f"a proposal of this account is on its way ({sent.intent.summary}): "
                "`openledger-node wallet history` shows how far it is"
            )


def _check_votes(proposals: Proposals, account: Address) -> None:
    governance, needed = proposals.governance, proposals.voting.threshold_wei
    if governance.votes_at(account, proposals.now_s - 1) >= needed:
        return
    if (votes := governance.votes(account)) >= needed:
        raise NodeError(f"the votes of {account} are as new as the latest block: run this again in a few seconds")
    held = governance.held(account)
    raise NodeError(
        f"a proposal takes {open_text(needed)} of votes, and {account} has {open_text(votes)}: "
        f"{open_text(needed - votes)} are lacking. It holds {open_text(held)}, which "
        f"{'are' if governance.delegate_of(account) == account else 'become'} its votes by "
        "`openledger-node gov delegate self`; staked OPEN has no vote"
    )


def _description(arguments: Arguments, account: Address, proposals: Proposals) -> str:
    """The text of a proposal: its reason, the time, and its proposer.

    The same calls with the same text can't be proposed again, hence the time. The governor refuses the last part from
    any other account, so nobody can send a copy first and cancel it. To check that takes 13,000 gas.
    """
    reason = str(arguments.get("reason") or "")
    if len(reason.encode("utf-8", "surrogatepass")) > REASON_BYTES_MAX:
        raise NodeError(f"a reason has at most {REASON_BYTES_MAX:,} bytes: shorten it, and link to the rest")
    return f"{reason}\n\n{rfc3339(proposals.now_s)} #proposer={account}".lstrip()


def _timeline(proposals: Proposals) -> Timeline:
    voting = proposals.voting
    return timeline_of(
        proposals.now_s,
        delay_s=voting.delay_s,
        period_s=voting.period_s,
        timelock_s=voting.timelock_s,
        epoch_s=proposals.session.windows.epoch_s,
    )


def _course(
    proposals: Proposals, account: Address, timeline: Timeline, *, has_values: bool, slash: Slash | None
) -> Sequence[str]:
    governance = proposals.governance
    needed = "two thirds of all votes cast for it" if slash else "more votes for than against"
    lines = [
        f"voting begins at {time_text(timeline.votes_from_s)} and ends at {time_text(timeline.votes_until_s)}, or "
        f"up to {duration_text(governance.late_extension_s())} after the quorum was reached, if that is later",
        f"carried with {needed}, and {open_text(governance.quorum(proposals.now_s - 1))} for or "
        f"abstaining; {account} has {open_text(governance.votes(account))}",
        f"then `gov queue`, a wait of {duration_text(proposals.voting.timelock_s)}, and `gov execute` from "
        f"{time_text(timeline.execute_at_s)} on",
    ]
    if slash:
        lines.append(
            f"the proposal holds only the hash of the evidence, {slash.evidence}: publish the file, whose content is "
            "public then, and say where by --reason"
        )
    if has_values:
        lines.append(
            f"active from epoch {timeline.active_epoch:,} on, at {time_text(timeline.active_at_s)} at the earliest"
        )
    return lines
