"""A benchmark's bars: one figure each, with its goal and the reason if it could not be measured."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from openledger_node import __version__

Bar = dict[str, Any]


def bar(
    id: str,
    value: float | None,
    unit: str,
    goal: float,
    stretch: float | None = None,
    *,
    better: str = "higher",
    why: str = "",
) -> Bar:
    """One bar. A value that could not be measured is None and not met, and `why` gives the reason."""
    is_met = value is not None and (value <= goal if better == "lower" else value >= goal)
    rounded = None if value is None else float(f"{value:.4g}")
    named = {"id": id, "value": rounded, "unit": unit, "goal": goal, "stretch": stretch}
    return {**named, "better": better, "met": is_met, "why": why}


def percentile(values: list[float], part: float = 0.95) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def environment(load: float, threads: int, **more: Any) -> dict[str, Any]:
    """The machine, its load and the versions in use."""
    names = ("numpy", "torch", "transformers", "peft", "safetensors", "trio")
    versions = {"openledger-node": __version__, "python": platform.python_version()}
    versions |= {name: found for name in names if (found := version_of(name))}
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "threads": threads, "load": round(load, 2), **more} | {
        "versions": versions
    }


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The processor's name from the kernel; platform.processor() says only "x86_64"."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def show_bars(title: str, bars: list[Bar]) -> None:
    """Print the bars as a table."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("bar", "measured", "goal", "stretch", "", "remark"):
        table.add_column(name, justify="right" if name in ("measured", "goal", "stretch") else "left")
    for one in bars:
        table.add_row(one["id"], shown(one["value"], one["unit"]), bound(one), shown(one["stretch"]), *verdict(one))
    Console(width=None if os.isatty(1) else 160, highlight=False).print(table)


def verdict(one: Bar) -> tuple[str, str]:
    if one["value"] is None:
        return "[dim]–[/]", f"[dim]{escape(one['why'])}[/]"
    return ("[green]met[/]" if one["met"] else "[red]missed[/]"), escape(one["why"])


def bound(one: Bar) -> str:
    return f"{'≤' if one['better'] == 'lower' else '≥'} {one['goal']:g}"


def shown(value: float | None, unit: str = "") -> str:
    if value is None:
        return "–"
    sign = {"ratio": " ×", "percent": " %", "": ""}.get(unit, f" {unit}")
    return f"{value:,.3g}{sign}" if abs(value) < 1000 else f"{value:,.0f}{sign}"
