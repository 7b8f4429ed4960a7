"""`start` and `stop`."""

import faulthandler
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import trio
import typer

from openledger_protocol.constants import DEMO_BASE_NAME

from .. import __version__
from ..chain.dev.launch import BegunDevnet
from ..config import Config
from ..engine.child import OUTPUT as ENGINE_OUTPUT
from ..engine.child import StartChild, start_child
from ..engine.early_child import early_child
from ..engine.load_steps import LoadStep
from ..errors import NodeError
from ..home import Holder, Home, claim_home, find_holder, note_doing
from ..line_limit import LineLimit
from ..models.bases import FAKE_BASE_NAME
from ..models.download import pull_base
from ..models.fetch import Progress, Report
from ..models.known_bases import DEMO_DOWNLOAD_BYTES
from ..node_clock import BootClock
from ..node_events import LOGGER as EVENTS
from ..node_events import EventKind, note_event
from ..operator.alerts.run_mark import note_stopped
from ..service_manager import ServiceManager
from ..settlement.early_chain import early_chain
from ..text import SafeFormatter
from .daemon_client import ask_daemon, load_settings, open_node_home
from .progress import StageReport
from .render import emit_json, megabytes, plain, say, shown
from .start_checks import check_start, check_writable, is_bringing

if TYPE_CHECKING:
    from ..daemon import Listening

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
PANEL = "Node"
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"

POLL_S = 0.05
USUAL_END_S, MOST_END_S = 5.0, 60.0
"""A node without work ends within the first; one that takes longer says why, and again after the second."""

LAST_WORDS_S = 5.0
"""Time for a daemon to write its last line after it has released its data directory."""

told = logging.getLogger("openledger_node.told")


def add_commands(app: typer.Typer) -> None:
    """Add `start` and `stop` to the root command."""
    for command in (start, stop):
        app.command(rich_help_panel=PANEL)(command)


def start(
    base: Annotated[str | None, typer.Option(help="Base model to serve.", show_default=False)] = None,
    backend: Annotated[str | None, typer.Option(help="Backend that runs the model.", show_default=False)] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Number format: auto, float32, bfloat16 or float16.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the API; 0 takes any free port.", show_default=False)
    ] = None,
    hello: Annotated[bool, typer.Option(help="Send the model a first question once it is ready.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only warnings and errors.")] = False,
) -> None:
    """Run the node in the foreground until Ctrl-C; running answers finish first.

    Without any configuration it serves the demo model, which it downloads on the first start. Port, disk and memory
    are checked before that.
    """
    began_s, environment = time.monotonic(), dict(os.environ)
    home = open_node_home()
    if backend == "fake" and base is None:
        base = FAKE_BASE_NAME  # the only base that this backend has
    config = load_settings(home, inference_base=base, inference_backend=backend, inference_dtype=dtype, api_port=port)
    tell = (lambda _: None) if quiet else say
    tell(f"[bold]openledger-node[/] {__version__}   home {plain(str(home.root))}")
    check_writable(home)
    log_to_stderr()
    manager = ServiceManager.find()
    if manager.is_here:
        faulthandler.enable()  # on the watchdog's signal it prints where the program hangs
    with (
        claim_home(home) as lock,
        StageReport(is_quiet=quiet, note=partial(note_step, lock, manager)) as report,
    ):
        check_start(home, config)
        if is_bringing(home, config):
            bring_base(home, config, report, tell)
        report(Progress(what="starting the node", done=0, total=1))
        screen = StartScreen(home, report, lock, manager, began_s=began_s, is_quiet=quiet, hello=hello)
        port_to_start_on = run_daemon_to_its_end(home, config, screen)
        note_stopped(home)
    if port_to_start_on is not None:
        sys.stdout.flush()
        words = words_to_start_again(sys.argv[1:], port_to_start_on)
        os.execve(sys.executable, [sys.executable, "-m", "openledger_node", *words], environment)
    tell("stopped; every answer is recorded")


def words_to_start_again(words: Sequence[str], port: int) -> list[str]:
    """The words of this command without its base, which node.toml names now, and with the port that clients know."""
    kept, skips = [], False
    for word in words:
        if not skips and word.partition("=")[0] not in ("--base", "--port"):
            kept.append(word)
        skips = not skips and word in ("--base", "--port")  # its value is the next word
    return [*kept, "--port", str(port)]


def note_step(lock: IO[str], manager: ServiceManager, step: str) -> None:
    """Tell a step of the start to `status` and to the service manager.

    Later loads, after a crash of the engine or for another base, are told by the node itself. Nothing would take
    these words back, and a node that serves would be said to load its base for ever.
    """
    if manager.is_ready:
        return
    note_doing(lock, step)
    manager.load(step)


