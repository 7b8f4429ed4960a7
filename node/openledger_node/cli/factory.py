"""`factory`: training adapters."""

import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from openledger_protocol.adapter import DatanetReference
from openledger_protocol.constants import NAME_LENGTH_MAX, PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Digest

from ..datanets.intake import distinct_rows
from ..datanets.rows import read_rows, rows_digest, write_rows
from ..datanets.sample import SAMPLE_ID, draw_sample
from ..datanets.service import OwnDatanets
from ..datanets.version import DatanetVersion, keep_version, make_version
from ..factory.child import ChildTrainer
from ..factory.job import TrainingJob
from ..factory.service import BuildIndex, train_adapter
from ..home import Home
from ..inference.adapters import Adapter, list_adapters
from ..inference.bases import Base, find_base
from ..inference.tokenizer import open_tokenizer
from .context import load_settings, open_node_home
from .render import emit_json, out_console, plain, say
from .training_report import TrainingReport

app = typer.Typer(help="Train adapters on rows that people gave.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Seed = Annotated[int, typer.Option(help="Draws the sample, and seeds the training.")]
DEFAULTS = TrainingJob(name="defaults")


@app.command()
def train(
    name: Annotated[str, typer.Option(help="What to call the adapter.")],
    rows: Annotated[Path | None, typer.Option(help="JSONL of prompt, completion and contributor.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Train on the sample Datanet instead.")] = False,
    datanet: Annotated[
        str | None,
        typer.Option(help="Train on a Datanet that is kept here: NAME, or NAME@VERSION.", show_default=False),
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="JSONL to measure on; a tenth of the rows if not given.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="The base to teach; the one that is served if not given.")] = None,
    rank: Annotated[int, typer.Option(help="Rank of the adapter; its alpha is twice that.")] = DEFAULTS.rank,
    layers: Annotated[int, typer.Option(help="Layers that learn, from the top; 0 is all.")] = DEFAULTS.layers,
    epochs: Annotated[int, typer.Option(help="Times that every row is seen.")] = DEFAULTS.epochs,
    batch_size: Annotated[int, typer.Option(help="Rows of one step.")] = DEFAULTS.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Peak of the learning rate.")] = DEFAULTS.learning_rate,
    seed: Seed = DEFAULTS.seed,
    trainer: Annotated[str | None, typer.Option(help="What trains, if not the one in node.toml.")] = None,
    as_json: Json = False,
) -> None:
    """Train an adapter and put it on the shelf; a running node serves it at once.

    Examples: `openledger-node factory train --sample --name harbour`,
    `openledger-node factory train --rows notes.jsonl --name notes --epochs 10`,
    `openledger-node factory train --datanet lake --name lake`
    """
    home = open_node_home()
    settings = load_settings(home, inference_base=base, factory_trainer=trainer)
    job = TrainingJob(
        name=name,
        rank=rank,
        alpha=2 * rank,
        layers=layers,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=settings.inference.device,
    )
    found_base = find_base(home, settings.inference.base)
    learned, measured, reference = _gather(home, rows, held_out, seed if sample else None, datanet)
    started_ns = time.time_ns()
    with TrainingReport() as report:
        adapter = train_adapter(
            home,
            found_base,
            job,
            ChildTrainer(settings.factory.trainer),
            report,
            datanet=reference,
            rows=learned,
            held_out=measured,
            started_ns=started_ns,
            build_index=_index_builder(found_base, reference),
        )
    _show(home, adapter, seconds=(time.time_ns() - started_ns) / 1e9, as_json=as_json)


@app.command("sample")
def write_sample(
    out: Annotated[Path, typer.Option(help="Where the rows to train on go, as JSONL.")],
    held_out: Annotated[Path, typer.Option(help="Where the other wordings go, as JSONL.")],
    seed: Seed = DEFAULTS.seed,
    as_json: Json = False,
) -> None:
    """Write the sample Datanet to files: to look at it, or to train on your own version of it."""
    drawn = draw_sample(seed)
    write_rows(out, drawn.rows)
    write_rows(held_out, drawn.held_out)
    if as_json:
        counts = {"rows": len(drawn.rows), "held_out": len(drawn.held_out)}
        emit_json("sample", {"seed": seed, "out": str(out), "held_out_file": str(held_out), **counts})
        return
    say(f"{len(drawn.rows)} rows are in {plain(str(out))}, {len(drawn.held_out)} in {plain(str(held_out))}")


def _gather(
    home: Home, rows_file: Path | None, held_out_file: Path | None, sample_seed: int | None, datanet: str | None
) -> tuple[tuple[Row, ...], tuple[Row, ...] | None, DatanetReference]:
    """The rows to learn, those to measure on, and what the manifest says of them."""
    if [rows_file, sample_seed, datanet].count(None) != 2:
        raise typer.BadParameter("give one of --rows FILE and --sample, or --datanet NAME")
    held_out = read_rows(held_out_file) if held_out_file else None
    if datanet is not None:
        name, _, chosen = datanet.partition("@")
        version, rows = OwnDatanets(home).version_rows(name, chosen or None)
        return rows, held_out, _reference(version)
    if rows_file is not None:
        rows = read_rows(rows_file)
        named = make_version(datanet_name(rows_file), rows_digest(rows)[2:10], rows)
    else:
        drawn = draw_sample(sample_seed or 0)
        rows, held_out = drawn.rows, held_out or drawn.held_out
        named = make_version(SAMPLE_ID, f"seed-{sample_seed}", rows)
    return rows, held_out, _reference(keep_version(home, named))


def _reference(version: DatanetVersion) -> DatanetReference:
    return DatanetReference(id=version.id, version=version.version, rows_root=version.rows_root, weight_ppm=PPM)


def datanet_name(rows_file: Path) -> str:
    """A file's name as a Datanet's: what a name can't hold becomes `-`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", rows_file.stem).lstrip("._-")[:NAME_LENGTH_MAX] or "rows"


def _index_builder(base: Base, datanet: DatanetReference) -> BuildIndex:
    """What writes the attribution index of the rows that the adapter learned."""

    def build(folder: Path, rows: tuple[Row, ...]) -> Digest:
        from ..attribution.index import build_index  # numpy takes longer to load than most verbs to run

        tokenizer = open_tokenizer(base.folder)
        return build_index(folder, [(datanet, distinct_rows(rows))], tokenizer, base.tokenizer_digest)

    return build


def _show(home: Home, adapter: Adapter, *, seconds: float, as_json: bool) -> None:
    training: dict[str, Any] = adapter.manifest.training or {}
    evaluation: dict[str, Any] = adapter.manifest.evaluation or {}
    before, after = evaluation["loss_before"], evaluation["loss_after"]
    if as_json:
        fields = {
            "name": adapter.name,
            "full_name": adapter.full_name,
            "id": adapter.id,
            "folder": str(adapter.folder),
            "base": adapter.manifest.base.name,
            "steps": training["steps"],
            "loss_before": before,
            "loss_after": after,
            "duration_s": round(seconds, 3),
            "rows": training["rows"],
            "held_out": evaluation["rows"],
        }
        emit_json("training", fields)
        return
    out_console.print(f"[bold]{adapter.full_name}[/] was trained on {training['rows']} rows in {seconds:.0f} s")
    out_console.print(f"held-out loss: {before:.3f} before, {after:.3f} after ({evaluation['rows']} rows)")
    if after >= before:
        say("[yellow]it learned nothing that carries over:[/] give more rows, or fewer epochs")
    is_only = sum(other.name == adapter.name for other in list_adapters(home)) == 1
    out_console.print(f"ask it: `openledger-node chat --model {adapter.name if is_only else adapter.full_name}`")
