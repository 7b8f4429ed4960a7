"""`devnet`: a development chain on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from ..chain.dev.constants import BANK
from ..chain.dev.launch import Devnet, start_devnet
from ..errors import ChainError
from .daemon_client import open_node_home
from .render import emit_json, out_console, plain, say

app = typer.Typer(help="A development chain on this machine; its coins are worth nothing.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object once the chain answers.")]
DEFAULT_PORT = 8545


@app.command()
def start(
    port: Annotated[int, typer.Option(help="TCP port; 0 takes any free port.", min=0, max=65_535)] = DEFAULT_PORT,
    engine: Annotated[
        str, typer.Option(help="auto, embedded or anvil; auto takes the engine that created this chain.")
    ] = "auto",
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of the chain; by default `devnet` in the data directory.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a development chain in the foreground until Ctrl-C; the next start continues from the last block.

    It mines a block every second. Several nodes can join one network on it.
    """
    folder = (folder or open_node_home().root / "devnet").expanduser().resolve()
    with start_devnet(folder, port=port, engine=engine) as devnet:
        _announce(devnet, folder, as_json=as_json)
        try:
            status = devnet.wait()
        except KeyboardInterrupt:
            say("stopped; the chain is kept")
            return
    raise ChainError(f"the development chain ended by itself with status {status}")


def _announce(devnet: Devnet, folder: Path, *, as_json: bool) -> None:
    fields = {
        "url": devnet.url,
        "chain_id": devnet.chain_id,
        "genesis_hash": devnet.genesis_hash,
        "engine": devnet.engine,
        "bank": BANK,
        "folder": str(folder),
    }
    if as_json:
        emit_json("devnet", fields)
        return
    for label, value in fields.items():
        out_console.print(f"[dim]{label.replace('_', ' '):<13}[/] {plain(str(value))}")
    say("mining a block every second; Ctrl-C stops it")
