"""Key files in Web3 keystore V3 format, one account per file, readable by their owner only.

The node's `signer` and the payer's `authorizer` are hot: their password is stored beside them, so that a daemon can
start unattended. A `wallet` is cold: on a real network, only its operator can open it.
"""

import json
import re
import secrets
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Address, check_address, check_name
from openledger_protocol.signatures import address_of

from .errors import KeyFileError
from .home import Home, is_development, write_private
from .keystore_v3 import check_keystore, excess_cost, weak_point

if TYPE_CHECKING:
    from eth_account import Account as EthAccount

WALLET, SIGNER, AUTHORIZER = "wallet", "signer", "authorizer"
HOT_NAMES = (SIGNER, AUTHORIZER)
PASSWORD_FILE = "node.password"

SCRYPT_CHOSEN, SCRYPT_DRAWN = 2**18, 2**12
"""Cost of one guess. It takes a second if a person chose the password. A drawn password has 256 random bits, which
nobody can guess at any speed, so its cost only has to be one that every wallet program accepts."""

PASSWORD_BYTES = 32
FILE_BYTES_MAX = 64 * 1024
_HEX_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A locked key file."""

    name: str
    address: Address
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that can sign."""

    address: Address
    private_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """A password of a key file; `is_drawn` if this program drew it at random."""

    text: str = field(repr=False)
    is_drawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HotKeys:
    """Keys that a daemon signs with unattended."""

    signer: Key
    authorizer: Key


def ensure_hot_keys(home: Home, network: str) -> HotKeys:
    """Open signer and authorizer; the first call creates them.

    Raises:
        KeyFileError: one of them can't be opened; an existing key is never replaced.
    """
    folder = home.network_keys(network)
    return HotKeys(signer=ensure_key(folder, SIGNER), authorizer=ensure_key(folder, AUTHORIZER))


def ensure_development_wallet(home: Home, network: str) -> Key:
    """Open the throwaway wallet of a development network; the first call creates it.

    Raises:
        KeyFileError: the wallet can't be opened.
    """
    assert is_development(network), "only the operator creates a real wallet"
    return ensure_key(home.network_keys(network), WALLET)


def ensure_key(folder: Path, name: str) -> Key:
    """Open the account of that name with the node's own password; the first call creates it.

    Raises:
        KeyFileError: the account can't be opened.
    """
    file = account_file(folder, name)
    if not file.exists():
        try:
            create_account(folder, name, ensure_node_password(folder))
        except KeyFileError:
            if not file.exists():  # otherwise another process was first, and its key counts
                raise
    return unlock_unattended(_read_account(file))


def is_unattended(network: str, name: str) -> bool:
    """Return True if the node's own password locks the account, so that nobody has to type one."""
    return name in HOT_NAMES or is_development(network)


def list_accounts(folder: Path) -> list[Account]:
    """List the accounts in a folder by name.

    Raises:
        KeyFileError: one of the files is not a key file.
    """
    return [_read_account(file) for file in sorted(folder.glob("*.json"))]


def find_account(folder: Path, name: str) -> Account:
    """Find the account of that name.

    Raises:
        KeyFileError: there is no such account, or its file is damaged.
    """
    file = account_file(folder, name)
    if not file.exists():
        raise KeyFileError(f"there is no {name} in {folder}: create it with `openledger-node wallet create {name}`")
    return _read_account(file)


def find_wallet(home: Home, network: str) -> Address | None:
    """Find the address of the wallet on a network, which takes no password; None if there is no wallet yet.

    Raises:
        KeyFileError: its file is damaged.
    """
    file = account_file(home.network_keys(network), WALLET)
    return _read_account(file).address if file.exists() else None


def account_file(folder: Path, name: str) -> Path:
    """Return the path of the account of that name, which need not exist.

    Raises:
        KeyFileError: the name is not valid.
    """
    try:
        return folder / f"{check_name(name)}.json"
    except MalformedError as error:
        raise KeyFileError(str(error)) from error


def check_is_free(file: Path) -> None:
    """Refuse a name that is taken.

    Raises:
        KeyFileError: a key file of that name exists, and keys are never overwritten.
    """
    if file.exists():
        raise KeyFileError(f"{file} exists already, and keys are never overwritten: choose another name")


def create_account(folder: Path, name: str, password: Password) -> Account:
    """Create an account with a new key.

    Raises:
        KeyFileError: the name is taken.
    """
    return import_account(folder, name, key_from_private(secrets.token_bytes(32)), password)


def import_account(folder: Path, name: str, key: Key, password: Password) -> Account:
    """Store a key under a name.

    Raises:
        KeyFileError: the name is taken.
    """
    file = account_file(folder, name)
    write_key_file(file, key, password)
    return Account(name=name, address=key.address, file=file)


def unlock(account: Account, password: Password) -> Key:
    """Open a key file.

    Raises:
        KeyFileError: the password is wrong, the file is damaged, others can read it.
    """
    key = _decrypt(account.file, _read_keystore(account.file), password)
    if key.address != account.address:
        raise KeyFileError(
            f"{account.file} is damaged: it names {account.address} and holds the key of {key.address}"
        )
    return key


def unlock_unattended(account: Account) -> Key:
    """Open a key file with the node's own password.

    Raises:
        KeyFileError: as in `unlock`, or the node's password is missing.
    """
    return unlock(account, _read_node_password(account.file.parent))


def ensure_node_password(folder: Path) -> Password:
    """Read the node's own password in this folder; the first call draws it.

    Raises:
        KeyFileError: others can read the file, or it is empty.
    """
    file = folder / PASSWORD_FILE
    with suppress(FileExistsError):
        if not file.exists():
            write_private(file, secrets.token_hex(PASSWORD_BYTES) + "\n", is_new=True)
    return _read_node_password(folder)


