"""`doctor`: read-only checks, each with its finding and, if it fails, with the fix."""

from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from ..operator.doctor.finding import Finding
from ..operator.doctor.run import CHECKS, examine
from ..operator.doctor.scene import Scene
from .daemon_client import ask_daemon, open_node_home
from .render import emit_json, out_console, plain

PROBLEMS_FOUND = 8
ASK_TIMEOUT_S = 4.0
MARKS = {True: "[green]ok  [/]", False: "[red]FAIL[/]", None: "[dim]–   [/]"}
WARNING = "[yellow]warn[/]"


class Section(StrEnum):
    """The sections of checks."""

    MACHINE = "machine"
    HOME = "home"
    MODEL = "model"
    CHAIN = "chain"
    NETWORK = "network"


def add_commands(app: typer.Typer) -> None:
    """Add `doctor` to the root command."""
    app.command(rich_help_panel="Node")(doctor)


def doctor(
    only: Annotated[
        list[Section] | None, typer.Option(help="Run only this section. Can be given more than once.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this machine and this node without changing anything. Exit code 8 if something needs you.

    The check takes at most 10 seconds, whether the node runs or not.
    """
    home = open_node_home()

    def ask(method: str, path: str) -> Any:
        return ask_daemon(home, method, path, {} if method == "POST" else None, timeout_s=ASK_TIMEOUT_S)

    with closing(Scene(home, ask)) as scene:
        findings = examine(scene, [check for check in CHECKS if not only or check.section in only])
    num_problems = sum(finding.is_ok is False for finding in findings)
    if as_json:
        emit_json("doctor", {"problems": num_problems, "checks": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
        verdict = "1 problem" if num_problems == 1 else f"{num_problems} problems"
        out_console.print(f"\n{verdict}" if num_problems else "\nall is well")
    if num_problems:
        raise typer.Exit(PROBLEMS_FOUND)


def _show(findings: list[Finding]) -> None:
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            out_console.print(f"\n[bold]{section}[/]")
        mark = WARNING if finding.is_ok is None and finding.fix else MARKS[finding.is_ok]
        out_console.print(f"{mark} {finding.check:<12} {plain(finding.found)}")
        if finding.fix:
            out_console.print(f"                  → {plain(finding.fix)}")
