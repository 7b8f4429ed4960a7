"""`adapters export`: an adapter as files for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from ..models.adapters import find_adapter
from ..models.bases import find_base
from ..models.exporting import ExportForm, export_adapter
from ..models.library import list_adapters
from .daemon_client import open_node_home
from .render import emit_json, megabytes, plain, say


def export(
    name: Annotated[str, typer.Argument(metavar="ADAPTER", help="NAME, or NAME@ID where several share a name.")],
    form: Annotated[
        ExportForm,
        typer.Option(
            "--as", help="peft: the adapter's folder; merged: base and adapter in one; gguf: for llama.cpp."
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder to write into; nothing is written over.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write an adapter for other programs: a PEFT folder, merged safetensors, or a GGUF LoRA.

    Examples: `openledger-node adapters export harbour --as peft --out harbour-peft`,
    `openledger-node adapters export harbour --as gguf --out harbour-gguf`
    """
    home = open_node_home()
    adapter = find_adapter(list_adapters(home), name)
    files = export_adapter(adapter, find_base(home, adapter.manifest.base.name), form, out.absolute())
    sizes = {str(file.relative_to(out.absolute())): file.stat().st_size for file in files}
    if as_json:
        emit_json("exported_adapter", {"adapter": adapter.full_name, "as": form, "out": str(out), "files": sizes})
        return
    say(f"[bold]{adapter.full_name}[/] is in {plain(str(out))}: {len(files)} files, {megabytes(sum(sizes.values()))}")
