"""`start`, `stop` and `version`."""

import logging
import platform
import sys
from logging.handlers import RotatingFileHandler
from typing import Annotated

import trio
import typer

from openledger_protocol.constants import DEMO_BASE_NAME

from .. import __version__
from ..config import Config
from ..engine.base_fit import PLANNED_BACKENDS
from ..errors import ModelError, NodeError, explain_disk
from ..home import Home
from ..machine import look_at_machine
from ..models.bases import FAKE_BASE_NAME, is_here, is_new_file
from ..models.download import pull_base
from ..operator.access import SOURCES
from ..text import SafeFormatter
from .daemon_client import ask_daemon, load_settings, open_node_home
from .render import StageReport, emit_json, out_console, plain, say, shown

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
PANEL = "Node"
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
LOG_BYTES_MAX = 5 << 20

told = logging.getLogger("openledger_node.told")


def add_commands(app: typer.Typer) -> None:
    """Add `start`, `stop` and `version` to the root command."""
    for command in (start, stop, version):
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
) -> None:
    """Run the node in the foreground until Ctrl-C; running answers finish first.

    Without any configuration it serves the demo model, which it downloads on the first start.
    """
    home = open_node_home()
    if backend == "fake" and base is None:
        base = FAKE_BASE_NAME  # the only base that this backend has
    config = load_settings(home, inference_base=base, inference_backend=backend, inference_dtype=dtype, api_port=port)
    keep_log(home)
    say(f"[bold]openledger-node[/] {__version__}   home {plain(str(home.root))}")
    check_device(config)
    _bring_base(home, config)
    run_daemon_to_its_end(home, config, hello=hello)
    say("stopped; every answer is recorded")


def keep_log(home: Home) -> None:
    """Log warnings to the terminal, and also what the node does to logs/node.log, which only its owner may read."""
    try:
        home.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = home.logs / SOURCES["node"]
        path.touch(mode=0o600)
        path.chmod(0o600)  # an earlier release let others read it
        file = NodeLog(path, maxBytes=LOG_BYTES_MAX, backupCount=1, encoding="utf-8")
    except OSError as error:
        raise explain_disk(error, home.root) from error
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.WARNING)
    for handler in (screen, file):
        handler.setFormatter(SafeFormatter(LOG_FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[screen, file], force=True)
    logging.getLogger(__package__.partition(".")[0]).setLevel(logging.INFO)


class NodeLog(RotatingFileHandler):
    """The log's file. A line that the disk has no room for is lost without a word: the terminal has the warnings."""

    def handleError(self, record: logging.LogRecord) -> None:  # the name in logging
        """Report an error, unless it is one of the disk."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def run_daemon_to_its_end(home: Home, config: Config, *, hello: bool) -> None:
    """Run the daemon until it ends. If one of its tasks fails, raise that failure, not the group around it."""
    from ..daemon import (
        Listening,
        OperatorOutput,
        run_daemon,
    )  # imported here because the web framework takes half a second
    from .greeting import greet

    def announce(listening: Listening) -> None:
        greet(listening, hello=hello)

    def tell(line: str) -> None:
        say(plain(line))
        told.info("%s", shown(line.strip()))

    output = OperatorOutput(announce=announce, tell=tell)
    try:
        trio.run(run_daemon, home, config, output)
    except BaseExceptionGroup as group:
        failures = list(_leaves(group))
        known = [failure for failure in failures if isinstance(failure, NodeError)]
        if len(known) == len(failures):
            raise known[0] from group
        raise


def stop(as_json: Json = False) -> None:
    """Stop the running node; running answers finish first."""
    answer = ask_daemon(open_node_home(), "POST", "/stop")
    if as_json:
        emit_json("stop", answer or {"state": "stopped"})
        return
    say("no node is running here" if answer is None else "stopping; running answers finish first")


def version(as_json: Json = False) -> None:
    """Show the version."""
    if as_json:
        emit_json("version", {"version": __version__, "python": platform.python_version()})
        return
    out_console.print(__version__)


def check_device(config: Config) -> None:
    """Require the card that the settings name, before anything is downloaded for it.

    Raises:
        ModelError: there is none that the engine can use.
    """
    inference = config.inference
    if not config.node.serve or inference.device != "cuda" or inference.backend not in PLANNED_BACKENDS:
        return
    machine = look_at_machine()
    if machine.usable_card and machine.usable_card.vendor != "apple":
        return
    trouble = machine.trouble
    why = f"{trouble.found}: {trouble.fix}" if trouble else "no NVIDIA or AMD card is here"
    raise ModelError(f'[inference] device is "cuda", and {why}; with device = "auto" the node takes what there is')


def _bring_base(home: Home, config: Config) -> None:
    """Download the demo base, or read a GGUF file, on the first start; the operator pulls any other base."""
    name = config.inference.base
    if name == DEMO_BASE_NAME and not is_here(home, name):
        say("downloading the demo base, 93 MB, this once")
    elif not is_new_file(home, name):
        return
    with StageReport() as report:
        pull_base(home, name, source=None, report=report)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for failure in group.exceptions:
        leaves += _leaves(failure) if isinstance(failure, BaseExceptionGroup) else [failure]
    return leaves
