"""`wallet`: the accounts of this node, one key file each."""

from pathlib import Path
from typing import Annotated, Any

import typer

from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.primitives import Address

from ..errors import ChainError, InputError
from ..home import Home
from ..keystore import (
    AUTHORIZER,
    SIGNER,
    WALLET,
    Account,
    account_file,
    check_is_free,
    create_account,
    find_account,
    import_account,
    is_unattended,
    list_accounts,
    read_key,
    write_key_file,
)
from ..network_file import Network, current_network
from .chain import AccountBalances, balances_to_json, open_chain, read_balances
from .daemon_client import load_settings, open_node_home
from .prompts import (
    PASSWORD_FILE_HELP,
    new_account_password,
    new_password,
    open_account,
    password_of,
)
from .render import emit_json, out_console, plain, say, show_table
from .transactions import open_money
from .units import amount, rounded_amount

app = typer.Typer(help="The accounts of this node.", no_args_is_help=True)
REAL = "real"
"""Value of `--network`: all real networks, which share accounts."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name of the account.")]
PasswordFile = Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP)]
NetworkId = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NETWORK|real",
        help="Network of the account; by default the current one. `real` is all real networks, which share accounts.",
    ),
]

ROLES = {
    WALLET: ("node", "cold: identifies this node on the chain, holds its stake, pays and is paid"),
    SIGNER: ("signer", "hot: signs the node's receipts and sends its claims"),
    AUTHORIZER: ("authorizer", "hot: signs vouchers for what this node pays"),
}
OTHER_ROLE = ("other", "cold: used when a command names it")


@app.command()
def create(
    name: Name = WALLET, password_file: PasswordFile = None, network: NetworkId = None, as_json: Json = False
) -> None:
    """Create a key and lock it with your password; on a development network, with the node's own password."""
    home = open_node_home()
    network_id = _id_of(network_of_accounts(home, network))
    folder = home.network_keys(network_id)
    check_is_free(account_file(folder, name))
    account = create_account(folder, name, new_account_password(home, network_id, name, password_file))
    _tell(account, network_id, "created", as_json=as_json)


@app.command("import")
def import_key(
    key_file: Annotated[Path, typer.Option(help="File with a key: 64 hex digits, or a Web3 keystore V3 object.")],
    name: Name = WALLET,
    key_password_file: Annotated[
        Path | None, typer.Option(help="File that contains the password of KEY_FILE on one line.")
    ] = None,
    password_file: PasswordFile = None,
    network: NetworkId = None,
    as_json: Json = False,
) -> None:
    """Import a copy of a key that another program made; KEY_FILE is not changed."""
    home = open_node_home()
    network_id = _id_of(network_of_accounts(home, network))
    folder = home.network_keys(network_id)
    check_is_free(account_file(folder, name))
    key = read_key(key_file, lambda: password_of(key_file, key_password_file))
    account = import_account(folder, name, key, new_account_password(home, network_id, name, password_file))
    _tell(account, network_id, "imported", as_json=as_json)


@app.command()
def show(name: Name = WALLET, network: NetworkId = None, as_json: Json = False) -> None:
    """Show an account: address, file, role and, if the chain answers, balances."""
    home = open_node_home()
    joined = network_of_accounts(home, network)
    folder = home.network_keys(_id_of(joined))
    account = find_account(folder, name)
    others = [other for other in list_accounts(folder) if other.name != name]
    balances = _balances(joined, account.address)
    if as_json:
        fields = account_to_json(account, _id_of(joined), balances)
        named = [{"name": other.name, "address": other.address} for other in others]
        emit_json("wallet", {**fields, "others": named})
        return
    for label, value in _lines(account, joined, balances).items():
        out_console.print(f"[dim]{label:<10}[/] {plain(value)}")
    for other in others:
        out_console.print(f"[dim]{plain(other.name):<10}[/] {other.address}")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="File to write.")],
    name: Name = WALLET,
    password_file: PasswordFile = None,
    out_password_file: Annotated[
        Path | None, typer.Option(help="File that contains the new password of OUT on one line.")
    ] = None,
    network: NetworkId = None,
    as_json: Json = False,
) -> None:
    """Write a copy of a key with a new password, as a Web3 keystore V3 file that every wallet program reads."""
    home = open_node_home()
    network_id = _id_of(network_of_accounts(home, network))
    check_is_free(out)
    key = open_account(home, network_id, name, password_file)
    write_key_file(out, key, new_password(f"new password for {out}", out_password_file))
    if as_json:
        copy = Account(name=name, address=key.address, file=out)
        emit_json("wallet", {**account_to_json(copy, network_id, None), "has_own_password": True})
        return
    say(f"[bold]{plain(str(out))}[/] holds the key of {key.address}, as Web3 keystore V3")
    say("anyone with this file and its password controls the account; keep them apart")


