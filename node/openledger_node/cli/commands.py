"""The table of commands. It names the module of each first word, so that a call imports only that module."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class CommandModule:
    """One module of `cli` and the commands that it holds."""

    module: str
    words: tuple[str, ...]  # first words that this module answers to
    panel: str | None = None  # help panel of a group; None: the module adds its commands to the root itself


COMMAND_MODULES: Final = (
    CommandModule("setup", ("setup",)),
    CommandModule("node", ("start", "stop")),
    CommandModule("status", ("status",)),
    CommandModule("pause", ("pause", "resume")),
    CommandModule("open_page", ("open",)),
    CommandModule("jobs", ("jobs",)),
    CommandModule("doctor", ("doctor",)),
    CommandModule("benchmark", ("benchmark",)),
    CommandModule("chat", ("chat",)),
    CommandModule("connect", ("connect",)),
    CommandModule("backup", ("backup", "restore")),
    CommandModule("demo", ("demo",)),
    CommandModule("version", ("version",)),
    CommandModule("models", ("models",), "Models"),
    CommandModule("adapters", ("adapters",), "Models"),
    CommandModule("datanet_commit", ("datanet",), "Models"),
    CommandModule("factory", ("factory",), "Models"),
    CommandModule("alerts", ("alerts",), "Node"),
    CommandModule("config", ("config",), "Node"),
    CommandModule("keys", ("keys",), "Node"),
    CommandModule("service", ("service",), "Node"),
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
    CommandModule("demand", ("demand",)),
    CommandModule("contributor", ("contributor",), "Money"),
    CommandModule("attribution", ("attribution",), "Money"),
    CommandModule("gov", ("gov",), "Money"),
)


def first_word(words: Sequence[str]) -> str | None:
    """The command of a line: its first word after `--home FOLDER`."""
    rest = list(words)
    while rest and rest[0].startswith("--home"):
        rest = rest[1:] if "=" in rest[0] else rest[2:]
    return rest[0] if rest else None


def typed_command() -> str:
    """The command of this process as it was typed, without its arguments and options."""
    words = sys.argv[1:]
    first = first_word(words)
    found = next((each for each in COMMAND_MODULES if first in each.words), None)
    if found is None:
        return Path(sys.argv[0]).name
    below = words[words.index(found.words[0]) + 1 :] if found.panel else []
    return " ".join([found.words[0], *below[:1]])
