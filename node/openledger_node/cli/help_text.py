"""The text of `--help`, rendered from the tree of commands."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from .command_tree import PROGRAM, Command, Parameter

WIDTH_MAX: Final = 100
LEFT_MAX: Final = 24
"""Names longer than this stand on a line of their own."""

USAGE_INDENT: Final = " " * len("Usage: ")

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
HELP_OPTION: Final = Parameter(names=("-h", "--help"), help="Show this help.")
ROOT_OPTIONS: Final = (
    Parameter(names=("-V", "--version"), help="Show the version."),
    Parameter(
        names=("--install-completion",),
        metavar="[SHELL]",
        help="Let bash, zsh or fish complete commands, options and names with the Tab key.",
    ),
    Parameter(names=("--show-completion",), metavar="[SHELL]", help="Print the script that this would install."),
)
"""Options of the program alone. They are handled before any command is imported."""


def render_help(command: Command, *, width: int, is_styled: bool = False) -> str:
    """Render the help of a command or a group for a screen of `width` columns."""
    width = min(width, WIDTH_MAX)
    about = "\n\n".join(textwrap.fill(part, width, break_on_hyphens=False) for part in command.help.split("\n\n"))
    words = textwrap.wrap(" ".join(usage(command)), width - len(USAGE_INDENT), break_on_hyphens=False)
    sections = [about, f"{_head('Usage', is_styled)} " + f"\n{USAGE_INDENT}".join(words)]
    sections += [_section(head, rows, width, is_styled) for head, rows in _tables(command)]
    if command.path == PROGRAM:
        sections.append(f"`{PROGRAM} help COMMAND` shows the options and examples of a command.")
    return "\n\n".join(sections) + "\n"


def usage(command: Command) -> Iterator[str]:
    """Yield the words of the usage line."""
    yield command.path
    if command.commands:
        yield "COMMAND …"
    for each in command.arguments:
        more = " …" if each.is_repeated else ""
        yield f"{each.names[0]}{more}" if each.is_required else f"[{each.names[0]}{more}]"
    yield from (f"{each.names[0]} {each.metavar}" for each in command.options if each.is_required)
    if any(not each.is_required for each in command.options):
        yield "[OPTIONS]"


def first_sentence(text: str) -> str:
    """Return the first sentence of a help text."""
    return re.split(r"(?<=[a-z0-9)`%]\.) (?=[A-Z`])", text.partition("\n\n")[0], maxsplit=1)[0]


def screen_width() -> int:
    """Return the columns of the terminal, or those of a page if there is none."""
    return shutil.get_terminal_size().columns


def is_screen_styled() -> bool:
    """Return True if stdout is a terminal that shows bold text."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _tables(command: Command) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each section's head and its rows: names on the left, help on the right."""
    by_panel = sorted(command.commands, key=lambda each: _panels(command).index(each.panel))
    for panel, commands in groupby(by_panel, key=lambda each: each.panel):
        yield panel or "Commands", [(each.name, first_sentence(each.help)) for each in commands]
    if command.arguments:
        yield "Arguments", [(each.names[0], explain(each)) for each in command.arguments]
    extra = ROOT_OPTIONS if command.path == PROGRAM else ()
    yield "Options", [(_left(each), explain(each)) for each in (*command.options, *extra, HELP_OPTION)]


def _panels(command: Command) -> list[str]:
    return list(dict.fromkeys(each.panel for each in command.commands))


def _left(option: Parameter) -> str:
    names = f"--[no-]{option.names[0][2:]}" if option.off == f"--no-{option.names[0][2:]}" else _names(option)
    return f"{names} {option.metavar}".rstrip()


def _names(option: Parameter) -> str:
    return ", ".join(filter(None, (*sorted(option.names, key=len), option.off)))


def explain(parameter: Parameter) -> str:
    """Return the help of a parameter with its bounds, its variable and its default."""
    notes = [
        parameter.bounds,
        f"${parameter.variable}" if parameter.variable else "",
        "required" if parameter.is_required and parameter.is_option else "",
        f"default {parameter.default}" if parameter.default else "",
    ]
    shown = ", ".join(filter(None, notes))
    return f"{parameter.help} ({shown})" if shown else parameter.help


def _section(head: str, rows: Iterable[tuple[str, str]], width: int, is_styled: bool) -> str:
    rows = list(rows)
    column = min(max(len(left) for left, _ in rows), LEFT_MAX) + 4
    lines = [_head(head, is_styled)]
    for left, right in rows:
        wrapped = textwrap.wrap(right, max(width - column, 20), break_on_hyphens=False) or [""]
        if len(left) + 4 > column:
            lines.append(f"  {left}")
        else:
            lines.append(f"  {left:<{column - 2}}{wrapped.pop(0)}".rstrip())
        lines += [" " * column + text for text in wrapped]
    return "\n".join(lines)


def _head(text: str, is_styled: bool) -> str:
    return f"{BOLD}{text}{PLAIN}" if is_styled else f"{text}:"
