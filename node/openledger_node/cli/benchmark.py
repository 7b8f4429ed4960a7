"""`benchmark`: speed of this base on this machine, through the engine that the daemon would start."""

import os
from dataclasses import asdict
from types import TracebackType
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..config import load_config
from ..engine.benchmark import BatchFigures, BenchmarkWork, Figures, run_benchmark
from ..engine.options import engine_options
from ..errors import ConfigError
from ..home import claim_home
from ..models.bases import Base, find_base
from .daemon_client import open_node_home
from .render import emit_json, err_console, megabytes, out_console, plain, say, show_lines, show_table

RANK_MAX = 512


def add_commands(app: typer.Typer) -> None:
    """Add `benchmark` to the root command."""
    app.command(rich_help_panel="Node")(benchmark)


def benchmark(
    prompt_tokens: Annotated[int, typer.Option("--prompt-tokens", help="Tokens of each prompt.", min=1)] = 64,
    answer_tokens: Annotated[int, typer.Option("--answer-tokens", help="Most tokens of each answer.", min=1)] = 32,
    rank: Annotated[
        int, typer.Option(help="Rank of the adapters, which are made for the benchmark.", min=1, max=RANK_MAX)
    ] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure this machine with the base and the engine of your settings. Stop the node first.

    It runs batches of 1, 8 and 32 requests, up to batch_max, on the bare base and with a different adapter for every
    request, which takes a minute or two with the demo base on a quiet machine, and longer with a larger base. Prompts
    and adapters are random numbers. The adapters are written to the data directory and then removed.
    """
    home = open_node_home()
    config, _ = load_config(home.config_file)
    base = find_base(home, config.inference.base)
    work = BenchmarkWork(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, rank=rank)
    options, load = engine_options(home, config, base), os.getloadavg()[0]
    if work.num_tokens > (context := options.settings.context_max):
        raise ConfigError(
            f"prompt and answer are {work.num_tokens} tokens together but [inference] context_max allows {context}: "
            "raise it, or ask for fewer"
        )
    with claim_home(home, "benchmark"), StepBar() as report:
        figures = run_benchmark(options, work, home.root, report)
    if as_json:
        emit_json("benchmark", benchmark_to_json(base, work, figures, load))
    else:
        _show(base, work, figures, load)


class StepBar:
    """Progress of the steps: a bar on a terminal, a line for each elsewhere."""

    def __init__(self) -> None:
        columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=err_console, transient=True, disable=not err_console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "StepBar":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Remove the bar."""
        self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show the step that is starting."""
        if not err_console.is_terminal:
            place = f"{done + 1} of {total}: " if done else ""  # the first is before the steps are counted
            say(f"  {place}{plain(what)}")
        self._bar.update(self._task, description=what, completed=done, total=total)


def benchmark_to_json(base: Base, work: BenchmarkWork, figures: Figures, load: float) -> dict[str, Any]:
    """Convert the figures for `--json`."""
    profile = figures.profile
    return {
        "base": base.name,
        "backend": profile.backend,
        "kernel": profile.kernel,
        "device": profile.device,
        "dtype": profile.dtype,
        "quantisation": profile.quantisation,
        "threads": profile.threads,
        "load": round(load, 2),
        "prompt_tokens": work.prompt_tokens,
        "answer_tokens": work.answer_tokens,
        "rank": work.rank,
        "start_s": round(figures.start_s, 3),
        "batches": [_rounded(batch) for batch in figures.batches],
        "adapter_load_ms": _tenths(figures.load_ms),
        "adapter_load_p95_ms": _tenths(figures.load_p95_ms),
        "adapter_bytes": figures.adapter_bytes,
        "batch_fits": figures.batch_fits,
        "base_bytes": profile.base_bytes,
        "peak_bytes": figures.peak_bytes,
        "card_bytes": figures.card_bytes,
        "failed": len(figures.failures),
        "verdict": verdict(figures),
    }


def verdict(figures: Figures) -> str:
    """Sum up batch size, speed, time to first token and the cost of adapters in one sentence."""
    best = max(figures.batches, key=lambda one: (one.batch, one.adapters))
    bare = next(one for one in figures.batches if one.batch == best.batch)
    who = f"{best.batch} requests at once" if best.batch > 1 else "one request at a time"
    speed = f"{best.tokens_per_s:,.0f} tokens/s, the first after {_time(best.ttft_p95_ms)}"
    if not best.adapters:
        return f"This machine answers {who} at {speed}."
    left = f"{best.tokens_per_s / bare.tokens_per_s:.0%} of the speed of the bare base"
    return f"This machine answers {who}, each with a different adapter, at {speed}: {left}."


def _show(base: Base, work: BenchmarkWork, figures: Figures, load: float) -> None:
    rows = [
        [
            str(one.batch),
            f"{one.adapters} different" if one.adapters else "none",
            f"{one.tokens_per_s:,.0f}",
            f"{one.tokens_per_s / one.batch:,.1f}",
            _time(one.ttft_ms),
            _time(one.ttft_p95_ms),
        ]
        for one in figures.batches
    ]
    show_lines(_machine(base, work, figures, load))
    out_console.print()
    show_table(["batch", "adapters", "tokens/s", "per request", "first token", "95th percentile"], rows, empty="")
    out_console.print()
    show_lines(_costs(work, figures))
    out_console.print(f"\n[bold]{plain(verdict(figures))}[/]")
    if figures.failures:
        out_console.print(f"[red]{len(figures.failures)} failed:[/] {plain(figures.failures[0])}")


def _machine(base: Base, work: BenchmarkWork, figures: Figures, load: float) -> dict[str, str]:
    profile = figures.profile
    kept = profile.dtype if profile.quantisation == "none" else f"{profile.dtype}, {profile.quantisation}"
    kernel = f"{profile.backend} on {profile.device} ({profile.kernel})"
    lengths = f"prompts of {work.prompt_tokens} tokens, answers of {work.answer_tokens}"
    return {
        "base": f"{base.name}, {kept}",
        "engine": f"{kernel}, {profile.threads} threads, load {load:.1f}",
        "work": f"{lengths}, adapters of rank {work.rank}",
    }


def _costs(work: BenchmarkWork, figures: Figures) -> dict[str, str]:
    lines = {"loading the base": f"{figures.start_s:.1f} s"}
    if figures.load_ms is not None and figures.load_p95_ms is not None:
        lines["loading an adapter"] = f"{_time(figures.load_ms)}, 95 % within {_time(figures.load_p95_ms)}"
    if figures.adapter_bytes:
        lines["memory of an adapter"] = megabytes(figures.adapter_bytes)
    lines["largest batch"] = f"{figures.batch_fits} sequences of {work.num_tokens} tokens"
    lines["memory of the base"] = megabytes(figures.profile.base_bytes)
    if figures.peak_bytes:
        lines["peak memory"] = megabytes(figures.peak_bytes)
    if figures.card_bytes:
        lines["on the card"] = megabytes(figures.card_bytes)
    return lines


def _rounded(batch: BatchFigures) -> dict[str, Any]:
    return {name: round(value, 1) for name, value in asdict(batch).items()}


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _time(duration_ms: float) -> str:
    return f"{duration_ms:.0f} ms" if duration_ms < 1000 else f"{duration_ms / 1000:.1f} s"
