"""A yes before something that is not easily undone."""

import sys

import typer

from ..errors import ConfigError


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
