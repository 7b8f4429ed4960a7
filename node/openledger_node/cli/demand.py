"""`demand`: the calls that this node did not serve, what would have won them, and its standing in the market."""

from typing import Annotated, Any, Final

import typer

from ..errors import NetworkError
from ..text import counted
from .daemon_client import ask_daemon, open_node_home
from .render import emit_json, say, show_lines, show_table
from .units import local_time

CAUSES: Final = {
    "base": "not served",
    "lacking": "not here",
    "unsold": "not for sale",
    "context": "too long",
    "full": "queue full",
    "dear": "too dear",
    "lost": "bid lost",
}
NO_PEERS: Final = (
    "this node is on no network of others, so nobody else can ask it for anything: "
    "`openledger-node network join FILE` joins one"
)
NOTHING: Final[dict[str, Any]] = {"adapters": [], "wanted": [], "missed": [], "standing": None}
COLUMNS: Final = ("model", "calls", "callers", "since", "why", "largest", "would have won", "change it")


def add_commands(app: typer.Typer) -> None:
    """Add `demand` to the root command."""
    app.command(rich_help_panel="Money")(demand)


def demand(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the calls of the last 24 hours that this node did not serve, and the command that would change that.

    Calls are the words of other nodes. Only calls of nodes that have a bond, or that have paid here, lead to a
    command. The counts begin anew when the node starts.
    """
    status = ask_daemon(open_node_home(), "GET", "/status")
    if status is None:
        raise NetworkError("no node is running here: start one with `openledger-node start`")
    found = status["demand"]
    if as_json:
        emit_json("demand", found or NOTHING)
    elif found is None:
        say(NO_PEERS)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    proven = [each for each in found["missed"] if each["is_proven"]]
    rows = [[*_cells(each), each["cli"] or "–"] for each in proven]
    show_table(COLUMNS, rows, empty="no call of a node that has a bond or has paid here went unserved in 24 hours")
    if others := [each for each in found["missed"] if not each["is_proven"]]:
        say("\nasked for by nodes without a bond or a payment, or unknown to the chain; it may be made up:")
        show_table(COLUMNS[:-1], [_cells(each) for each in others], empty="")
    if found["wanted"]:
        say("\nasked for on this machine and offered by nobody:")
        wanted = [[each["model"], str(each["requests"])] for each in found["wanted"]]
        show_table(["model", "requests"], wanted, empty="")
    say("")
    show_lines(standing_lines(found["standing"]))


def _cells(each: dict[str, Any]) -> list[str]:
    return [
        each["model"],
        f"{each['calls']:,}",
        f"{each['callers']:,}",
        local_time(each["since"]),
        CAUSES[each["cause"]],
        f"{each['tokens_in']:,} + {each['tokens_out']:,}",
        each["wins"],
    ]


def standing_lines(standing: dict[str, Any]) -> dict[str, str]:
    """This node's standing in the market as labelled lines."""
    lines = {}
    if standing["rank"] is not None:
        tied = f", shared with {counted(standing['tied'], 'other')}" if standing["tied"] else ""
        lines["price"] = f"place {standing['rank']} of {standing['offers']} for {standing['model']}{tied}"
    after = standing["proven_after"]
    if standing["buyers"]:
        bought = f"{counted(standing['answers'], 'answer')} for {counted(standing['buyers'], 'buyer')}"
        lines["proven"] = f"with {standing['proven_buyers']} of them, after {bought}"
    else:
        lines["proven"] = "with no buyer yet"
    lines["proven"] += f"; a buyer counts a node a quarter dearer until it has measured {after} of its answers"
    share = standing["newcomer_call_one_in"]
    lines["newcomers"] = (
        f"1 call in {share} tries out the node with the fewest answers, if its price is in the cheaper half"
    )
    return lines
