"""Passwords of wallets in the OS keyring: Keychain, Secret Service or KWallet, by the optional library `keyring`."""

from importlib import import_module
from types import ModuleType
from typing import Final

from ..errors import KeyFileError
from ..keystore import Account, Password

SERVICE: Final = "openledger-node"
"""The name of the entries; each belongs to the address of an account, so a new key never gets an old password."""

SAYS_MAX: Final = 200


def find_stored(account: Account) -> Password | None:
    """Return the stored password of an account; None if there is none, or no keyring that can be read."""
    try:
        text: str | None = _library().get_password(SERVICE, account.address)
    except ImportError:
        return None
    except _refusals():
        return None
    return Password(text=text) if text else None


def store(account: Account, password: Password) -> None:
    """Store the password of an account, and read it back.

    Raises:
        KeyFileError: the library is not installed, or this machine has no keyring that keeps it.
    """
    keyring = _wanted_library()
    try:
        keyring.set_password(SERVICE, account.address, password.text)
    except _refusals() as error:
        raise _no_keyring(str(error)) from error
    if find_stored(account) != password:
        raise _no_keyring("it does not return what was stored")


def forget(account: Account) -> None:
    """Remove the stored password of an account.

    Raises:
        KeyFileError: none is stored, or it can't be removed.
    """
    keyring = _wanted_library()
    try:
        if keyring.get_password(SERVICE, account.address) is None:
            raise KeyFileError(f"the OS keyring has no password of {account.name}, {account.address}")
        keyring.delete_password(SERVICE, account.address)
    except _refusals() as error:
        raise _no_keyring(str(error)) from error


def _library() -> ModuleType:
    return import_module("keyring")


def _wanted_library() -> ModuleType:
    try:
        return _library()
    except ImportError as error:
        raise KeyFileError(
            "the OS keyring needs the library keyring, which is not installed: "
            '`pip install "openledger-node[keyring]"`'
        ) from error


def _refusals() -> tuple[type[Exception], ...]:
    """The errors of a keyring that is absent, locked or broken; backends also raise those of the system."""
    return import_module("keyring.errors").KeyringError, OSError, RuntimeError


def _no_keyring(why: str) -> KeyFileError:
    return KeyFileError(
        f"this machine's keyring can't be used ({why[:SAYS_MAX]}): unlock it, or give --password-file FILE"
    )
