"""The two charts of the serving benchmark, readable on paper, in grey and with colour blindness."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

Line = Mapping[int, float]
"""x → tokens per second."""

LOOKS: dict[str, tuple[str, str]] = {
    "openledger, accelerated": ("#0072B2", "o"),
    "openledger, torch": ("#56B4E9", "s"),
    "vLLM": ("#D55E00", "^"),
    "PEFT": ("#555555", "D"),
}
"""A colour by Okabe and Ito and a mark for each line."""

TEXT, FAINT = "#222222", "#dddddd"
APART = 0.045
"""Share of the height; two labels closer than this are moved apart."""

SIZE_INCHES = (8.0, 4.6)
DPI = 160
TICKS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def draw_distinct(lines: Mapping[str, Line], batch: int, file: Path) -> None:
    """Throughput against the number of adapters in a batch, on a log scale."""
    figure, axes = plt.subplots(figsize=SIZE_INCHES, dpi=DPI)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for name, line in lines.items():
        colour, mark = LOOKS[name]
        axes.plot(list(line), list(line.values()), color=colour, marker=mark, linewidth=2, markersize=5)
    places = sorted({x for line in lines.values() for x in line})
    _scale_y(axes, [y for line in lines.values() for y in line.values()])
    _dress(axes, f"Distinct adapters in a batch of {batch}", places)
    _label_ends(axes, lines)
    _title(figure, "Tokens a second as a batch holds more different adapters")
    figure.savefig(file, bbox_inches="tight", facecolor="white")
    plt.close(figure)


def draw_registered(line: Line, cached: int, file: Path) -> None:
    """Throughput against the number of adapters in the traffic, on a scale from zero."""
    figure, axes = plt.subplots(figsize=SIZE_INCHES, dpi=DPI)
    axes.set_xscale("log", base=2)
    colour, mark = LOOKS["openledger, accelerated"]
    axes.plot(list(line), list(line.values()), color=colour, marker=mark, linewidth=2, markersize=6, clip_on=False)
    for x, y in line.items():
        axes.annotate(f"{y:,.0f}", (x, y), (0, 9), textcoords="offset points", ha="center", color=TEXT, fontsize=9)
    axes.set_ylim(0, 1.25 * max(line.values()))
    axes.axvline(cached, ymax=0.6, color="#999999", linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(f"room for {cached}", (cached, 0), (5, 8), textcoords="offset points", color="#666666", fontsize=9)
    _dress(axes, "Adapters registered, asked for by Zipf's law", list(line))
    _title(figure, "Tokens a second as traffic spreads over more adapters")
    figure.savefig(file, bbox_inches="tight", facecolor="white")
    plt.close(figure)


def _scale_y(axes: Axes, values: list[float]) -> None:
    low, high = 0.7 * min(values), 1.4 * max(values)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())


def _dress(axes: Axes, label: str, places: list[int]) -> None:
    axes.set_xlabel(label, color=TEXT)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.tick_params(colors=TEXT, length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#999999")


def _label_ends(axes: Axes, lines: Mapping[str, Line]) -> None:
    """Name each line at its end, and move names that would overlap apart."""
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    ends: dict[str, Any] = {name: to_axes((max(line), line[max(line)])) for name, line in lines.items()}
    height = -1.0
    for name, (x, y) in sorted(ends.items(), key=lambda item: item[1][1]):
        height = max(y, height + APART)
        last = lines[name][max(lines[name])]
        axes.text(
            x + 0.015,
            height,
            f"{name}  {last:,.0f}",
            transform=axes.transAxes,
            color=TEXT,
            va="center",
            fontsize=10,
            fontweight="bold",
        )


def _title(figure: Any, text: str) -> None:
    figure.axes[0].set_title(text, loc="left", color=TEXT, fontsize=12, fontweight="bold", pad=14)
