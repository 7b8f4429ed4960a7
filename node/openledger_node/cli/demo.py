"""`demo`: the whole economy on this machine in one run."""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from textwrap import wrap
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from openledger_protocol.constants import DEMO_BASE_NAME, PPM

from ..demo.run import DemoOrder, DemoResult, run_demo
from ..demo.telling import AskedQuestion, Teacher
from ..errors import InputError
from ..models.bases import is_here
from ..models.download import pull_base
from ..text import shown
from .daemon_client import open_node_home
from .progress import StageReport
from .render import emit_json, err_console, out_console, plain, say
from .units import DECIMALS

ENDING: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGHUP)
SIGNALLED = 128

WIDTH: Final = 80
LABEL_WIDTH: Final = 10
INDENT: Final = 3
COIN_WEI: Final = 10**DECIMALS
ANSWER_LENGTH_MAX: Final = 150
PPM_PER_PERCENT: Final = PPM // 100
SENTENCE_ENDS: Final = (".", "!", "?")
REFRESH_PER_S: Final = 4
TREASURY_TERMS: Final = ("treasuries", "protocol", "late_fees", "draw_fees", "in_claims")


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


class DemoView:
    """Prints the story; on a terminal, a spinner shows the step that is under way."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._spinner = Progress(
            SpinnerColumn(),
            TextColumn("{task.description} …"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            refresh_per_second=REFRESH_PER_S,
            disable=not console.is_terminal,
        )
        self._task = self._spinner.add_task("", total=None)
        self._is_asking = False

    def __enter__(self) -> "DemoView":
        """Show the spinner."""
        self._spinner.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the spinner."""
        self.stop()

    def stop(self) -> None:
        """Remove the spinner."""
        self._spinner.stop()

    def doing(self, line: str) -> None:
        """Show what is under way, `label text`."""
        label, _, text = line.partition(" ")
        self._spinner.reset(self._task, description=f"{label:<{LABEL_WIDTH}}{plain(text.strip())}")

    def say(self, line: str) -> None:
        """Print a step that is complete, `label text`."""
        if self._is_asking:
            self.console.print()
        self._is_asking = False
        label, _, text = line.partition(" ")
        self._print(label, text.strip(), width=LABEL_WIDTH)

    def tell(self, asked: AskedQuestion) -> None:
        """Print a question, both answers, and who taught the adapter's."""
        self._is_asking = True
        self.console.print()
        self._print(str(asked.number), asked.question, width=INDENT, style="bold")
        self._print("base", _shortened(asked.base_text), indent=INDENT)
        self._print(asked.model, _shortened(asked.text), indent=INDENT, style="bold")
        people = ", ".join(_taught(asked.teachers))
        self._print("", f"taught by {people}", indent=INDENT)
        self._print("", f"R pays {asked.seller} {asked.amount_wei / COIN_WEI:.6f} OPEN", indent=INDENT, style="dim")

    def show(self, result: DemoResult) -> None:
        """Print where R's money went."""
        self.console.print()
        rows = list(payees(result))
        total_wei = sum(wei for _, wei in rows)
        for who, wei in rows:
            self.console.print(f"{who:<44}{_exact(wei):>24} {wei * 100 / (total_wei or 1):7.1f} %")
        self.console.print("─" * WIDTH)
        for who, wei in {"sum": total_wei, "paid by R": paid_wei(result)}.items():
            self.console.print(f"{who:<44}{_exact(wei):>24}")

    def show_pages(self, result: DemoResult) -> None:
        """Print the links to the nodes' pages, and how to end the demo."""
        self.console.print()
        self.console.print("The three nodes are up until you press Ctrl-C. Each link works once:")
        for name, url in result.pages.items():
            self.console.print(f"  {name}  {plain(url)}")

    def _print(
        self, label: str, text: str, *, width: int = LABEL_WIDTH, indent: int = 0, style: str = "none"
    ) -> None:
        lines = wrap(shown(text), WIDTH - indent - width) or [""]
        for place, line in enumerate(lines):
            head = f"{' ' * indent}{label if place == 0 else '':<{width}}"
            self.console.print(f"[dim]{_plain_spaces(head)}[/][{style}]{plain(line)}[/]")


def payees(result: DemoResult) -> Iterator[tuple[str, int]]:
    """List who got how much of R's money, in wei."""
    terms: Mapping[str, Any] = result.report.terms
    yield "A and B, for computing the answers", terms["nodes"]
    yield "A, as the owner of both adapters", terms["adapter_owners"]
    yield "A, as the owner of both Datanets", terms["datanet_owners"]
    for account, wei in sorted(terms["contributors"].items(), key=lambda each: -each[1]):
        yield f"{result.names.get(account, account)}, for the rows", wei
    yield "the network's treasury", sum(terms[name] for name in TREASURY_TERMS)


def paid_wei(result: DemoResult) -> int:
    """The amount that R paid in and has not got back."""
    terms: Mapping[str, Any] = result.report.terms
    return int(terms["paid_in"] - terms["refunded"] - terms["payer_withdrawn"] - terms["in_channels"])


def _exact(wei: int) -> str:
    """An amount with all its decimals, so that the points stand below each other."""
    return f"{wei // COIN_WEI}.{wei % COIN_WEI:0{DECIMALS}d} OPEN"


def _taught(teachers: tuple[Teacher, ...]) -> list[str]:
    """The contributors with at least a percent by name, and the rest together."""
    named = [f"{each.name} {each.ppm // PPM_PER_PERCENT} %" for each in teachers if each.ppm >= PPM_PER_PERCENT]
    return named if len(named) == len(teachers) else [*named, "others under 1 %"]


def _shortened(text: str) -> str:
    """A text on one line; one that goes on ends in an ellipsis."""
    line = " ".join(shown(text).split())
    if len(line) > ANSWER_LENGTH_MAX:
        line = line[:ANSWER_LENGTH_MAX].rpartition(" ")[0]
    return line if line.endswith(SENTENCE_ENDS) else f"{line}…"


def _plain_spaces(text: str) -> str:
    """Escape markup, and keep the spaces, which `plain` would join."""
    return text.replace("[", r"\[")
