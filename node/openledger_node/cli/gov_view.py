"""Values, proposals and votes as `gov` prints them."""

from collections.abc import Mapping
from typing import Any

from ..text import duration_text
from .render import out_console, plain, say, show_lines, show_table
from .transactions import in_s
from .units import open_amount

Found = Mapping[str, Any]

STYLES = {"active": "bold", "succeeded": "green", "queued": "green", "executed": "green", "defeated": "dim"}


def show_params(found: Found) -> None:
    """Show the values, and the times that no vote can change."""
    now_s = found["chain_time_s"]
    rows = [[each["key"], each["text"], _queued(each), each["bounds"], each["meaning"]] for each in found["values"]]
    show_table(["value", "now", "next", "bounds", "meaning"], rows, empty="")
    out_console.print("\n[dim]no vote can change[/]")
    show_table(
        ["time", "", "meaning"],
        [[each["name"], duration_text(each["seconds"]), each["meaning"]] for each in found["fixed"]],
        empty="",
    )
    out_console.print()
    show_lines(
        {
            "epoch": f"{found['epoch']:,}, which ends {in_s(found['epoch_ends_s'], now_s)}",
            "steps": _steps(found["values"]),
            "vote": _vote_rules(found["voting"]),
            "guardian": _guardian(found["guardian"], now_s),
        }
    )


def show_proposals(found: Found, *, is_all: bool) -> None:
    """Show a table of proposals."""
    now_s = found["chain_time_s"]
    rows = [
        [
            str(each["number"]),
            each["state"],
            each["title"],
            f"{open_amount(each['for_wei'], '')}/ {open_amount(each['against_wei'], '')}/ "
            f"{open_amount(each['abstain_wei'], '')}",
            _when(each, now_s),
            f"{each['own']['support'] or ''}",
        ]
        for each in found["proposals"]
    ]
    empty = (
        "no proposal yet" if is_all else "no proposal is open: `openledger-node gov list --all` shows those before"
    )
    show_table(["", "state", "what", "for / against / abstain", "when", "your vote"], rows, empty=empty)


def show_proposal(found: Found) -> None:
    """Show one proposal; its text is a stranger's."""
    now_s, own = found["chain_time_s"], found["own"]
    style = STYLES.get(found["state"], "yellow")
    out_console.print(f"[bold]proposal {found['number']}[/]  [{style}]{found['state']}[/]  [dim]{found['id']}[/]")
    for action in found["actions"]:
        _show_action(action)
    if (num_more := found["num_calls"] - len(found["actions"])) > 0:
        out_console.print(f"  [bold yellow]and {num_more:,} more calls, which are not shown[/]")
    if not found["is_understood"]:
        say(
            "[bold yellow]careful[/] this node can't say in words what all of these calls do: vote against a "
            "proposal that you don't understand"
        )
    for line in found["description"].splitlines():
        out_console.print(f"  [dim]│[/] {plain(line)}")
    if found["is_description_cut"]:
        out_console.print("  [dim]│ … the text goes on[/]")
    show_lines(
        {
            "by": found["proposer"],
            "votes": f"{open_amount(found['for_wei'])} for, {open_amount(found['against_wei'])} against, "
            f"{open_amount(found['abstain_wei'])} abstain",
            "quorum": _quorum(found),
            "when": _when(found, now_s),
            "you": f"{open_amount(own['weight_wei'])} of votes count, "
            + (f"cast {own['support']}" if own["support"] else "not cast"),
        }
    )
    for voter in found["voters"]:
        reason = f"  {plain(voter['reason'])}" if voter["reason"] else ""
        out_console.print(
            f"  [dim]{voter['support']:<8}[/] {open_amount(voter['weight_wei'])} {voter['voter']}{reason}"
        )
    if found["num_voters"] > len(found["voters"]):
        out_console.print(f"  [dim]and {found['num_voters'] - len(found['voters']):,} voters with fewer votes[/]")
    if found["next"]:
        say(f"next: `openledger-node {found['next']}`")


def show_votes(found: Found) -> None:
    """Show an account's votes."""
    delegate = found["delegate"]
    if delegate is None:
        who = "nobody yet: `openledger-node gov delegate self`"
    else:
        who = "this account itself" if delegate == found["account"] else delegate
    show_lines(
        {
            "account": found["account"],
            "votes": open_amount(found["votes_wei"]),
            "holds": f"{open_amount(found['held_wei'])}, cast by {who}",
            "staked": f"{open_amount(found['staked_wei'])}, which has no vote",
            "vote": _vote_rules(found),
        }
    )


def _show_action(action: Found) -> None:
    for line in action["changes"] or [action["text"]]:
        out_console.print(f"  [bold]{plain(line)}[/]")
    if not action["is_known"]:
        out_console.print(f"  [dim]to {action['target']}, {plain(action['data'])}[/]")


def _queued(value: Found) -> str:
    return ", ".join(f"{each['text']} from epoch {each['from_epoch']:,}" for each in value["queued"])


def _steps(values: list[Found]) -> str:
    waiting = [
        f"{each['key']} from epoch {each['moves_from_epoch']:,}" for each in values if each["moves_from_epoch"]
    ]
    rule = "a share moves by at most a quarter, a minimum at most doubles or halves, 14 epochs apart"
    return f"{rule}; again: {', '.join(waiting)}" if waiting else rule


def _vote_rules(voting: Found) -> str:
    return (
        f"{open_amount(voting['threshold_wei'])} to propose, a quorum of {open_amount(voting['quorum_wei'])}; begins "
        f"after {duration_text(voting['delay_s'])}, lasts {duration_text(voting['period_s'])}, then waits "
        f"{duration_text(voting['timelock_s'])}"
    )


def _guardian(guardian: Found, now_s: int) -> str:
    who = f"{guardian['account']}{' (this node)' if guardian['is_own'] else ''}"
    if guardian["stopped_until_s"]:
        return f"{who} has stopped new deposits, which ends {in_s(guardian['stopped_until_s'], now_s)}"
    if guardian["can_stop"]:
        return f"{who} can stop new deposits once, for at most 30 days"
    return f"{who} has used its only stop of new deposits"


def _when(found: Found, now_s: int) -> str:
    match found["state"]:
        case "pending":
            return f"voting begins {in_s(found['votes_from_s'], now_s)}"
        case "active":
            extended = ", after a late quorum" if found["is_extended"] else ""
            return f"voting ends {in_s(found['votes_until_s'], now_s)}{extended}"
        case "queued":
            return f"can be executed {in_s(found['execute_from_s'], now_s)}"
        case "succeeded":
            return "was carried; anybody can queue it"
        case state:
            return str(state)


def _quorum(found: Found) -> str:
    if found["quorum_wei"] is None:
        return "fixed when voting begins"
    reached = int(found["for_wei"]) + int(found["abstain_wei"])
    return f"{open_amount(reached)} of {open_amount(found['quorum_wei'])}, for and abstain"
