"""The flags that say what is to be trained, and how they are read."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..factory.job import PRESETS, TrainingJob
from ..owner.factory_orders import ONE_SOURCE

Seed = Annotated[int, typer.Option(help="Draws the sample, and seeds the training.")]
Run = Annotated[int | None, typer.Argument(help="A training's number; the newest if not given.", show_default=False)]
DEFAULTS = TrainingJob(name="defaults")

RowsFile = Annotated[Path | None, typer.Option(help="JSONL of prompt, completion and contributor.")]
Sample = Annotated[bool, typer.Option("--sample", help="Train on the sample Datanet instead.")]
Datanet = Annotated[
    str | None, typer.Option(help="Train on a Datanet that is kept here: NAME, or NAME@VERSION.", show_default=False)
]
HeldOut = Annotated[
    Path | None,
    typer.Option(help="JSONL to measure on; a tenth of the rows if not given."),
]
BaseName = Annotated[
    str | None, typer.Option(help="The base to teach; the one that is served if not given.", show_default=False)
]
Preset = Annotated[
    str | None, typer.Option(help=f"{', '.join(PRESETS)}; `balanced` if not given.", show_default=False)
]
Rank = Annotated[int | None, typer.Option(help="Rank of the adapter; its alpha is twice that.", show_default=False)]
Layers = Annotated[int | None, typer.Option(help="Layers that learn, from the top; 0 is all.", show_default=False)]
Epochs = Annotated[int | None, typer.Option(help="Times that every row is seen.", show_default=False)]
BatchSize = Annotated[int, typer.Option(help="Rows of one step.")]
TokensMax = Annotated[int, typer.Option(help="Longer rows are left out.")]


def source(rows: Path | None, held_out: Path | None, *, sample: bool, datanet: str | None) -> dict[str, Any]:
    """Where the rows come from; files by whole paths, since a node reads them from where it stands."""
    if (rows is not None) + sample + (datanet is not None) != 1:
        raise typer.BadParameter(ONE_SOURCE)
    return {
        "rows": str(rows.resolve()) if rows else None,
        "held_out": str(held_out.resolve()) if held_out else None,
        "sample": sample,
        "datanet": datanet,
    }
