"""The release that a command runs in: the hand-over to the chosen environment, and the trial of a new one."""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from ..errors import NodeError
from ..home import CommandRunningError, Home, find_holder, home_folder
from ..node_events import EventKind, note_event
from ..operator.alerts.run_mark import mark_left
from ..operator.updates.releases import (
    PROGRAM,
    ReleaseChoice,
    begin_try,
    end_try,
    fall_back,
    read_choice,
    ready_within_s,
    releases_folder,
    take_restart,
)
from ..upkeep_tables import UpdateConfig
from .commands import first_word

HANDED_OVER: Final = "_OPENLEDGER_HANDED_OVER"
"""A variable of this process alone: it was started by a hand-over, and does not hand over again."""

NOTIFY_SOCKET: Final = "NOTIFY_SOCKET"
LAUNCHD_LABEL: Final = "XPC_SERVICE_NAME"

RESTART_STATUS: Final = 75
"""The exit code of a node that wants to be started again: a temporary failure, as sysexits.h has it."""

LOOK_EVERY_S: Final = 2.0
READY_STATES: Final = ("idle", "serving", "training", "paused")
ENGINE_NOT_READY: Final = ("failed", "starting", "restarting")


def hand_over(words: Sequence[str]) -> None:
    """Replace this process with the same command of the chosen release, if it is another one.

    Raises:
        ConfigError: the file with the choice is damaged.
    """
    was_handed_over = os.environ.pop(HANDED_OVER, None)
    home = _home_of(words)
    if was_handed_over or home is None or not releases_folder(home).exists():
        return
    if first_word(words) == "update" and "--rollback" in words:
        return  # the way back must not depend on the release that is left
    if (choice := _choice_here(home)) is None:
        return
    if first_word(words) == "start" and not {"-h", "--help"} & set(words) and not find_holder(home):
        choice = _begin_try(home, choice)
    if choice.current.folder != Path(sys.prefix) and Path(choice.current.program).exists():
        _replace_process(choice.current.program, **{HANDED_OVER: "1"})


def _begin_try(home: Home, before: ReleaseChoice) -> ReleaseChoice:
    choice = begin_try(home, before, now_s=time.time())
    if choice.fallen_back and choice.current != before.current:
        from .node import keep_log  # loads what only a start needs

        with suppress(NodeError, OSError):  # a full disk stops no start
            keep_log(home)
        _note_left(home, before.current.version, choice.fallen_back.why)
    return choice


def _note_left(home: Home, version: str, why: str) -> None:
    note_event(EventKind.ROLLED_BACK, f"version {version} is left, because {why}")
    mark_left(home)


def run_start(words: Sequence[str], run: Callable[[Sequence[str]], int]) -> int:
    """Run `start`, watch over a release on trial, and start again if an update has ordered it.

    Raises:
        NodeError: the node can't start.
    """
    home, ends = _home_of(words), ends_by_exit()
    try:
        return _run_free(words, run, home, ends=ends)
    except CommandRunningError as error:
        if ends:
            error.exit_code = RESTART_STATUS  # the command ends soon, so the service manager must try again
        raise


def _run_free(words: Sequence[str], run: Callable[[Sequence[str]], int], home: Home | None, *, ends: bool) -> int:
    if home is None or find_holder(home):
        return run(words)  # which says what is wrong, and is no try of a release
    take_restart(home)  # an order from before this start is carried out by it
    choice = _choice_here(home)
    if choice and choice.tries is not None and choice.current.folder == Path(sys.prefix):
        status = _run_on_trial(Trial(home, choice, ends=ends), words, run)
    else:
        status = run(words)
    if take_restart(home):
        start_again(_choice_here(home), ends=ends)
    return status


def ends_by_exit() -> bool:
    """Return True under a service manager, which starts the program again if it exits with `RESTART_STATUS`.

    Call it before the node takes the manager's variables.
    """
    return NOTIFY_SOCKET in os.environ or PROGRAM in os.environ.get(LAUNCHD_LABEL, "")


def status_for_manager(words: Sequence[str], status: int) -> int:
    """The exit code of a command as its service manager understands it.

    launchd starts an agent again after each code but 0. So a start that needs its owner first ends with 0 there, as
    systemd is told by RestartPreventExitStatus.
    """
    label = os.environ.get(LAUNCHD_LABEL, "")
    if PROGRAM not in label or first_word(words) != "start":
        return status
    from ..operator.background.definition import FINAL_STATUS
    from ..operator.background.launchd import Launchd

    if status not in FINAL_STATUS:
        return status
    _say(f"launchd does not start the node again before you do, by `{Launchd().start_command(label)}`", who="service")
    return 0


def start_again(choice: ReleaseChoice | None, *, ends: bool) -> NoReturn:
    """Start the same command line anew, by this process or by its service manager. It may be called in any thread.

    A program that goes by no choice, such as a checkout, starts itself, so an update of another installation ends no
    node.
    """
    if ends:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(RESTART_STATUS)
    _replace_process(choice.first.program if choice else str(Path(sys.prefix) / "bin" / PROGRAM))


