"""Signatures of statements by an account of this data directory, or by one in another wallet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.primitives import Address, check_address

from ..home import Home
from ..keystore import find_account, is_unattended, sign_typed_data, unlock, unlock_unattended
from ..network_file import Network
from .prompts import password_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSigner:
    """The account that signs, here or in another wallet."""

    address: Address
    name: str | None = None  # of an account of this data directory


def signer_of(home: Home, network: Network | None, wallet: str, address: str | None) -> StatementSigner:
    """Find the account that signs.

    Raises:
        NodeError: there is no account of this name.
        MalformedError: the address is none.
    """
    if address is not None:
        return StatementSigner(address=check_address(address))
    folder = home.network_keys(network.network) if network else home.keys
    return StatementSigner(address=find_account(folder, wallet).address, name=wallet)


def sign_with_account(
    home: Home,
    network: Network | None,
    signer: StatementSigner,
    password_file: Path | None,
    typed_data: dict[str, Any],
) -> str:
    """Sign a statement with an account of this data directory, as 0x-hex.

    Raises:
        KeyFileError: its key can't be unlocked.
    """
    folder = home.network_keys(network.network) if network else home.keys
    account = find_account(folder, str(signer.name))
    if network and is_unattended(network.network, account.name):
        key = unlock_unattended(account)
    else:
        key = unlock(account, password_of(account.file, password_file))
    return sign_typed_data(key, typed_data)
