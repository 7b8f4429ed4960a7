"""`pause` and `resume`."""

import time
from datetime import datetime
from typing import Annotated, Any

import typer

from ..errors import InputError
from ..home import Home
from ..operator.kept_pause import Pause, forget_pause, keep_pause
from .daemon_client import ask_daemon, open_node_home
from .render import emit_json, plain, say
from .units import local_time, seconds_of, seconds_until

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
WHY = "this node is paused by its owner: run `openledger-node resume` to continue"


def add_commands(app: typer.Typer) -> None:
    """Add both commands to the root command."""
    for command in (pause, resume):
        app.command(rich_help_panel="Node")(command)


def pause(
    for_: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="Resume by itself after this time: 30s, 10m, 2h."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="HH:MM", help="Resume by itself at this time of day, such as 18:00.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Cut off running answers at once.")] = False,
    drain: Annotated[bool, typer.Option("--drain", help="Let running answers finish first.")] = False,
    as_json: Json = False,
) -> None:
    """Stop taking requests and making bids, and free the engine's memory. The node stays paused after a restart.

    Running answers get half a second to finish. Then they are cut off, and other nodes continue those that were sold.
    With --drain they may finish for as long as the setting `node.drain_grace_s` allows.
    """
    if now and drain:
        raise InputError("--now cuts running answers off, and --drain lets them finish: give one of them")
    if for_ and until:
        raise InputError("--for and --until both say when the node resumes: give one of them")
    duration_s = _duration_s(for_, until)
    home = open_node_home()
    order = {"for_s": duration_s, "now": now, "drain": drain}
    answer = ask_daemon(home, "POST", "/pause", order) or _pause_stopped(home, duration_s)
    if as_json:
        emit_json("pause", answer)
        return
    ends = answer["paused"]["until"]
    how_long = f"until {local_time(ends)}, then it resumes by itself" if ends else "until you resume it"
    say(f"paused {how_long}; to take requests again now: `openledger-node resume`")


def resume(as_json: Json = False) -> None:
    """Take requests again, whatever the reason for the pause."""
    home = open_node_home()
    answer = ask_daemon(home, "POST", "/resume", {})
    if answer is None:
        forget_pause(home)
        answer = {"state": "stopped", "paused": None}
    if as_json:
        emit_json("pause", answer)
        return
    say(plain(answer["paused"]["why"]) if answer["paused"] else f"resumed: {answer['state']}")


def _pause_stopped(home: Home, duration_s: float | None) -> dict[str, Any]:
    """Store the pause, so that the next start is paused."""
    now_s = time.time()
    until_s = None if duration_s is None else now_s + duration_s
    asked = Pause(by="owner", why=WHY, since_s=now_s, until_s=until_s)
    keep_pause(home, asked)
    return {"state": "stopped", "paused": asked.to_plain()}


def _duration_s(for_: str | None, until: str | None) -> float | None:
    if for_ is not None:
        return seconds_of(for_)
    return None if until is None else seconds_until(until, datetime.now())
