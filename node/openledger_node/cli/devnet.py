"""`devnet`: a development chain on this machine."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..chain.dev.constants import BANK
from ..chain.dev.launch import Devnet, start_devnet
from ..errors import ChainError, ConfigError
from ..keystore import find_wallet
from ..network_file import current_network
from .chain import open_chain
from .daemon_client import load_settings, open_node_home
from .render import emit_json, out_console, plain, say
from .units import address_of, amount, wei_of

app = typer.Typer(help="A development chain on this machine; its coins are worth nothing.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object once the chain answers.")]
DEFAULT_PORT = 8545


@app.command()
def start(
    port: Annotated[int, typer.Option(help="TCP port; 0 takes any free port.", min=0, max=65_535)] = DEFAULT_PORT,
    engine: Annotated[
        Literal["auto", "embedded", "anvil"],
        typer.Option(help="Program that runs the chain; auto takes the one that created it."),
    ] = "auto",
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the chain; by default `devnet` in the data directory."),
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


@app.command()
def fund(
    account: Annotated[
        str | None,
        typer.Argument(metavar="ADDRESS", help="Address; by default this node's wallet."),
    ] = None,
    tokens: Annotated[
        str, typer.Option("--open", metavar="AMOUNT", help="OPEN to send, which are also votes.")
    ] = "1000",
    coins: Annotated[str, typer.Option(metavar="AMOUNT", help="Coins to send, for gas.")] = "1",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send OPEN and coins to an account from the bank of a development network, which has all of them at first."""
    from ..chain.dev.faucet import fund as send  # imports the call encoder, a third of a second

    open_wei, coin_wei = int(wei_of(tokens)), int(wei_of(coins))
    given = address_of(account) if account else None
    home = open_node_home()
    network = current_network(home, load_settings(home).node.network)
    if network is None:
        raise ConfigError("no network yet: `openledger-node start` creates a development network")
    to = given or find_wallet(home, network.network)
    if to is None:
        raise ConfigError("this node has no wallet yet: `openledger-node start` creates one, or name an account")
    with open_chain(network) as client:
        send(client, network, to, coin_wei=coin_wei, open_wei=open_wei)
    if as_json:
        emit_json("funded", {"account": to, "open_wei": str(open_wei), "coin_wei": str(coin_wei)})
        return
    say(f"{to} got {amount(open_wei)} OPEN and {amount(coin_wei)} coins, which are worth nothing")


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
