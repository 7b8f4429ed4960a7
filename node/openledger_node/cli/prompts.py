"""A yes before something that is not easily undone."""

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
    """Ask before something that is not easily undone.

    Raises:
        ConfigError: there is nobody to ask, and `--yes` was not given.
        Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"no terminal to ask at: {question} Say --yes")
    typer.confirm(question, abort=True, err=True)


# ---- Passwords of wallets: from a file, or from the person at the terminal; never from argv or the environment.

LENGTH_MIN = 8
PASSWORD_FILE_HELP = "A file whose one line is the password; without it you are asked."


def open_account(home: Home, network: str, name: str, password_file: Path | None) -> Key:
    """Open an account of a network; only those that the node can't open by itself take a password.

    Raises:
        KeyFileError: there is no such account, or its password is wrong or missing.
    """
    account = find_account(home.network_keys(network), name)
    if is_unattended(network, name):
        return unlock_unattended(account)
    return unlock(account, password_of(account.file, password_file))


def new_account_password(home: Home, network: str, name: str, password_file: Path | None) -> Password:
    """What a new account of a network is to be locked under.

    Raises:
        KeyFileError: the chosen password is too short, or there is nobody to choose one.
    """
    if is_unattended(network, name):
        return ensure_node_password(home.network_keys(network))
    return new_password(f"new password for {name}", password_file)


def password_of(file: Path, password_file: Path | None) -> Password:
    """The password that opens `file`.

    Raises:
        KeyFileError: the password file is not one, or there is nobody to ask.
    """
    if password_file:
        return read_password_file(password_file)
    return Password(text=_ask(f"password of {file}", is_new=False))


def new_password(question: str, password_file: Path | None) -> Password:
    """A password that its operator chooses; typed twice, since a slip of the finger would lock the key for good.

    Raises:
        KeyFileError: it is too short, or there is nobody to choose one.
    """
    chosen = read_password_file(password_file) if password_file else Password(text=_ask(question, is_new=True))
    if len(chosen.text) < LENGTH_MIN:
        raise KeyFileError(f"the password is too short: at least {LENGTH_MIN} characters")
    return chosen


def _ask(question: str, *, is_new: bool) -> str:
    if not sys.stdin.isatty():
        raise KeyFileError(f"no terminal to ask for the {question}: give --password-file FILE")
    answer: str = typer.prompt(question, hide_input=True, confirmation_prompt=is_new, err=True)
    return answer
