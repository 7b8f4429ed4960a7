"""`factory`: train adapters, and watch and control a training."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from ..datanets.rows import write_rows
from ..datanets.sample import draw_sample
from ..errors import ConfigError, InputError, ModelError, NodeError
from ..factory.evaluation import ROWS_USUAL
from ..factory.job import PERCENT, RSLORA_ALPHA, Method, Schedule, TrainingJob
from ..factory.job import Preset as PresetName
from ..factory.order import ONE_SOURCE
from ..factory.service import TrainingService
from ..home import Home
from .daemon_client import ask_daemon, load_settings, open_node_home
from .factory_view import (
    TrainingReport,
    follow,
    say_format,
    show_adapter,
    show_preview,
    show_run,
    show_runs,
    show_state,
)
from .progress import StageReport
from .render import emit_json, plain, say
from .transactions import transaction_command
from .units import ppm_of

# ---- Flags of an order

Seed = Annotated[int, typer.Option(help="Seed of the sample and of the training.")]
Run = Annotated[int | None, typer.Argument(help="Number of a training; by default the newest.")]
DEFAULTS = TrainingJob(name="defaults")

RowsFile = Annotated[Path | None, typer.Option(help="JSONL file with prompt, completion and contributor.")]
Sample = Annotated[bool, typer.Option("--sample", help="Train on the sample Datanet.")]
Datanet = Annotated[
    str | None,
    typer.Option(help="Train on a Datanet: NAME if it is yours, the ID of a pulled one, or either with @VERSION."),
]
HeldOut = Annotated[
    Path | None,
    typer.Option(help="JSONL file to measure on; by default a tenth of the rows."),
]
BaseName = Annotated[str | None, typer.Option(help="Base to train on; by default the one that is served.")]
Preset = Annotated[PresetName | None, typer.Option(help="Strength of the training; by default balanced.")]
Rank = Annotated[int | None, typer.Option(help="Rank of the adapter.")]
Alpha = Annotated[
    int | None,
    typer.Option(help=f"Scale of the adapter, times the rank; by default twice the rank, {RSLORA_ALPHA} for rslora."),
]
MethodName = Annotated[
    Method,
    typer.Option(help="lora; rslora, whose scale falls with the root of the rank; dora, slower and for few rows."),
]
Sites = Annotated[
    str,
    typer.Option(help="Linear maps to adapt: all, attention, mlp, or names with commas such as q_proj,v_proj."),
]
Dropout = Annotated[float, typer.Option(help="Share of the adapter's inputs that each step sets to zero, up to 0.9.")]
HeldOutPercent = Annotated[
    float | None,
    typer.Option(metavar="PERCENT", help="Percent of the rows to hold out if --held-out names none; by default 10."),
]
Quantize = Annotated[
    Literal["auto", "none", "int4"],
    typer.Option(help="Base weights in training: wide (none), 4 bits (int4), or by the memory that is free (auto)."),
]
Checkpointing = Annotated[
    bool,
    typer.Option("--gradient-checkpointing", help="Compute layers twice instead of keeping them; saves memory."),
]
Layers = Annotated[int | None, typer.Option(help="Layers to adapt, counted from the top; 0 is all.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over all rows.")]
BatchSize = Annotated[int, typer.Option(help="Rows per step.")]
TokensMax = Annotated[int, typer.Option(help="Most tokens of a row; longer rows are left out.")]

ORDER_TIMEOUT_S = 120.0
"""Limit for an order: the tokens of every row are counted first."""

POLL_S = 0.3


def source(rows: Path | None, held_out: Path | None, *, sample: bool, datanet: str | None) -> dict[str, Any]:
    """Return the row source of an order; paths are absolute because the node reads them from its own folder."""
    if (rows is not None) + sample + (datanet is not None) != 1:
        raise InputError(ONE_SOURCE)
    return {
        "rows": str(rows.resolve()) if rows else None,
        "held_out": str(held_out.resolve()) if held_out else None,
        "sample": sample,
        "datanet": datanet,
    }


# ---- The commands

app = typer.Typer(help="Train adapters on the rows of a Datanet or a file.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def train(
    name: Annotated[str, typer.Option(help="Name of the adapter.")],
    rows: RowsFile = None,
    sample: Sample = False,
    datanet: Datanet = None,
    held_out: HeldOut = None,
    base: BaseName = None,
    preset: Preset = None,
    rank: Rank = None,
    layers: Layers = None,
    epochs: Epochs = None,
    batch_size: BatchSize = DEFAULTS.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = DEFAULTS.learning_rate,
    seed: Seed = DEFAULTS.seed,
    tokens_max: TokensMax = DEFAULTS.tokens_max,
    method: MethodName = DEFAULTS.method,
    alpha: Alpha = None,
    sites: Sites = DEFAULTS.sites,
    dropout: Dropout = DEFAULTS.dropout,
    schedule: Annotated[
        Schedule, typer.Option(help="Learning rate after the warm-up: cosine or linear to zero, or constant.")
    ] = DEFAULTS.schedule,
    warm_up: Annotated[
        float,
        typer.Option("--warm-up-percent", metavar="PERCENT", help="Percent of the steps over which it rises."),
    ] = DEFAULTS.warm_up_ppm / PERCENT,
    weight_decay: Annotated[float, typer.Option(help="Decay of the adapter's weights, from 0 to 1.")] = 0.0,
    quantize: Quantize = "auto",
    gradient_checkpointing: Checkpointing = False,
    held_out_percent: HeldOutPercent = None,
    evaluate: Annotated[
        int, typer.Option(help="Held-out rows that base and adapter answer at the end; 0 is none.")
    ] = ROWS_USUAL,
    trainer: Annotated[str | None, typer.Option(help="Trainer; by default the one in node.toml.")] = None,
    signals: Annotated[
        bool,
        typer.Option("--signals", help="Build the index that poa-v3 (experimental) needs, by a pass over all rows."),
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return as soon as the running node has started it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train an adapter and add it to the library. A running node trains and serves it; else this command trains it.

    Examples: `openledger-node factory train --sample --name harbour`,
    `openledger-node factory train --rows notes.jsonl --name notes --epochs 10`,
    `openledger-node factory train --datanet lake --name lake --preset thorough`
    """
    order = {
        "name": name,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "tokens_max": tokens_max,
        "method": method,
        "alpha": alpha,
        "sites": sites,
        "dropout": dropout,
        "schedule": schedule,
        "warm_up_percent": warm_up,
        "weight_decay": weight_decay,
        "quantisation": quantize,
        "gradient_checkpointing": gradient_checkpointing,
        "held_out_percent": held_out_percent,
        "evaluate": evaluate,
        "trainer": trainer,
        "signals": signals,
        **source(rows, held_out, sample=sample, datanet=datanet),
        "base": base,
        "preset": preset,
        "rank": rank,
        "layers": layers,
        "epochs": epochs,
    }
    home = open_node_home()
    if no_wait:
        _leave_to_node(home, order, as_json=as_json)
        return
    _carry_out(home, "/factory/train", order, lambda own: own.begin(order).number, as_json=as_json)


