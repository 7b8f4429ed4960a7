"""Questions at the terminal: confirmations and passwords."""

import sys
from pathlib import Path

import typer

from ..errors import ConfigError, KeyFileError
from ..home import Home
from ..keystore import (
    Key,
    Password,
    ensure_node_password,
    find_account,
    is_unattended,
    read_password_file,
    unlock,
    unlock_unattended,
)


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation of something that is hard to undo.

    Raises:
        ConfigError: there is no terminal, and `--yes` was not given.
        Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"no terminal to ask at: {question} Give --yes to confirm")
    typer.confirm(question, abort=True, err=True)


# ---- Passwords of wallets come from a file or the terminal, never from argv or the environment.

LENGTH_MIN = 8
PASSWORD_FILE_HELP = "File that contains the password on one line; by default you are asked."


def open_account(home: Home, network: str, name: str, password_file: Path | None) -> Key:
    """Open an account of a network; ask for a password only if the node can't open the account by itself.

    Raises:
        KeyFileError: there is no such account, or its password is wrong or missing.
    """
    account = find_account(home.network_keys(network), name)
    if is_unattended(network, name):
        return unlock_unattended(account)
    return unlock(account, password_of(account.file, password_file))


def new_account_password(home: Home, network: str, name: str, password_file: Path | None) -> Password:
    """Choose the password that locks a new account of a network.

    Raises:
        KeyFileError: the chosen password is too short, or there is no terminal to ask at.
    """
    if is_unattended(network, name):
        return ensure_node_password(home.network_keys(network))
    return new_password(f"new password for {name}", password_file)


def password_of(file: Path, password_file: Path | None) -> Password:
    """Read or ask for the password that opens `file`.

    Raises:
        KeyFileError: the password file can't be used, or there is no terminal to ask at.
    """
    if password_file:
        return read_password_file(password_file)
    return Password(text=_ask(f"password of {file}", is_new=False))


def new_password(question: str, password_file: Path | None) -> Password:
    """Read or ask for a new password; it is typed twice, because a typing error would lock the key for good.

    Raises:
        KeyFileError: the password is too short, or there is no terminal to ask at.
    """
    chosen = read_password_file(password_file) if password_file else Password(text=_ask(question, is_new=True))
    if len(chosen.text) < LENGTH_MIN:
        raise KeyFileError(f"the password is too short: use at least {LENGTH_MIN} characters")
    return chosen


def _ask(question: str, *, is_new: bool) -> str:
    if not sys.stdin.isatty():
        raise KeyFileError(f"no terminal to ask for the {question}: give --password-file FILE")
    answer: str = typer.prompt(question, hide_input=True, confirmation_prompt=is_new, err=True)
    return answer
