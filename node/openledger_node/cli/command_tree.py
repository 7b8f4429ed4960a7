"""All commands with their help, arguments and options, read from `commands.json`.

`--help` and completion need the words and texts of every command. They read them from this file, because importing
the modules of all commands takes a second. `scripts/make_reference.py` writes the file from the code, and a test
compares the two.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = "openledger-node"
TREE_FILE: Final = Path(__file__).with_name("commands.json")
HELP_NAMES: Final = ("-h", "--help")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument or option of a command."""

    names: tuple[str, ...]  # ("--lines", "-n"), or ("NAME",) for an argument
    off: str = ""  # `--no-…` of a switch
    metavar: str = ""  # of an option's value; empty for a flag and for an argument
    help: str = ""
    default: str = ""
    bounds: str = ""
    variable: str = ""  # of the environment
    is_required: bool = False
    is_repeated: bool = False
    choices: tuple[str, ...] = ()

    @property
    def is_option(self) -> bool:
        """True for an option, False for an argument."""
        return self.names[0].startswith("-")

    @property
    def kind(self) -> str:
        """The word that stands for the value in the help, such as MODEL; empty for a flag."""
        return self.metavar if self.is_option else self.names[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command, or a group of commands."""

    path: str  # with the program: "openledger-node wallet create"
    help: str = ""  # paragraphs of one line each, with empty lines between them
    panel: str = ""
    parameters: tuple[Parameter, ...] = ()
    commands: "tuple[Command, ...]" = ()

    @property
    def name(self) -> str:
        """The last word of the path."""
        return self.path.rpartition(" ")[2]

    @property
    def arguments(self) -> tuple[Parameter, ...]:
        """The positional parameters, in order."""
        return tuple(each for each in self.parameters if not each.is_option)

    @property
    def options(self) -> tuple[Parameter, ...]:
        """The options and flags."""
        return tuple(each for each in self.parameters if each.is_option)

    def below(self, name: str) -> "Command | None":
        """Return the command of this name in the group, or None."""
        return next((each for each in self.commands if each.name == name), None)

    def option(self, name: str) -> Parameter | None:
        """Return the option of this name, or None."""
        return next((each for each in self.options if name in (*each.names, each.off)), None)

    def walk(self) -> "Iterator[Command]":
        """Yield this command and all below it, in the order of the help."""
        yield self
        for each in self.commands:
            yield from each.walk()


@cache
def load_tree() -> Command:
    """Read the program's tree of commands."""
    return _command(json.loads(TREE_FILE.read_text(encoding="utf-8")))


def _command(fields: dict[str, Any]) -> Command:
    parameters, commands = (fields.pop(name, ()) for name in ("parameters", "commands"))
    return Command(**fields, parameters=tuple(map(_parameter, parameters)), commands=tuple(map(_command, commands)))


def _parameter(fields: dict[str, Any]) -> Parameter:
    lists: dict[str, Any] = {name: tuple(fields.pop(name)) for name in ("names", "choices") if name in fields}
    return Parameter(**fields, **lists)


# ---- A line that is typed

OTHER_SPELLINGS: Final = {("datanets",): ("datanet",), ("channels", "topup"): ("channels", "top-up")}
"""Spellings that people try, and the words of the command tree."""


def as_in_tree(words: Sequence[str]) -> list[str]:
    """Return the words with another spelling of a command replaced, before and after `--home FOLDER`.

    `contributor 0x…` means `contributor show 0x…`.
    """
    start = 0
    while start < len(words) and words[start].startswith("--home"):
        start += 1 if "=" in words[start] else 2
    for spelled, meant in OTHER_SPELLINGS.items():
        if tuple(words[start : start + len(spelled)]) == spelled:
            return [*words[:start], *meant, *words[start + len(spelled) :]]
    if words[start : start + 1] == ["contributor"] and words[start + 1 : start + 2] and _is_hex(words[start + 1]):
        return [*words[: start + 1], "show", *words[start + 1 :]]
    return list(words)


def _is_hex(word: str) -> bool:
    return word[:2].lower() == "0x"


@dataclass(slots=True, kw_only=True)
class TypedLine:
    """The meaning of words so far: the command, its values, and the option that waits for a value."""

    command: Command
    values: dict[str, str] = field(default_factory=dict)  # of options, by their first name
    arguments: list[str] = field(default_factory=list)  # in a group: words that name no command of it
    pending: Parameter | None = None
    is_help: bool = False
    are_options_over: bool = False  # after `--`


def read_line(words: Sequence[str]) -> TypedLine:
    """Find the command that words name, as far as they can be understood. Checking them is typer's part."""
    line = TypedLine(command=load_tree())
    is_asked = words[:1] == ["help"]
    for word in words[1:] if is_asked else words:
        _take(line, word)
    line.is_help |= is_asked
    return line


def _take(line: TypedLine, word: str) -> None:
    if line.pending:
        line.values[line.pending.names[0]] = word
        line.pending = None
    elif line.are_options_over or not word.startswith("-") or word == "-":
        if found := line.command.below(word):
            line.command = found
        else:
            line.arguments.append(word)
    elif word == "--":
        line.are_options_over = True
    elif word in HELP_NAMES:
        line.is_help = True
    else:
        _take_option(line, word)


def _take_option(line: TypedLine, word: str) -> None:
    name, equals, value = word.partition("=")
    option = line.command.option(name)
    if option is None:
        return
    if option.metavar and not equals:
        line.pending = option
    line.values[option.names[0]] = value


def nearest_of(word: str, known: Sequence[str]) -> str:
    """Return the end of a sentence that refuses a word: a question that names the nearest known word, or a stop."""
    from difflib import get_close_matches

    found = get_close_matches(word, known, n=1)
    return f"; did you mean `{found[0]}`?" if found else "."
