"""`openledger-node`: the verbs, their shared flags, and exit codes."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.errors import AdapterRefusedError, ProtocolError

from ..errors import ModelError, NodeError
from .daemon_client import set_home
from .render import plain, say

INTERRUPTED = 130
WRONG_WORDS: Any = typer.BadParameter.__mro__[2]
"""ClickException, the base of all usage errors; found this way, since newer typers carry a click of their own."""


@dataclass(frozen=True, slots=True)
class CommandModule:
    """One module of verbs."""

    module: str
    words: tuple[str, ...]  # the first words that it answers to
    panel: str | None = None  # of the help, where it is a group; else it hangs its verbs itself


PARTS: Final = (
    CommandModule("setup", ("setup",)),
    CommandModule("node", ("start", "stop", "version")),
    CommandModule("status", ("status",)),
    CommandModule("pause", ("pause", "resume")),
    CommandModule("open_page", ("open",)),
    CommandModule("jobs", ("jobs",)),
    CommandModule("doctor", ("doctor",)),
    CommandModule("benchmark", ("benchmark",)),
    CommandModule("chat", ("chat",)),
    CommandModule("connect", ("connect",)),
    CommandModule("logs", ("logs",)),
    CommandModule("demo", ("demo",)),
    CommandModule("models", ("models",), "Models"),
    CommandModule("adapters", ("adapters",), "Models"),
    CommandModule("datanet", ("datanet",), "Models"),
    CommandModule("factory", ("factory",), "Models"),
    CommandModule("config", ("config",), "Node"),
    CommandModule("limits", ("limits",), "Node"),
    CommandModule("devnet", ("devnet",), "Node"),
    CommandModule("peers", ("peers",), "Node"),
    CommandModule("price", ("price",), "Money"),
    CommandModule("network", ("network",), "Money"),
    CommandModule("wallet", ("wallet",), "Money"),
    CommandModule("stake", ("stake",), "Money"),
    CommandModule("channels", ("channels",), "Money"),
    CommandModule("rewards", ("rewards",), "Money"),
    CommandModule("earnings", ("earnings",)),
    CommandModule("attribution", ("attribution",), "Money"),
)

COMPLETION: Final = "_OPENLEDGER_NODE_COMPLETE"
"""In the environment while a shell asks how a line may go on."""


def common(
    home: Annotated[
        Path | None, typer.Option(help="The node's home folder.", envvar="OPENLEDGER_HOME", show_default=False)
    ] = None,
) -> None:
    """Flags that every verb has."""
    set_home(home)


def build_app(words: Sequence[str] = ()) -> typer.Typer:
    """The verbs that a line may mean: one module's where its first word says which, else all.

    Loading all of them takes a second, and a status should not.
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
    meant = [part for part in PARTS if word in part.words and COMPLETION not in os.environ]
    for part in meant or PARTS:
        module = import_module(f".{part.module}", __package__)
        if part.panel:
            made.add_typer(module.app, name=part.words[0], rich_help_panel=part.panel)
        else:
            module.add_verbs(made)
    return made


def first_word(words: Sequence[str]) -> str | None:
    """The verb of a line: its first word behind `--home FOLDER`."""
    rest = list(words)
    while rest and rest[0].startswith("--home"):
        rest = rest[1:] if "=" in rest[0] else rest[2:]
    return rest[0] if rest else None


def __getattr__(name: str) -> typer.Typer:
    """All verbs as `app`, for whoever wants to walk them."""
    if name != "app":
        raise AttributeError(name)
    return build_app()


def main() -> None:
    """Run one verb; every failure that somebody can act on is one line that says how."""
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
        say(f"[bold red]error[/] {plain(str(error))}")
        sys.exit(NodeError.exit_code)
    sys.exit(status if isinstance(status, int) else 0)


def exit_code(error: NodeError | ProtocolError) -> int:
    """The documented exit code of a failure."""
    if isinstance(error, NodeError):
        return error.exit_code
    return ModelError.exit_code if isinstance(error, AdapterRefusedError) else NodeError.exit_code