def _run_on_trial(trial: "Trial", words: Sequence[str], run: Callable[[Sequence[str]], int]) -> int:
    trial.start()
    try:
        status = run(words)
    except KeyboardInterrupt:
        trial.end()
        raise
    except Exception as error:
        trial.end()
        if not trial.was_ready:
            trial.leave(f"it could not start: {error}" if isinstance(error, NodeError) else "it failed at its start")
        raise
    trial.end()
    return status


class Trial(threading.Thread):
    """Waits until a new release accepts requests, and returns to the former one if that takes too long."""

    def __init__(
        self,
        home: Home,
        choice: ReleaseChoice,
        *,
        ends: bool,
        is_ready: Callable[[Home], bool] | None = None,
        start_again: Callable[..., object] = start_again,
    ) -> None:
        super().__init__(name="update-trial", daemon=True)
        self._home = home
        self._choice = choice
        self._ends = ends
        self._is_ready = is_ready or is_node_ready
        self._start_again = start_again
        self._ended = threading.Event()
        self._is_over = False  # the file says how the trial has ended
        self.was_ready = False

    def run(self) -> None:
        """Look every few seconds."""
        within_s = self._ready_within_s()
        deadline_s = time.monotonic() + within_s
        while not self._ended.wait(LOOK_EVERY_S):
            if self.was_ready or self._is_ready(self._home):
                self.was_ready = True
                if self._end_try():  # else again, as the disk may have room then
                    note_event(EventKind.UPDATED, f"version {self._choice.current.version} is ready")
                    return
            elif time.monotonic() >= deadline_s:
                self.leave(f"it was not ready within {within_s:.0f} s")
                return

    def end(self) -> None:
        """Stop looking. A release that its owner stopped before it was ready may try again."""
        self._ended.set()
        self.join()
        if not self._is_over:
            self._end_try()

    def _end_try(self) -> bool:
        """Write how the trial has ended; return False if the disk does not take it."""
        with suppress(NodeError, OSError):
            end_try(self._home, was_ready=self.was_ready)
            self._is_over = True
        return self._is_over

    def leave(self, why: str) -> None:
        """Return to the former release by replacing this process; without a way back, go on."""
        returned, why_not = None, "there is no way back"
        try:
            returned = fall_back(self._home, why, now_s=time.time())
        except NodeError as error:
            why_not = str(error)
        _say(
            f"version {self._choice.current.version} is left, because {why}"
            + ("" if returned else f"; but a rollback is not possible, so it stays: {why_not}")
        )
        if returned:
            _note_left(self._home, self._choice.current.version, why)
            self._start_again(returned, ends=self._ends)

    def _ready_within_s(self) -> float:
        from .daemon_client import load_settings

        try:
            return ready_within_s(self._home, load_settings(self._home).update)
        except NodeError:
            return ready_within_s(self._home, UpdateConfig())


def is_node_ready(home: Home) -> bool:
    """Return True if the node accepts requests, and its engine is loaded, paused or unloaded."""
    from .daemon_client import ask_daemon

    try:
        status = ask_daemon(home, "GET", "/status", timeout_s=2.0, up_within_s=0.0)
    except NodeError:
        return False
    return bool(status) and status["state"] in READY_STATES and status["engine"]["state"] not in ENGINE_NOT_READY


def _choice_here(home: Home) -> ReleaseChoice | None:
    """The choice of a release, if this program goes by it."""
    choice = read_choice(home)
    return choice if choice and _obeys(home, choice) else None


def _obeys(home: Home, choice: ReleaseChoice) -> bool:
    """Return True for the program that was installed first, and for those of updates.

    A checkout of the source and another installation run as they are, and so does a first program that its owner has
    brought to a later version than the chosen one.
    """
    own = Path(sys.prefix)
    if own.parent == releases_folder(home):
        return True
    if own != choice.first.folder:
        return False
    from packaging.version import Version

    from .. import __version__

    return Version(__version__) <= Version(choice.current.version) or choice.current.folder == own


def _home_of(words: Sequence[str]) -> Home | None:
    """The data directory of a line; None if the line names none, which its command reports."""
    override, rest = None, list(words)
    while rest and rest[0].startswith("--home"):
        value = rest[0].partition("=")[2] or (rest[1] if len(rest) > 1 else "")
        if not value:
            return None
        override, rest = Path(value), rest[1:] if "=" in rest[0] else rest[2:]
    return Home(home_folder(override))


def _replace_process(program: str, **variables: str) -> NoReturn:
    """Run the same command line with another program, in this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(program, [program, *sys.argv[1:]], {**os.environ, **variables})


def _say(text: str, *, who: str = "update") -> None:
    from .render import plain, say

    say(f"[yellow]{who}[/] {plain(text)}")
