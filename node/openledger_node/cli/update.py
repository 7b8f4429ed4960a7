"""`update`: look for a new release, install it beside the running one, switch to it, and go back."""

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .. import __version__
from ..config import UpdateConfig
from ..errors import ConfigError, InputError, NodeError
from ..home import Home, is_claimed
from ..operator.updates.releases import (
    InstalledRelease,
    ReleaseChoice,
    fall_back,
    order_restart,
    read_choice,
    ready_within_s,
    take_restart,
    why_no_way_back,
)
from .daemon_client import SilentError, ask_daemon, load_settings, open_node_home
from .prompts import confirm
from .render import emit_json, plain, say, show_lines

if TYPE_CHECKING:
    from ..operator.updates.offer import ReleaseOffer

POLL_S: Final = 1.0
IDLE_WITHIN_S: Final = 3_600.0


def add_commands(app: typer.Typer) -> None:
    """Add `update` to the root command."""
    app.command(rich_help_panel="Node")(update)


def update(
    check: Annotated[bool, typer.Option("--check", help="Only say whether there is a newer release.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Return to the release before the update.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Switch without waiting until the node is idle.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Install the newest release beside this one, and switch the node to it when it is idle.

    The manifest of the release is signed, and each file is checked. The former release stays: if the new one is not
    ready in time, the node returns to it by itself, and with --rollback it does at any time.
    """
    if check and (rollback or now or yes):
        raise InputError("--check changes nothing: give it without --rollback, --now and --yes")
    home = open_node_home()
    if rollback:
        found = _roll_back(home, yes=yes, waits=not now)
    elif check:
        offer = _offer(home, load_settings(home).update)
        found = {"stage": "found", **offer.to_plain(), "is_running": is_claimed(home)}
    else:
        found = _update(home, load_settings(home).update, yes=yes, waits=not now)
    if as_json:
        emit_json("update", found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    if found["stage"] == "found":
        show_lines({"installed": found["installed"], "newest": found["newest"], "notes": plain(found["notes"])})
        if found["is_newer"]:
            say("to install it: `openledger-node update`")
        else:
            say("this is the newest release")
    elif found["stage"] == "installed":
        say(f"version {found['newest']} is installed; `openledger-node start` runs it")
    elif found["stage"] == "running":
        say(f"the node runs version {found['newest']}; to return: `openledger-node update --rollback`")
    else:
        say(f"version {found['newest']} is chosen again" + ("" if found["is_running"] else "; start the node"))


def _offer(home: Home, config: UpdateConfig) -> "ReleaseOffer":
    import trio

    from ..operator.updates.offer import find_offer

    return trio.run(find_offer, home, config)


def _update(home: Home, config: UpdateConfig, *, yes: bool, waits: bool) -> dict[str, Any]:
    """Install the newest release and switch to it.

    Raises:
        ConfigError: this installation can't update itself, or the node runs from another one.
        NodeError: the release can't be installed, or did not get ready.
    """
    from ..operator.updates.environment import why_not_here
    from ..operator.updates.offer import install_offer

    if why := why_not_here():
        raise ConfigError(why)
    offer = _offer(home, config)
    found = {"stage": "found", **offer.to_plain(), "is_running": is_claimed(home)}
    if not offer.is_newer:
        return found
    if not offer.can_update:
        raise ConfigError(
            f"version {offer.version} can't be reached from {__version__}, only from {offer.manifest.minimum}: "
            "install it by hand as the page on installing says"
        )
    say(f"version {offer.version}: {plain(offer.manifest.notes)}")
    if offer.was_left:
        say("[yellow]warning[/] the node has left this version before")
    confirm(f"Install version {offer.version} and switch to it?", yes=yes)
    new = install_offer(home, offer, say, partial(_agree, yes=yes))
    is_running = is_claimed(home)
    if is_running:
        is_running = _restart(home, waits=waits)
    if is_running:
        _await_ready(home, new, within_s=ready_within_s(home, config))
    return {**found, "stage": "running" if is_running else "installed", "is_running": is_running}


def _agree(new: InstalledRelease, running: InstalledRelease, *, yes: bool) -> None:
    """Ask before a switch that has no way back."""
    if new.ledger > running.ledger:
        say(
            "[yellow]warning[/] the new release changes the ledger, so you can't roll back once it has started: "
            "make a backup first, with `openledger-node backup FILE`"
        )
        confirm("Switch to it?", yes=yes)


def _roll_back(home: Home, *, yes: bool, waits: bool) -> dict[str, Any]:
    """Return to the former release.

    Raises:
        ConfigError: there is none, or it can't read the ledger.
    """
    choice = read_choice(home)
    if choice is None or choice.former is None:
        raise ConfigError("there is no former release to return to")
    if why := why_no_way_back(home, choice.former):
        raise ConfigError(f"a rollback is not possible: {why}")
    confirm(f"Return from version {choice.current.version} to {choice.former.version}?", yes=yes)
    returned = fall_back(home, "its owner has rolled it back", now_s=time.time())
    if returned is None:
        raise ConfigError("a rollback is no longer possible: the ledger has changed meanwhile")
    is_running = is_claimed(home)
    if is_running:
        is_running = _restart(home, waits=waits)
    return {
        "stage": "rolled_back",
        "installed": choice.current.version,
        "newest": returned.current.version,
        "is_running": is_running,
    }


def _restart(home: Home, *, waits: bool) -> bool:
    """Have the running daemon finish its answers and start again, once it is idle; False if it ended by itself.

    Raises:
        NodeError: it does not take the order, which is then withdrawn.
    """
    if waits:
        say("waiting until the node is idle; Ctrl-C leaves the switch to its next start")
    if not _await_daemon(home, waits=waits):
        return False
    order_restart(home)
    say("the node finishes its answers, and starts again")
    try:
        ask_daemon(home, "POST", "/stop")
    except NodeError:
        take_restart(home)
        raise
    return True


def _await_daemon(home: Home, *, waits: bool) -> bool:
    """Wait until the daemon answers and, if `waits`, is idle; return False if there is none any more.

    Raises:
        NodeError: it was busy for too long.
    """
    deadline_s = time.monotonic() + IDLE_WITHIN_S
    while time.monotonic() < deadline_s:
        try:
            status = ask_daemon(home, "GET", "/status")
        except SilentError:  # it is starting
            time.sleep(POLL_S)
            continue
        if status is None:
            return False
        if not waits or not (sum(status["requests"].values()) or status["state"] == "training"):
            return True
        time.sleep(POLL_S)
    raise NodeError(
        f"the node was not idle for {IDLE_WITHIN_S / 60:.0f} minutes: it switches at its next start, by "
        "`openledger-node stop` and `openledger-node start`"
    )


def _await_ready(home: Home, new: InstalledRelease, *, within_s: float) -> None:
    """Wait until the new release is ready.

    Raises:
        NodeError: the node has returned to the former one, or nothing has happened in time.
    """
    deadline_s = time.monotonic() + 2 * within_s
    while time.monotonic() < deadline_s:
        choice: ReleaseChoice | None = read_choice(home)
        if choice and choice.current.program != new.program:
            why = f", because {choice.fallen_back.why}" if choice.fallen_back else ""
            raise NodeError(f"the node has returned to version {choice.current.version}{why}")
        if choice and choice.tries is None:
            return
        time.sleep(POLL_S)
    if is_claimed(home):
        raise NodeError(
            "the node runs from another installation, which this update does not change: stop it with "
            f"`openledger-node stop`, and start it with `{new.program} start`"
        )
    raise NodeError("the node has not started again: run `openledger-node logs`, and start it by hand")
