"""`demo`: the whole economy on this machine, in one run."""

from typing import Annotated

import typer

from openledger_protocol.constants import DEMO_BASE_NAME

from ..demo.run import DemoResult, run_demo
from ..models.bases import is_here
from ..models.download import pull_base
from .daemon_client import open_node_home
from .render import StageReport, emit_json, plain, say, show_lines
from .transactions import open_amount


def add_commands(app: typer.Typer) -> None:
    """Hang `demo` on the root."""
    app.command(rich_help_panel="Node")(demo)


def demo(
    seed: Annotated[int, typer.Option(help="Draws the names and values of the sample Datanets.", min=0)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Show the whole economy in one run: three nodes that do not know each other, one chain, all on this machine.

    Two Datanets are filled and published, an adapter is trained on each, one moves from peer to peer, questions are
    asked and paid for, and the chain is audited at the end. Nothing of it is kept.
    """
    home = open_node_home()
    if not is_here(home, DEMO_BASE_NAME):
        with StageReport() as report:
            pull_base(home, DEMO_BASE_NAME, source=None, report=report)
    shown = run_demo(seed, home.models, lambda line: say(plain(line)))
    if as_json:
        emit_json("demo", shown.to_json(DEMO_BASE_NAME))
        return
    _show(shown)


def _show(shown: DemoResult) -> None:
    terms = shown.to_json(DEMO_BASE_NAME)
    paid = terms["paid_out_wei"]
    lines = {"paid in": open_amount(terms["paid_in_wei"])}
    lines |= {name.replace("_", " "): open_amount(amount) for name, amount in paid.items() if isinstance(amount, str)}
    for account, amount in paid["contributors"].items():
        lines[f"contributor {account[:10]}…"] = open_amount(amount)
    right = [each for each in terms["attribution"] if each["is_right"]]
    lines["answers"] = f"{terms['jobs']}, of which {len(right)} state the fact that was asked for"
    lines["time"] = f"{terms['wall_s']:.0f} s, load {terms['load']}"
    show_lines(lines)
