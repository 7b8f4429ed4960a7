"""The report of a file: its form, three rows, and everything that can't be taken."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..datanets.about import Breach
from ..text import counted
from .render import err_console, out_console, plain

FLAWS_SHOWN: Final = 10
TEXT_SHOWN: Final = 400


def show_report(file: Path, report: dict[str, Any], *, to_stderr: bool = False) -> None:
    """Print the report of a file; with `--json`, stdout is for data alone."""
    console = err_console if to_stderr else out_console
    forms = ", ".join(f"{counted(count, 'row')} of {plain(form)}" for form, count in report["forms"].items())
    console.print(f"[bold]{plain(str(file))}[/]: {forms or 'no row that can be taken'}")
    if report["unused_columns"]:
        console.print(f"columns that are left out: {', '.join(map(plain, report['unused_columns']))}")
    for note in report["notes"]:
        console.print(plain(note))
    for number, row in enumerate(report["sample"], 1):
        console.print(f"[dim]row {number}[/]")
        for name, text in row.items():
            console.print(f"  [dim]{name:<11}[/] {plain(_short(text))}")
    _show_flaws(file, report, console)


def show_breaches(file: Path, breaches: Sequence[Breach], *, to_stderr: bool = False) -> None:
    """Print the rows that the policy of the Datanet does not take, each with the limit that it breaks."""
    if not breaches:
        return
    console = err_console if to_stderr else out_console
    console.print(f"[yellow]{counted(len(breaches), 'row')} can't be taken by the policy of the Datanet:[/]")
    for each in breaches[:FLAWS_SHOWN]:
        console.print(f"  {plain(file.name)}, row {each.row}: {plain(each.reason)}")
    if len(breaches) > FLAWS_SHOWN:
        console.print(f"  and {len(breaches) - FLAWS_SHOWN} more; --json lists all of them")


def without_texts(report: dict[str, Any]) -> dict[str, Any]:
    """Leave the sample out of a report."""
    return {name: value for name, value in report.items() if name != "sample"}


def _show_flaws(file: Path, report: dict[str, Any], console: Any) -> None:
    if not report["num_flaws"]:
        return
    console.print(f"[yellow]{report['num_flaws']} can't be taken:[/]")
    for flaw in report["flaws"][:FLAWS_SHOWN]:
        console.print(f"  {plain(file.name)}, {report['unit']} {flaw['place']}: {plain(flaw['reason'])}")
    if report["num_flaws"] > FLAWS_SHOWN:
        reasons = Counter(flaw["reason"] for flaw in report["flaws"][FLAWS_SHOWN:])
        more = report["num_flaws"] - FLAWS_SHOWN
        console.print(f"  and {more} more; the most frequent reason: {plain(reasons.most_common(1)[0][0])}")


def _short(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}…"