def log_to_stderr() -> None:
    """Log to stderr: warnings, and also what the node does unless stderr is a terminal, which has the greeting."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter(LOG_FORMAT))
    handler.addFilter(LineLimit(exempt=(EVENTS, told.name, ENGINE_OUTPUT)))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    if not sys.stderr.isatty():
        logging.getLogger(__package__.partition(".")[0]).setLevel(logging.INFO)


def bring_base(home: Home, config: Config, report: Report, tell: Callable[[str], None]) -> None:
    """Download the demo base, or read a GGUF file, on the first start; the operator pulls any other base."""
    if config.inference.base == DEMO_BASE_NAME:
        tell(f"  the demo base is downloaded this once, {megabytes(DEMO_DOWNLOAD_BYTES)}")
    pull_base(home, config.inference.base, source=None, report=report)


class StartScreen:
    """The terminal of a daemon: its progress until it listens, then its greeting and its lines."""

    def __init__(
        self,
        home: Home,
        report: StageReport,
        lock: IO[str],
        manager: ServiceManager,
        *,
        began_s: float,
        is_quiet: bool,
        hello: bool,
    ) -> None:
        self._home = home
        self._report = report
        self._lock = lock
        self.manager = manager
        self._began_s = began_s  # before a download of the base
        self._is_quiet = is_quiet
        self._hello = hello

    def show(self, step: LoadStep) -> None:
        """Show a step of loading the base."""
        self._report.load_step(step)

    def announce(self, listening: "Listening") -> None:
        """Greet, and have the model say hello."""
        from .greeting import greet

        self._report.end()
        note_doing(self._lock, "")
        self.manager.be_ready(f"serving at {listening.url}")
        note_event(EventKind.STARTED, f"{__version__} serves {listening.base.name} at {listening.url}")
        if not self._is_quiet:
            greet(listening, began_s=self._began_s, hello=self._hello)

    def tell(self, line: str) -> None:
        """Print one line, or log it."""
        if self._is_quiet:
            told.info("%s", shown(line.strip()))
        else:
            say(plain(line))


def run_daemon_to_its_end(home: Home, config: Config, screen: StartScreen) -> int | None:
    """Run the daemon until it ends. If one of its tasks fails, raise that failure, not the group around it.

    Returns:
        As `run_daemon`.
    """
    try:
        return trio.run(_run_both, home, config, screen, clock=BootClock())
    except BaseExceptionGroup as group:
        failures = list(_leaves(group))
        if any(isinstance(failure, KeyboardInterrupt) for failure in failures):
            raise KeyboardInterrupt from None
        known = [failure for failure in failures if isinstance(failure, NodeError)]
        if len(known) == len(failures):
            raise known[0] from group
        raise


async def _run_both(home: Home, config: Config, screen: StartScreen) -> int | None:
    """Start the processes of the engine and of the own chain, and then load and run the daemon."""
    async with trio.open_nursery() as nursery, _early_engine(home, config) as start_engine:
        with early_chain(home, config) as begun_chain:
            nursery.start_soon(screen.manager.give_signs_of_life)
            port_to_start_on = await _run_daemon(home, config, screen, start_engine, begun_chain)
            nursery.cancel_scope.cancel()
    return port_to_start_on


async def _run_daemon(
    home: Home, config: Config, screen: StartScreen, start_engine: StartChild, begun_chain: BegunDevnet | None
) -> int | None:
    gc.disable()  # what is loaded stays, so looking for garbage in it would take a tenth of the start
    from ..daemon import OperatorOutput, run_daemon  # takes seconds, in which the other processes load too

    gc.freeze()
    gc.enable()

    output = OperatorOutput(announce=screen.announce, show=screen.show, tell=screen.tell)
    return await run_daemon(home, config, output, start_engine, begun_chain)


def _early_engine(home: Home, config: Config) -> AbstractAsyncContextManager[StartChild]:
    inference = config.inference
    backend = "torch_lora" if inference.backend == "auto" else inference.backend
    if not config.node.serve or inference.base == FAKE_BASE_NAME or backend != "torch_lora":
        return nullcontext(start_child)  # the other backends have little to load
    return early_child(backend=backend, wait_policy=inference.wait_policy, threads=inference.threads)


def stop(
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once; the node ends by itself.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the running node and wait until it has ended. Running answers finish first."""
    home = open_node_home()
    holder = find_holder(home)
    answer = ask_daemon(home, "POST", "/stop")
    if answer is None or holder is None:
        answer = {"state": "stopped"}
        text = "no node is running here"
    elif no_wait:
        text = "stopping; running answers finish first"
    else:
        if not as_json:
            say("stopping; running answers finish first")
        _wait_for_end(home, holder, tell=(lambda _: None) if as_json else say)
        answer, text = {"state": "stopped"}, f"stopped{_of_service(home)}"
    if as_json:
        emit_json("stop", answer)
    else:
        say(text)


def _of_service(home: Home) -> str:
    """Say that an installed service stays, and how to start it; empty without one."""
    from ..operator.background import service_of

    service = service_of(home)
    if not service.file.exists():
        return ""
    return (
        "; its service stays installed, and starts when you log in or the machine boots. "
        f"`{' '.join(service.start)}` starts it now, and `openledger-node service remove` removes it"
    )


def _wait_for_end(home: Home, holder: Holder, tell: Callable[[str], None]) -> None:
    """Return when the daemon has released the data directory and its process is gone; say why that takes long."""
    told_at_s = time.monotonic() + USUAL_END_S
    while (now := find_holder(home)) and now.process == holder.process:
        if time.monotonic() > told_at_s:
            told_at_s += MOST_END_S
            tell(plain(_what_it_waits_for(home)))
        time.sleep(POLL_S)
    deadline_s = time.monotonic() + LAST_WORDS_S
    while holder.process and _is_alive(holder.process) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)


def _what_it_waits_for(home: Home) -> str:
    try:
        status = ask_daemon(home, "GET", "/status", timeout_s=1.0, up_within_s=0.0)
    except NodeError:
        status = None
    rest = "Ctrl-C ends this command only; the node ends by itself"
    if status and (running := sum(status["requests"].values())):
        return f"{running} answers still run, and get up to [node] drain_grace_s seconds; {rest}"
    return f"the node signs its last receipts and waits for the chain's answers; {rest}"


def _is_alive(process_id: int) -> bool:
    """Return True if a process runs; one that has ended and was not waited for by its parent does not."""
    try:
        os.kill(process_id, 0)
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2][:1] != "Z"
    except ProcessLookupError:
        return False
    except OSError:  # of another user, or a system without /proc
        return True


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for failure in group.exceptions:
        leaves += _leaves(failure) if isinstance(failure, BaseExceptionGroup) else [failure]
    return leaves