@app.command()
def preview(
    rows: RowsFile = None,
    sample: Sample = False,
    datanet: Datanet = None,
    held_out: HeldOut = None,
    base: BaseName = None,
    preset: Preset = None,
    rank: Rank = None,
    layers: Layers = None,
    epochs: Epochs = None,
    batch_size: BatchSize = DEFAULTS.batch_size,
    seed: Seed = DEFAULTS.seed,
    tokens_max: TokensMax = DEFAULTS.tokens_max,
    method: MethodName = DEFAULTS.method,
    alpha: Alpha = None,
    sites: Sites = DEFAULTS.sites,
    dropout: Dropout = DEFAULTS.dropout,
    quantize: Quantize = "auto",
    gradient_checkpointing: Checkpointing = False,
    held_out_percent: HeldOutPercent = None,
    offset: Annotated[int, typer.Option(help="First of the three rows to show.")] = 0,
    as_json: Json = False,
) -> None:
    """Show three rows as the model sees them, and the memory and time that a training would need."""
    order = {
        "batch_size": batch_size,
        "seed": seed,
        "tokens_max": tokens_max,
        **source(rows, held_out, sample=sample, datanet=datanet),
        "base": base,
        "preset": preset,
        "rank": rank,
        "layers": layers,
        "epochs": epochs,
        "method": method,
        "alpha": alpha,
        "sites": sites,
        "dropout": dropout,
        "quantisation": quantize,
        "gradient_checkpointing": gradient_checkpointing,
        "held_out_percent": held_out_percent,
    }
    home = open_node_home()
    own = _training_service(home)
    with StageReport(is_quiet=as_json) as report:
        shown = own.preview(order, offset, partial(report.count, "counting the tokens of rows"))
    found = {**shown, "estimate": _estimate(home, order) or own.estimate(order)}
    if as_json:
        emit_json("preview", found)
    else:
        show_preview(found)


