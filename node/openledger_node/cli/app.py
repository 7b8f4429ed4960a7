"""The commands as one typer application, built from the modules that the words need."""

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ..errors import InputError
from ..home import HOME_VARIABLE
from .command_tree import PROGRAM, Command, nearest_of
from .commands import COMMAND_MODULES, first_word
from .daemon_client import set_home

USAGE_ERROR: Final[Any] = typer.BadParameter.__mro__[1]
"""The base of all usage errors. It is looked up here because newer versions of typer bundle click."""


DIRECT: Final = ("status", "doctor")
"""Commands whose module and function have their name, and which people and scripts run often."""


def run_command(words: Sequence[str], command: Command) -> int:
    """Run the command that the words name and return its exit code.

    Raises:
        InputError: an option or a value is none that the command takes.
        NodeError: the command failed.
        KeyboardInterrupt: the operator gave up.
    """
    if (done := _run_directly(words)) is not None:
        return done
    try:
        status = build_app(words)(list(words), standalone_mode=False)
    except USAGE_ERROR as error:
        raise InputError(_usage_problem(error, command)) from error
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    return status if isinstance(status, int) else 0


def _run_directly(words: Sequence[str]) -> int | None:
    """Run `status` or `doctor` with no more than `--json`, and return the exit code; None: typer must read the line.

    Typer loads pydantic to read a line, which takes longer than all that `status` does.
    """
    home, rest = None, list(words)
    if rest[:1] == ["--home"] and len(rest) > 1:
        home, rest = Path(rest[1]), rest[2:]
    if not rest or rest[0] not in DIRECT or rest[1:] not in ([], ["--json"]):
        return None
    set_home(home)
    module = import_module(f".{rest[0]}", __package__)
    try:
        getattr(module, rest[0])(as_json=len(rest) > 1)
    except typer.Exit as end:
        return int(end.exit_code)
    return 0


def common(
    home: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help=f"The node's data directory; by default ${HOME_VARIABLE} or the platform's."
        ),
    ] = None,
) -> None:
    """Handle the flags that every command has."""
    set_home(home)


def build_app(words: Sequence[str] = ()) -> typer.Typer:
    """Build the commands of one module if the first word names it, else of all modules.

    Importing all of them takes a second. Help and completion read `commands.json` instead.
    """
    made = typer.Typer(
        name=PROGRAM,
        help="Serve a base model and any number of LoRA adapters from this machine, behind an OpenAI-compatible API.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": []},
    )
    made.callback()(common)
    word = first_word(words)
    for part in [part for part in COMMAND_MODULES if word in part.words] or COMMAND_MODULES:
        module = import_module(f".{part.module}", __package__)
        if part.panel:
            made.add_typer(module.app, name=part.words[0], rich_help_panel=part.panel)
        else:
            module.add_commands(made)
    return made


def _usage_problem(error: Any, command: Command) -> str:
    """Say what is wrong with the words after a command, and where to look."""
    name, message = (
        getattr(error, "option_name", ""),
        error.format_message().replace("Value error, ", ""),
    )  # pydantic's
    if re.match(r"-\d", name):
        message = f"{name} starts like an option. No value here is below 0, but for settings: write `-- {name}`."
    elif name:
        known = [each for option in command.options for each in (*option.names, option.off) if each]
        message = f"`{command.path}` has no option {name}{nearest_of(name, known)}"
    end = "" if message[-1] in ".?" else "."
    return f"{message[:1].lower()}{message[1:]}{end} Its options and values: `{command.path} --help`"
