"""`wallet keyring`: the password of a wallet in the OS keyring, so that commands do not ask for it."""

from pathlib import Path
from typing import Annotated

import typer

from openledger_protocol.constants import LOCAL_NETWORK

from ..errors import InputError, KeyFileError
from ..home import Home
from ..keystore import WALLET, Account, check_has_key, find_account, is_unattended, unlock
from ..network_file import Network, current_network
from .daemon_client import load_settings, open_node_home
from .prompts import PASSWORD_FILE_HELP, password_of
from .render import emit_json, plain, say
from .stored_passwords import forget as forget_password
from .stored_passwords import store as store_password

app = typer.Typer(help="The password of a wallet in the OS keyring.", no_args_is_help=True)
REAL = "real"
"""Value of `--network`: all real networks, which share accounts."""

Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name of the account.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
NetworkId = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NETWORK|real",
        help="Network of the account; by default the current one. `real` is all real networks, which share accounts.",
    ),
]


@app.command()
def store(
    name: Name = WALLET,
    password_file: Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP)] = None,
    network: NetworkId = None,
    as_json: Json = False,
) -> None:
    """Store the password of an account in the OS keyring. Commands then read it there instead of asking."""
    account = _account(open_node_home(), name, network)
    password = password_of(account.file, password_file)
    unlock(account, password)
    store_password(account, password)
    _tell(account, is_stored=True, as_json=as_json)


@app.command()
def forget(name: Name = WALLET, network: NetworkId = None, as_json: Json = False) -> None:
    """Remove the password of an account from the OS keyring. The key file stays, and commands ask again."""
    account = _account(open_node_home(), name, network)
    forget_password(account)
    _tell(account, is_stored=False, as_json=as_json)


def network_of_accounts(home: Home, chosen: str | None) -> Network | None:
    """Return the network whose accounts are meant; None for those of all real networks, which share them.

    Raises:
        InputError: `local` is meant, which is no network.
        ConfigError: the network is not known here.
    """
    if chosen == LOCAL_NETWORK:
        raise InputError("`local` is this machine alone, without accounts: `--network real` means all real networks")
    return current_network(home, LOCAL_NETWORK if chosen == REAL else chosen or load_settings(home).node.network)


def _account(home: Home, name: str, chosen: str | None) -> Account:
    """Find an account that a person's password locks.

    Raises:
        KeyFileError: there is no such account, its key is elsewhere, or the node opens it by itself.
    """
    joined = network_of_accounts(home, chosen)
    network_id = joined.network if joined else LOCAL_NETWORK
    account = find_account(home.network_keys(network_id), name)
    check_has_key(account)
    if is_unattended(network_id, name):
        raise KeyFileError(
            f"the node opens {name} with its own password, so nobody is asked for one; "
            "for an account of real networks, add --network real"
        )
    return account


def _tell(account: Account, *, is_stored: bool, as_json: bool) -> None:
    if as_json:
        emit_json("keyring", {"name": account.name, "address": account.address, "is_stored": is_stored})
        return
    what = "stored in" if is_stored else "removed from"
    say(f"the password of {plain(account.name)} {account.address} is {what} the OS keyring")
