"""Entry point of `openledger-node`: commands, their shared flags and exit codes."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.errors import AdapterRefusedError, ProtocolError

from ..errors import ModelError, NodeError, explain_disk
from .commands import COMMAND_MODULES, first_word
from .daemon_client import set_home
from .render import plain, say

INTERRUPTED = 130
WRONG_WORDS: Any = typer.BadParameter.__mro__[2]
"""ClickException, the base of all usage errors. It is looked up here because newer versions of typer bundle click."""


COMPLETION: Final = "_OPENLEDGER_NODE_COMPLETE"
"""Set in the environment while a shell asks for completions of a line."""


def common(
    home: Annotated[
        Path | None, typer.Option(help="The node's data directory.", envvar="OPENLEDGER_HOME", show_default=False)
    ] = None,
) -> None:
    """Handle the flags that every command has."""
    set_home(home)


def build_app(words: Sequence[str] = ()) -> typer.Typer:
    """Build the commands of one module if the first word names it, else of all modules.

    Importing all of them takes a second, too long for a command such as `status`.
    """
    made = typer.Typer(
        name="openledger-node",
        help="Serve a base model and any number of LoRA adapters from this machine, behind an OpenAI-compatible API.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    made.callback()(common)
    word = first_word(words)
    meant = [part for part in COMMAND_MODULES if word in part.words and COMPLETION not in os.environ]
    for part in meant or COMMAND_MODULES:
        module = import_module(f".{part.module}", __package__)
        if part.panel:
            made.add_typer(module.app, name=part.words[0], rich_help_panel=part.panel)
        else:
            module.add_commands(made)
    return made


def __getattr__(name: str) -> typer.Typer:
    """Build all commands as `app`, so that the reference and the tests can walk them."""
    if name != "app":
        raise AttributeError(name)
    return build_app()


def main() -> None:
    """Run one command. A failure that the operator can fix is printed as one line that says how."""
    try:
        status = build_app(sys.argv[1:])(standalone_mode=False)
    except WRONG_WORDS as error:
        error.show()
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        say("interrupted")
        sys.exit(INTERRUPTED)
    except (NodeError, ProtocolError) as error:
        say(f"[bold red]error[/] {plain(str(error))}")
        sys.exit(exit_code(error))
    except OSError as error:
        say(f"[bold red]error[/] {plain(str(explain_disk(error)))}")
        sys.exit(NodeError.exit_code)
    sys.exit(status if isinstance(status, int) else 0)


def exit_code(error: NodeError | ProtocolError) -> int:
    """Return the documented exit code of a failure."""
    if isinstance(error, NodeError):
        return error.exit_code
    return ModelError.exit_code if isinstance(error, AdapterRefusedError) else NodeError.exit_code
