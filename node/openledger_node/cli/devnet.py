"""`devnet`: a development chain of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from ..chain.dev.constants import BANK
from ..chain.dev.launch import Devnet, start_devnet
from ..errors import ChainError
from .daemon_client import open_node_home
from .render import emit_json, out_console, plain, say

app = typer.Typer(help="A development chain on this machine: its coins are worth nothing.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object once it answers.")]
DEFAULT_PORT = 8545


@app.command()
def start(
    port: Annotated[int, typer.Option(help="TCP port; 0: any.", min=0, max=65_535)] = DEFAULT_PORT,
    engine: Annotated[str, typer.Option(help="auto, embedded or anvil; auto: what began this chain.")] = "auto",
    folder: Annotated[
        Path | None, typer.Option(help="Where the chain lies; `devnet` in the home if not given.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a development chain in the foreground until Ctrl-C; the next start goes on where it ended.

    It mines each second. Several nodes may join one network on it.
    """
    folder = (folder or open_node_home().root / "devnet").expanduser().resolve()
    with start_devnet(folder, port=port, engine=engine) as devnet:
        _announce(devnet, folder, as_json=as_json)
        try:
            status = devnet.wait()
        except KeyboardInterrupt:
            say("stopped: the chain is kept")
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
    say("mining each second; Ctrl-C ends it")
