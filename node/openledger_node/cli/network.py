"""`network`: the chain and the contracts that this node uses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import httpx
import typer

from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.epoch import Windows

from ..chain.client import ChainClient
from ..chain.dev.constants import BANK, BANK_KEY, DEVELOPMENT_WINDOWS
from ..chain.identity import check_identity, genesis_hash, is_development_chain
from ..errors import ChainError, ConfigError, NetworkError
from ..home import Home, is_claimed
from ..keystore import WALLET, Key
from ..network_file import (
    CONTRACTS,
    FILE_BYTES_MAX,
    NETWORK_SCHEMA,
    Network,
    current_network,
    is_embedded,
    join_network,
    network_from_json,
    network_id_for_development,
    network_to_json,
    read_network,
    write_network,
)
from ..text import counted
from .chain import open_chain, open_endpoint
from .daemon_client import load_settings, open_node_home
from .prompts import STORED_PASSWORD_HELP, confirm, open_account
from .render import emit_json, out_console, plain, say
from .transactions import open_money
from .units import amount

app = typer.Typer(help="The chain and the contracts that this node uses.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

FETCH_TIMEOUT_S = 20.0
DAY_S = 86_400

REAL_WINDOWS = Windows(
    epoch_s=DAY_S,
    propose_s=3 * DAY_S,
    window_s=3_600,
    redraw_blocks=256,
    contest_s=2 * DAY_S,
    judge_s=14 * DAY_S,
    pause_max_s=7 * DAY_S,
    pause_gap_s=30 * DAY_S,
    unbonding_s=16 * DAY_S,
    withdraw_delay_min_s=DAY_S,
    withdraw_delay_max_s=30 * DAY_S,
    withdraw_period_s=7 * DAY_S,
)
"""Periods of a network for real money: long enough for people to notice a problem and to react."""


@app.command()
def init(
    rpc: Annotated[list[str], typer.Option(help="JSON-RPC endpoint of the chain; can be given more than once.")],
    out: Annotated[Path, typer.Option(help="The network.json to write.")],
    key: Annotated[
        str | None,
        typer.Option(help="Account that deploys; not needed on a development chain.", show_default=False),
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help=STORED_PASSWORD_HELP, show_default=False)] = None,
    name: Annotated[
        str | None, typer.Option(help="Id of the network; development networks choose their own.", show_default=False)
    ] = None,
    bootstrap: Annotated[
        list[str] | None, typer.Option(help="Address of a bootstrap node, /ip4/…/p2p/…; can be given more than once.")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Deploy the contracts on a chain, and write the network.json that nodes join with."""
    if out.exists():
        raise ConfigError(f"{out} exists already, and a network is never overwritten: name another file")
    with open_endpoint(rpc[0]) as client:
        is_development = is_development_chain(client)
        network = _plan(
            client, rpc, bootstrap or [], None if is_development else name or f"openledger-{client.chain_id()}"
        )
        deployer = _deployer(key, password_file, is_development=is_development)
        _announce(client, network, deployer)
        confirm(f"deploy {network.network}?", yes=yes or deployer.address == BANK)
        network = _deploy(client, network, deployer)
        check_identity(client, network)
    write_network(out, network)
    if as_json:
        emit_json("network", network_to_json(network))
        return
    say(f"[bold]{plain(network.network)}[/] is deployed; join it: `openledger-node network join {plain(str(out))}`")


