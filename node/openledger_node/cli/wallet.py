"""`wallet`: the accounts of this node, each a key file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.primitives import Address

from ..errors import ChainError
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
from .prompts import PASSWORD_FILE_HELP, new_account_password, new_password, open_account, password_of
from .render import emit_json, out_console, plain, say, show_table
from .transactions import open_money
from .units import amount

app = typer.Typer(help="The accounts of this node.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Name = Annotated[str, typer.Argument(help="Which account.")]
PasswordFile = Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP, show_default=False)]
NetworkId = Annotated[
    str | None,
    typer.Option("--network", help="Whose accounts, in place of the current network's; local: all real ones'."),
]

ROLES = {
    WALLET: ("node", "cold: this node's name on the chain; holds its stake, pays, is paid"),
    SIGNER: ("signer", "hot: signs the node's receipts, sends its claims"),
    AUTHORIZER: ("authorizer", "hot: signs vouchers for what this node pays"),
}
OTHER_ROLE = ("other", "cold: used where a verb is given its name")


@app.command()
def create(
    name: Name = WALLET, password_file: PasswordFile = None, network: NetworkId = None, as_json: Json = False
) -> None:
    """Draw a new key and lock it in a file, under a password of yours; on a development network under the node's."""
    home = open_node_home()
    network_id = _id_of(_network(home, network))
    folder = home.network_keys(network_id)
    check_is_free(account_file(folder, name))
    account = create_account(folder, name, new_account_password(home, network_id, name, password_file))
    _tell(account, network_id, "is made", as_json=as_json)


@app.command("import")
def import_key(
    key_file: Annotated[Path, typer.Option(help="A key: 64 hex digits, or a Web3 keystore V3 object.")],
    name: Name = WALLET,
    key_password_file: Annotated[
        Path | None, typer.Option(help="The same for the password of KEY_FILE.", show_default=False)
    ] = None,
    password_file: PasswordFile = None,
    network: NetworkId = None,
    as_json: Json = False,
) -> None:
    """Keep a copy of a key that another program made; KEY_FILE stays as it is."""
    home = open_node_home()
    network_id = _id_of(_network(home, network))
    folder = home.network_keys(network_id)
    check_is_free(account_file(folder, name))
    key = read_key(key_file, lambda: password_of(key_file, key_password_file))
    account = import_account(folder, name, key, new_account_password(home, network_id, name, password_file))
    _tell(account, network_id, "is imported", as_json=as_json)


@app.command()
def show(name: Name = WALLET, network: NetworkId = None, as_json: Json = False) -> None:
    """Show an account: its address, its file, what it is for, and what it has if the chain answers."""
    home = open_node_home()
    joined = _network(home, network)
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
    out: Annotated[Path, typer.Option(help="The file to write.")],
    name: Name = WALLET,
    password_file: PasswordFile = None,
    out_password_file: Annotated[
        Path | None, typer.Option(help="The same for the new password of OUT.", show_default=False)
    ] = None,
    network: NetworkId = None,
    as_json: Json = False,
) -> None:
    """Write a copy of a key under a new password, as a Web3 keystore V3 file, which every wallet program reads."""
    home = open_node_home()
    network_id = _id_of(_network(home, network))
    check_is_free(out)
    key = open_account(home, network_id, name, password_file)
    write_key_file(out, key, new_password(f"new password for {out}", out_password_file))
    if as_json:
        copy = Account(name=name, address=key.address, file=out)
        emit_json("wallet", {**account_to_json(copy, network_id, None), "has_own_password": True})
        return
    say(f"[bold]{plain(str(out))}[/] holds the key of {key.address}, as Web3 keystore V3")
    say("who has this file and its password has the account: keep them apart")


@app.command()
def history(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 50, as_json: Json = False
) -> None:
    """List what this node has sent to the chain, or wants to: each is written down here before it is sent."""
    with open_money() as money:
        found = money.ask("outbox", limit=limit)
    if as_json:
        emit_json("transactions", found)
        return
    rows = [_transaction_cells(each) for each in found["transactions"]]
    show_table(["when (UTC)", "what", "state", "gas", "hash"], rows, empty="nothing was sent yet")


def account_to_json(account: Account, network: str, balances: AccountBalances | None) -> dict[str, Any]:
    """What `--json` prints of an account."""
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
        found["summary"],
        found["state"] + raised,
        "" if found["fee_wei"] is None else amount(int(found["fee_wei"])),
        (found["hash"] or "")[:18],
    ]


def _network(home: Home, chosen: str | None) -> Network | None:
    return current_network(home, chosen or load_settings(home).node.network)


def _id_of(network: Network | None) -> str:
    """Where no network is joined or made yet, accounts are those of real ones."""
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
    say(f"{plain(account.name)} [bold]{account.address}[/] {what}: {plain(str(account.file))}")
    if not is_unattended(network, account.name):
        say("keep a copy of this file and of its password: nobody can restore either")