@app.command()
def status(
    run: Run = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the training until it ends or pauses.")] = False,
    as_json: Json = False,
) -> None:
    """Show the progress of a training, and earlier trainings."""
    home = open_node_home()
    found = _show_factory(home, run)
    if watch and found["run"]:
        with TrainingReport() as report:
            follow(found["run"], lambda: _show_factory(home, found["run"]["number"])["run"], report, poll_s=POLL_S)
        found = _show_factory(home, found["run"]["number"])
    if as_json:
        emit_json("factory", found)
        return
    show_run(found["run"])
    show_runs(found["runs"])


@app.command()
def pause(as_json: Json = False) -> None:
    """Pause the training: it writes a checkpoint and frees its memory."""
    home = open_node_home()
    asked = _order(home, "/factory/pause", {}, lambda own: own.pause())
    with TrainingReport() as report:
        found = follow(asked, lambda: _show_factory(home, asked["number"])["run"], report, poll_s=POLL_S)
    show_state(found, as_json=as_json)


@app.command()
def resume(as_json: Json = False) -> None:
    """Resume a training that was paused or interrupted, from its last checkpoint."""
    _carry_out(open_node_home(), "/factory/resume", {}, lambda own: own.resumable().number, as_json=as_json)


@app.command()
def stop(
    keep: Annotated[bool, typer.Option("--keep", help="Add what it has learned so far to the library.")] = False,
    as_json: Json = False,
) -> None:
    """End a training. Without --keep, nothing of it is kept."""
    home = open_node_home()
    if keep and _is_left(home):
        _carry_out(home, "/factory/stop", {"keep": True}, lambda own: own.keep_left().number, as_json=as_json)
        return
    asked = _order(home, "/factory/stop", {"keep": keep}, lambda own: own.stop(keep=keep))
    with TrainingReport() as report:
        found = follow(asked, lambda: _show_factory(home, asked["number"])["run"], report, poll_s=POLL_S)
    show_state(found, as_json=as_json)


@app.command()
def evaluate(
    run: Run = None,
    limit: Annotated[int, typer.Option(help="Most held-out rows that both answer.")] = ROWS_USUAL,
    as_json: Json = False,
) -> None:
    """Let base and adapter answer held-out rows, and measure what was learned and what was forgotten."""
    wanted = {"run": run, "limit": limit}
    home = open_node_home()
    number = _carry_on(home, "/factory/evaluate", wanted, lambda own: own.evaluable(run, limit).number)
    found = _show_factory(home, number)["run"]
    if as_json:
        emit_json("evaluation", {"run": number, "adapter": found["adapter"], **(found["evaluation"] or {})})
    else:
        show_run(found)


@transaction_command(app, "adapters publish")
def publish(
    run: Run = None,
    royalty: Annotated[
        str, typer.Option(metavar="PERCENT", help="Percent of its answers' earnings that goes to you.")
    ] = "10",
) -> dict[str, Any]:
    """Register a training's adapter on the chain with a bond, as `adapters publish` does."""
    royalty_ppm = ppm_of(royalty)
    return {"adapter": _training_service(open_node_home()).adapter_of(run), "royalty_ppm": royalty_ppm}