@app.command()
def join(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="A network.json.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Check a network.json against its chain, and make it this node's network."""
    home = open_node_home()
    network = fetch_network(source)
    if not as_json:
        _show(network)
    confirm(f"join {network.network}?", yes=yes)
    join_network(home, network)
    if as_json:
        emit_json("network", network_to_json(network))
        return
    say(f"this node joins [bold]{plain(network.network)}[/] at its next start")
    _warn_of_setting(home, network)


def fetch_network(source: str) -> Network:
    """Read a network.json from a file or a URL, and check it against its chain.

    Raises:
        ConfigError: the content is not a network.json.
        ChainError: the chain does not answer, or is a different chain.
    """
    network = _fetch(source) if source.startswith(("http://", "https://")) else read_network(Path(source))
    with open_chain(network) as client:
        check_identity(client, network)
    return network


@app.command()
def show(as_json: Json = False) -> None:
    """Show this node's network. With --json, print the network.json that others can join with."""
    home = open_node_home()
    choice = load_settings(home).node.network
    network = current_network(home, choice)
    if network is None:
        raise ConfigError(
            "no network yet: `openledger-node start` creates a development network, "
            "`openledger-node network join FILE` joins another one"
            if is_embedded(home, choice)
            else f"[node] network is {choice!r}: this node serves only this machine"
        )
    if as_json:
        emit_json("network", network_to_json(network))
        return
    _show(network)


@app.command()
def rescan(yes: Yes = False, as_json: Json = False) -> None:
    """Read the chain again after a halt, and let money move again. Do this only if you trust the endpoint.

    An honest chain does not take back more than 64 blocks, so compare this one with a second endpoint first.
    """
    confirm("do two endpoints agree on this chain?", yes=yes)
    with open_money() as money:
        found = money.ask("rescan")
    if as_json:
        emit_json("chain", found)
        return
    say(f"{plain(found['network'])} at block {found['block']}: {found['health']}")


@app.command()
def forgive(
    kind: Annotated[str, typer.Argument(help="Kind of transaction, as the alert names it: claim, finalize, …")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send a kind of transaction again that was stopped after three of them had cost gas and failed.

    Each may fail and cost its gas again, so look first at why they failed: `openledger-node wallet history`.
    """
    confirm(f"send {kind} transactions again, though three have failed?", yes=yes)
    with open_money() as money:
        found = money.ask("forgive", kind=kind)
    if as_json:
        emit_json("forgiven", found)
        return
    say(f"{counted(found['num_forgiven'], 'failure')} of {plain(kind)} forgiven: such transactions are sent again")
    for alert in found["alerts"]:
        say(plain(alert))


def _plan(client: ChainClient, rpc: list[str], bootstrap: list[str], name: str | None) -> Network:
    """Check what was typed before anything is paid; the contracts have placeholder addresses."""
    genesis = genesis_hash(client)
    fields = {
        "schema": NETWORK_SCHEMA,
        "network": name or network_id_for_development(genesis),
        "chain_id": client.chain_id(),
        "rpc": rpc,
        "genesis_hash": genesis,
        "deploy_block": 0,
        "contracts": {contract: f"0x{number:040x}" for number, contract in enumerate(CONTRACTS)},
        "bootstrap": bootstrap,
        "token": {"symbol": "OPEN", "decimals": 18},
    }
    return network_from_json(json.dumps(fields), source="the network to deploy")


def _deployer(name: str | None, password_file: Path | None, *, is_development: bool) -> Key:
    if name is None and is_development:
        return Key(address=BANK, private_key=BANK_KEY)
    return open_account(open_node_home(), LOCAL_NETWORK, name or WALLET, password_file)


def _announce(client: ChainClient, network: Network, deployer: Key) -> None:
    """Print what a deployment does and costs.

    Raises:
        ChainError: the account can't pay for it.
    """
    from ..chain.dev.deploy import CREATION_GAS, WIRING_GAS  # imports the call encoder, a third of a second

    fees = client.fees()
    gas_most = len(CONTRACTS) * CREATION_GAS + 2 * WIRING_GAS
    cost_most_wei = gas_most * (2 * fees.base_wei + fees.tip_wei)
    has_wei = client.coin_balance(deployer.address)
    say(f"deploys {len(CONTRACTS)} contracts on chain {network.chain_id} from {deployer.address};")
    say("this account then has all OPEN, sets the parameters and gets the protocol's share")
    say(f"gas: at most {amount(cost_most_wei)} coins")
    if has_wei < cost_most_wei:
        raise ChainError(
            f"{deployer.address} has {amount(has_wei)} coins: send it {amount(cost_most_wei - has_wei)} more"
        )


def _deploy(client: ChainClient, network: Network, deployer: Key) -> Network:
    from ..chain.dev.deploy import deploy_network  # as above

    windows = DEVELOPMENT_WINDOWS if network.is_development else REAL_WINDOWS
    contracts, deploy_block = deploy_network(client, deployer.private_key, windows=windows)
    return replace(network, contracts=contracts, deploy_block=deploy_block)


def _fetch(url: str) -> Network:
    """Download a network.json; the caller checks it against the chain."""
    content = b""
    try:
        with httpx.stream("GET", url, timeout=FETCH_TIMEOUT_S, follow_redirects=True) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > FILE_BYTES_MAX:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NetworkError(f"cannot fetch {url}: {error}") from error
    return network_from_json(content, source=url)


def _show(network: Network) -> None:
    kind = "development: coins are worth nothing, keys are throwaway" if network.is_development else "real"
    facts = {
        "network": f"{network.network} ({kind})",
        "chain": f"{network.chain_id}, begins with block {network.genesis_hash[:18]}…",
        "endpoints": ", ".join(network.rpc),
        "token": network.token.symbol,
        "peers": ", ".join(network.bootstrap) or "none named",
        "since": f"block {network.deploy_block}",
        **network.contracts,
    }
    for label, value in facts.items():
        out_console.print(f"[dim]{plain(label):<18}[/] {plain(value)}")


def _warn_of_setting(home: Home, network: Network) -> None:
    choice = load_settings(home).node.network
    if choice not in ("auto", network.network):
        say(f"[yellow]but[/] \\[node] network is {plain(choice)}: set it to auto, or to {plain(network.network)}")
    if is_claimed(home):
        say("a daemon is running; stop it and start it again")