@app.command()
def history(
    limit: Annotated[int, typer.Option(help="Number of transactions, newest first.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List the transactions that this node has sent or is about to send. It stores each one before it sends it."""
    with open_money() as money:
        found = money.ask("outbox", limit=limit)
    if as_json:
        emit_json("transactions", found)
        return
    rows = [_transaction_cells(each) for each in found["transactions"]]
    show_table(["when (UTC)", "state", "gas", "hash", "what"], rows, empty="no transaction yet")


def account_to_json(account: Account, network: str, balances: AccountBalances | None) -> dict[str, Any]:
    """Convert an account for `--json`."""
    return {
        "name": account.name,
        "address": account.address,
        "file": str(account.file),
        "network": network,
        "role": ROLES.get(account.name, OTHER_ROLE)[0],
        "has_own_password": not is_unattended(network, account.name),
        "balances": balances_to_json(balances) if balances else None,
    }


def _transaction_cells(found: dict[str, Any]) -> list[str]:
    raised = f", fee raised {found['times_raised']} times" if found["times_raised"] else ""
    return [
        (found["at"] or "not sent")[:19].replace("T", " "),
        found["state"] + raised,
        "" if found["fee_wei"] is None else rounded_amount(int(found["fee_wei"])),
        (found["hash"] or "")[:18],
        found["summary"],
    ]


def network_of_accounts(home: Home, chosen: str | None) -> Network | None:
    """Return the network whose accounts are meant; None for those of all real networks, which share them.

    Raises:
        InputError: `local` is meant, which is no network.
        ConfigError: the network is not known here.
    """
    if chosen == LOCAL_NETWORK:
        raise InputError("`local` is this machine alone, without accounts: `--network real` means all real networks")
    return current_network(home, LOCAL_NETWORK if chosen == REAL else chosen or load_settings(home).node.network)


def _id_of(network: Network | None) -> str:
    """Return the network's id, or `local`, which has the accounts of real networks, if there is no network yet."""
    return network.network if network else LOCAL_NETWORK


def _balances(network: Network | None, account: Address) -> AccountBalances | None:
    if network is None:
        return None
    try:
        with open_chain(network) as client:
            return read_balances(client, network, account)
    except ChainError as error:
        say(f"[yellow]no balances[/]: {plain(str(error))}")
        return None


def _lines(account: Account, network: Network | None, balances: AccountBalances | None) -> dict[str, str]:
    lines = {"wallet": account.name, "address": account.address, "role": ROLES.get(account.name, OTHER_ROLE)[1]}
    lines["file"] = str(account.file)
    lines["network"] = network.network if network else "none yet"
    if network and balances:
        lines["coins"] = amount(balances.coin_wei)
        lines[network.token.symbol] = amount(balances.token_wei, network.token.decimals)
    return lines


def _tell(account: Account, network: str, what: str, *, as_json: bool) -> None:
    if as_json:
        emit_json("wallet", account_to_json(account, network, None))
        return
    say(f"{what} {plain(account.name)} [bold]{account.address}[/] in {plain(str(account.file))}")
    if not is_unattended(network, account.name):
        say("keep a copy of this file and of its password; nobody can restore either")