@app.command("sample")
def write_sample(
    out: Annotated[Path, typer.Option(help="JSONL file for the rows to train on.")],
    held_out: Annotated[Path, typer.Option(help="JSONL file for the held-out rows.")],
    seed: Seed = DEFAULTS.seed,
    as_json: Json = False,
) -> None:
    """Write the sample Datanet to files, to look at it or to train on your own version of it."""
    for file in (out, held_out):
        if file.exists():
            raise ConfigError(f"{file} exists already, and rows are never overwritten: name another file")
    drawn = draw_sample(seed)
    write_rows(out, drawn.rows)
    write_rows(held_out, drawn.held_out)
    if as_json:
        counts = {"rows": len(drawn.rows), "held_out": len(drawn.held_out)}
        emit_json("sample", {"seed": seed, "out": str(out), "held_out_file": str(held_out), **counts})
        return
    say(f"wrote {len(drawn.rows)} rows to {plain(str(out))}, and {len(drawn.held_out)} to {plain(str(held_out))}")


def _carry_out(
    home: Home, path: str, body: dict[str, Any], begin: Callable[[TrainingService], int], *, as_json: bool
) -> None:
    """Carry out a training, and show its result."""
    number = _carry_on(home, path, body, begin)
    found = _show_factory(home, number)["run"]
    if found["state"] == "failed":
        raise ModelError(found["error"])
    if found["adapter"] is None:
        show_state(found, as_json=as_json)
        return
    show_adapter(home, found, as_json=as_json)


def _carry_on(home: Home, path: str, body: dict[str, Any], begin: Callable[[TrainingService], int]) -> int:
    """Train in the running node and show its progress, or in this process if none runs; return the run's number."""
    asked = ask_daemon(home, "POST", path, body, timeout_s=ORDER_TIMEOUT_S)
    with TrainingReport() as report:
        if asked is None:
            return _carry_out_here(home, begin, report)
        number: int = asked["number"]
        say_format(asked)
        try:
            follow(asked, lambda: _show_factory(home, number)["run"], report, poll_s=POLL_S)
        except KeyboardInterrupt:
            say(f"training {number} continues in the node: follow it with `openledger-node factory status --watch`")
            raise
    return number


def _carry_out_here(home: Home, begin: Callable[[TrainingService], int], report: TrainingReport) -> int:
    own = _training_service(home)
    number = begin(own)
    say_format(own.run(number))
    try:
        own.carry_out(number, report, report.stage)
    except KeyboardInterrupt:
        say(
            "interrupted: `openledger-node factory resume` continues from the last checkpoint, "
            "`openledger-node factory stop` discards the training"
        )
        raise
    return number


def _leave_to_node(home: Home, order: dict[str, Any], *, as_json: bool) -> None:
    """Start a training in the running node, and return.

    Raises:
        NodeError: no node is running.
    """
    asked = ask_daemon(home, "POST", "/factory/train", order, timeout_s=ORDER_TIMEOUT_S)
    if asked is None:
        raise NodeError(
            "only a running node trains in the background: run `openledger-node start`, or leave out --no-wait"
        )
    show_state(asked, as_json=as_json)


def _order(home: Home, path: str, body: dict[str, Any], here: Callable[[TrainingService], dict[str, Any]]) -> Any:
    """Send an order to the running node, or carry it out in this process if none runs."""
    return ask_daemon(home, "POST", path, body, timeout_s=ORDER_TIMEOUT_S) or here(_training_service(home))


def _show_factory(home: Home, number: int | None) -> dict[str, Any]:
    """Return the state of the factory, with one training in full."""
    query = "" if number is None else f"?run={number}"
    asked: dict[str, Any] | None = ask_daemon(home, "GET", f"/factory{query}", timeout_s=ORDER_TIMEOUT_S)
    return asked or _training_service(home).show(number)


def _estimate(home: Home, order: dict[str, Any]) -> Any:
    """Ask the running node for an estimate, which counts what it serves as well; None if no node runs."""
    query = urlencode({name: value for name, value in order.items() if value is not None})
    return ask_daemon(home, "GET", f"/factory/estimate?{query}", timeout_s=ORDER_TIMEOUT_S)


def _is_left(home: Home) -> bool:
    """Return True if a training is open and no process works on it."""
    run = _show_factory(home, None)["run"]
    return run is not None and run["who"] is None and run["state"] not in ("done", "stopped", "failed")


def _training_service(home: Home) -> TrainingService:
    """Open the training service in this process."""
    return TrainingService(home, load_settings(home))