def read_password_file(file: Path) -> Password:
    """Read an operator's password file: its one line without the line end.

    Raises:
        KeyFileError: the file can't be read, others can read it, or it is not one line.
    """
    text = _read_secret(file).removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text:
        raise KeyFileError(f"{file} must contain the password on one line, and nothing else")
    return Password(text=text)


def read_key(file: Path, ask_password: Callable[[], Password]) -> Key:
    """Read a key from a file of another program: hex digits, or a keystore V3 file with its own password.

    Raises:
        KeyFileError: the file is neither, it is weakly locked, others can read it, or the password is wrong.
    """
    text = _read_secret(file).strip()
    if match := _HEX_KEY.fullmatch(text):
        return key_from_private(bytes.fromhex(match[1]))
    if not text.startswith("{"):
        raise KeyFileError(f"{file} is not a key: it must contain 64 hex digits or a Web3 keystore V3 object")
    content = _keystore_from_text(file, text)
    if weak := weak_point(content):
        raise KeyFileError(
            f"{file} is locked by {weak}, so whoever has a copy of it can guess its password quickly. Export the key "
            "again from its wallet program with that program's usual strength and import that file. If others may "
            "have a copy of this one, make a new key by `openledger-node wallet create` and move your funds to it"
        )
    return _decrypt(file, content, ask_password())


def write_key_file(file: Path, key: Key, password: Password) -> None:
    """Write a key as a keystore V3 file, locked with `password`.

    Raises:
        KeyFileError: the file exists already; keys are never overwritten.
    """
    check_is_free(file)
    cost = SCRYPT_DRAWN if password.is_drawn else SCRYPT_CHOSEN
    content = eth_account().encrypt(key.private_key, password.text, kdf="scrypt", iterations=cost)
    try:
        write_private(file, json.dumps(content, indent=2) + "\n", is_new=True)
    except FileExistsError:  # created while this key was being encrypted
        check_is_free(file)
        raise


def key_from_private(private_key: bytes) -> Key:
    """Make a key from 32 secret bytes.

    Raises:
        KeyFileError: the bytes are not a key of the curve.
    """
    try:
        return Key(address=address_of(private_key), private_key=private_key)
    except MalformedError as error:
        raise KeyFileError(f"these digits are not a key: {error}") from error


def sign_typed_data(key: Key, typed_data: dict[str, Any]) -> str:
    """Sign a statement in the form of `eth_signTypedData_v4` as 0x-hex, as any wallet program does.

    Source: EIP-712.
    """
    signed = eth_account().sign_typed_data(key.private_key, full_message=typed_data)
    return f"0x{signed.signature.hex()}"


def eth_account() -> "type[EthAccount]":
    """Import eth-account, which takes a second, so that only commands that open, lock or use a key pay for it."""
    is_first, frames_max = "py_ecc" not in sys.modules, sys.getrecursionlimit()
    from eth_account import Account as EthAccount

    if is_first:
        # NOTE: py_ecc sets a limit of 100,000 frames for the whole process, which foreign JSON could use to crash it.
        sys.setrecursionlimit(frames_max)
    return EthAccount


def check_is_private(file: Path) -> None:
    """Refuse a file that others can read.

    Raises:
        KeyFileError: the file mode lets others in; the message has the command that fixes it.
    """
    mode = file.stat().st_mode
    if stat.S_ISREG(mode) and mode & 0o077:
        raise KeyFileError(f"{file} can be read by others: run `chmod 600 {file}`")


def _read_node_password(folder: Path) -> Password:
    file = folder / PASSWORD_FILE
    if not file.exists():
        raise KeyFileError(
            f"{file} is missing, and the keys beside it can't be opened without it: restore it from a backup, "
            "or move those key files away, and the next start creates new ones"
        )
    text = _read_secret(file).strip()
    if not text:
        raise KeyFileError(f"{file} is empty: restore it from a backup")
    return Password(text=text, is_drawn=True)


def _read_account(file: Path) -> Account:
    content = _keystore_from_text(file, _read_secret(file))
    try:
        digits = str(content.get("address")).removeprefix("0x").lower()
        return Account(name=file.stem, address=check_address("0x" + digits), file=file)
    except MalformedError as error:
        raise _damaged(file, "it names no address") from error


def _read_keystore(file: Path) -> dict[str, Any]:
    return _keystore_from_text(file, _read_secret(file))


def _keystore_from_text(file: Path, text: str) -> dict[str, Any]:
    try:
        content = check_keystore(_object_from_text(file, text))
    except MalformedError as error:
        raise _damaged(file, str(error)) from error
    if excess := excess_cost(content):
        raise KeyFileError(
            f"{file} asks for {excess}, more than wallet programs ask for, so it was not opened. Export the key "
            "again from its wallet program with that program's usual strength, or restore the file from a backup"
        )
    return content


def _object_from_text(file: Path, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, "it is not JSON") from error
    return content if isinstance(content, dict) else {}


def _decrypt(file: Path, content: dict[str, Any], password: Password) -> Key:
    try:
        private_key = bytes(eth_account().decrypt(content, password.text))
    except ValueError as error:
        whose = f"the password in {file.parent / PASSWORD_FILE}" if password.is_drawn else "the password"
        raise KeyFileError(f"{whose} does not open {file}") from error
    return key_from_private(private_key)


def _read_secret(file: Path) -> str:
    try:
        check_is_private(file)
        with file.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read {file}: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise KeyFileError(f"{file} is too long for a key file")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _damaged(file, "it is not text") from error


def _damaged(file: Path, why: str) -> KeyFileError:
    return KeyFileError(f"{file} is damaged: {why}; restore it from a backup")
