"""`demo`: the whole economy on this machine in one run."""

from typing import Annotated

import typer

from openledger_protocol.constants import DEMO_BASE_NAME

from ..demo.run import DemoResult, run_demo
from ..models.bases import is_here
from ..models.download import pull_base
from .daemon_client import open_node_home
from .progress import StageReport
from .render import emit_json, plain, say, show_lines
from .transactions import open_amount


def add_commands(app: typer.Typer) -> None:
    """Add `demo` to the root command."""
    app.command(rich_help_panel="Node")(demo)


def demo(
    seed: Annotated[int, typer.Option(help="Seed for the names and values of the sample Datanets.", min=0)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Run the whole economy on this machine: three nodes that find each other, and one chain.

    The demo fills and publishes two Datanets, trains an adapter on each, moves one adapter from peer to peer, asks
    questions and pays for them, and audits the chain at the end. It keeps nothing.
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
