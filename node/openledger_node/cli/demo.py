"""`demo`: the whole economy on this machine in one run."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from openledger_protocol.constants import DEMO_BASE_NAME

from ..demo.run import DemoOrder, run_demo
from ..errors import InputError
from ..models.bases import is_here
from ..models.download import pull_base
from .daemon_client import open_node_home
from .demo_view import DemoView
from .progress import StageReport
from .render import emit_json, err_console, out_console, say

ENDING: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGHUP)
SIGNALLED = 128


def add_commands(app: typer.Typer) -> None:
    """Add `demo` to the root command."""
    app.command(rich_help_panel="Node")(demo)


def demo(
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="Train both adapters first, which takes minutes. By default those of the package are published.",
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(help="With --train: seed for the names and values of the Datanets.", min=0, show_default=False),
    ] = None,
    end: Annotated[
        bool, typer.Option("--end", help="End at the end of the story; by default only where there is no terminal.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and end.")] = False,
) -> None:
    """Run the whole economy on this machine: three nodes that find each other, and one chain.

    The demo publishes two Datanets and an adapter for each, moves one adapter from peer to peer, asks questions and
    pays for them, and audits the chain. On a terminal its nodes then stay up until Ctrl-C. It keeps nothing.
    """
    if seed is not None and not train:
        raise InputError("--seed needs --train: the adapters of the package know one sample each")
    home = open_node_home()
    if not is_here(home, DEMO_BASE_NAME):
        with StageReport() as report:
            pull_base(home, DEMO_BASE_NAME, source=None, report=report)
    with _ended_by_signals(), DemoView(err_console if as_json else out_console) as view:
        order = DemoOrder(owner=home, seed=seed, trains=train, say=view.say, doing=view.doing, tell=view.tell)
        with run_demo(order) as shown:
            view.stop()
            if as_json:
                emit_json("demo", shown.to_json(DEMO_BASE_NAME))
                return
            view.show(shown)
            if sys.stdout.isatty() and not end:
                view.show_pages(shown)
                _wait()


def _wait() -> None:
    """Wait for Ctrl-C."""
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        say("ending the nodes; nothing of them is kept")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end this process in order, so that it ends its own processes."""

    def end(number: int, _: object) -> NoReturn:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)  # a second one must not interrupt the end
        sys.exit(SIGNALLED + number)

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a script's background job; children would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = [signal.signal(each, end) for each in ENDING]
    try:
        yield
    finally:
        for each, handler in zip(ENDING, before, strict=True):
            signal.signal(each, handler)
