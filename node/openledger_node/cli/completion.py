"""Completion with the Tab key in bash, zsh and fish: the shells' scripts, and the answers that they ask for."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from ..home import Home, home_folder
from .command_tree import PROGRAM, Parameter, TypedLine, read_line
from .help_text import HELP_OPTION, ROOT_OPTIONS, first_sentence

COMPLETION: Final = "_OPENLEDGER_NODE_COMPLETE"
"""Set in the environment, to the name of the shell, while it asks for completions of a line."""

BASH: Final = """\
_openledger_node() {
    local IFS=$'\\n'
    COMPREPLY=($(_OPENLEDGER_NODE_COMPLETE=bash "$1" "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null))
}
complete -o default -F _openledger_node openledger-node
"""
ZSH: Final = """\
#compdef openledger-node
_openledger_node() {
    local -a found
    found=("${(@f)$(_OPENLEDGER_NODE_COMPLETE=zsh openledger-node "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then _describe openledger-node found; else _files; fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]
then _openledger_node
else compdef _openledger_node openledger-node
fi
"""
FISH: Final = """\
function __openledger_node
    set -l found (env _OPENLEDGER_NODE_COMPLETE=fish openledger-node (commandline -cp | string collect) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command openledger-node --no-files --arguments '(__openledger_node)'
"""
SCRIPTS: Final = {"bash": BASH, "zsh": ZSH, "fish": FISH}

SHOWN_DIGITS: Final = 10
"""Characters of a digest that are enough to name a batch."""


def print_completions(shell: str, arguments: Sequence[str]) -> None:
    """Print the values that may follow a line, in the form that the shell's script reads, one per line."""
    text, cut = ([*arguments, "", ""])[:2]
    words = split_line(text)
    for value, about in completions(words[1:]):
        if shell == "bash":  # it replaces only what follows the last `:`, `=` or `@`
            print(value[len(words[-1]) - len(cut) :])
        elif shell == "zsh":
            print(f"{value.replace(':', chr(92) + ':')}:{about}" if about else value.replace(":", "\\:"))
        elif shell == "fish":
            print(f"{value}\t{about}" if about else value)


def split_line(text: str) -> list[str]:
    """Split a line at its spaces, as a shell does; the last word is the one that is being typed, maybe empty.

    An empty line is the program's name and an empty word.
    """
    for closing in ("", "'", '"'):
        try:
            words = shlex.split(text + closing)
        except ValueError:
            continue
        is_new = not closing and text[-1:].isspace()
        return [*(words or [PROGRAM]), ""] if is_new or len(words) < 2 else words
    return [PROGRAM, ""]


def completions(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the values that may take the place of the last word, each with its help."""
    *before, typed = words
    line = read_line(before)
    if line.pending:
        found = _values(line, line.pending)
    elif typed.startswith("--") and "=" in typed:
        name, _, _ = typed.partition("=")
        found = [(f"{name}={value}", about) for value, about in _values(line, line.command.option(name))]
    elif typed.startswith("-") and not line.are_options_over:
        found = list(_options(line))
    elif line.command.commands:
        found = [(each.name, first_sentence(each.help)) for each in line.command.commands]
    else:
        found = _values(line, _argument(line))
    yield from ((value, about) for value, about in found if value.startswith(typed))


def _options(line: TypedLine) -> Iterator[tuple[str, str]]:
    """Yield the options that are not given yet."""
    extra = ROOT_OPTIONS if line.command.path == PROGRAM else ()
    for option in (*line.command.options, *extra, HELP_OPTION):
        if option.is_repeated or option.names[0] not in line.values:
            yield from ((name, option.help) for name in (*option.names, option.off) if name.startswith("--"))


def _argument(line: TypedLine) -> Parameter | None:
    """Return the argument that the next word is for."""
    arguments = line.command.arguments
    if len(line.arguments) < len(arguments):
        return arguments[len(line.arguments)]
    return arguments[-1] if arguments and arguments[-1].is_repeated else None


def _values(line: TypedLine, parameter: Parameter | None) -> list[tuple[str, str]]:
    """List the values of a parameter; none where the shell should offer files."""
    if parameter is None:
        return []
    home = line.values.get("--home")
    kinds = parameter.choices or _values_of(parameter.kind, Home(home_folder(Path(home) if home else None)))
    return [(value, "") for value in kinds]


# ---- Installation


def completion_script(shell: str | None) -> tuple[str, str]:
    """Return the name of a shell, by default the one in `$SHELL`, and its script.

    Raises:
        InputError: there is no script for the shell.
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SCRIPTS:
        raise InputError(f"there is no completion for {name or 'an unknown shell'}: give bash, zsh or fish")
    return name, SCRIPTS[name]


def install_completion(shell: str | None) -> Path:
    """Write the script to the place where the shell finds it, and name it in the shell's start file once.

    Raises:
        InputError: there is no script for the shell.
    """
    name, script = completion_script(shell)
    user = Path.home()
    file, start = {
        "bash": (user / ".bash_completions" / f"{PROGRAM}.sh", user / ".bashrc"),
        "zsh": (user / ".zfunc" / f"_{PROGRAM}", user / ".zshrc"),
        "fish": (user / ".config" / "fish" / "completions" / f"{PROGRAM}.fish", None),
    }[name]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(script, encoding="utf-8")
    if start:
        _add_line(start, f"source '{file}'" if name == "bash" else "fpath+=~/.zfunc; autoload -Uz compinit; compinit")
    return file


def _add_line(file: Path, line: str) -> None:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if line not in text.splitlines():
        file.write_text(f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n", encoding="utf-8")


def run_completion_option(words: Sequence[str]) -> bool:
    """Carry out `--install-completion` or `--show-completion`; return False for any other line."""
    option, shell = [*words, "", ""][:2]
    if option == "--show-completion":
        print(completion_script(shell)[1], end="")
    elif option == "--install-completion":
        file = install_completion(shell)
        print(f"installed {file}: open a new terminal to use it", file=sys.stderr)
    else:
        return False
    return True


def _bases(home: Home) -> Iterator[str]:
    return (file.parent.name for file in sorted(home.models.glob("[!.]*/base.json")))


def _adapters(home: Home) -> Iterator[str]:
    """Yield the name of each adapter, with its id only where several share a name."""
    folders = [file.parent.name for file in sorted(home.adapters.glob("[!.]*/adapter.json"))]
    names = [folder.partition("@")[0] for folder in folders]
    for folder, name in zip(folders, names, strict=True):
        yield name if names.count(name) == 1 else folder


def _models(home: Home) -> Iterator[str]:
    yield from _bases(home)
    yield from _adapters(home)


def _datanets(home: Home) -> Iterator[str]:
    return (file.parent.parent.name for file in sorted(home.datanets.glob("*/own/datanet.json")))


def _batches(home: Home) -> Iterator[str]:
    for file in sorted(home.datanets.glob("*/own/datanet.json")):
        for batch in _read(file).get("batches", ()):
            yield batch["digest"][:SHOWN_DIGITS]


def _networks(home: Home) -> Iterator[str]:
    return (file.parent.name for file in sorted(home.network("").glob("*/network.json")))


def _accounts(home: Home) -> Iterator[str]:
    files = [*home.keys.glob("*.json"), *home.network("").glob("*/keys/*.json")]
    yield from sorted({file.stem for file in files})


def _keys(home: Home) -> Iterator[str]:
    return (key["name"] for key in _read(home.keys / "named-api.keys").get("keys", ()))


def _settings(home: Home) -> Iterator[str]:
    from dataclasses import fields

    from ..config import TABLES

    return (f"{table}.{spec.name}" for table, cls in TABLES.items() for spec in fields(cls))


VALUES: Final[Mapping[str, Callable[[Home], Iterator[str]]]] = {
    "BASE": _bases,
    "ADAPTER": _adapters,
    "MODEL": _models,
    "DATANET": _datanets,
    "BATCH": _batches,
    "NETWORK": _networks,
    "ACCOUNT": _accounts,
    "KEY": _keys,
    "SETTING": _settings,
}
"""The completer of each kind of value. A kind is the word that stands for the value in the help: `--model MODEL`."""


def _values_of(metavar: str, home: Home) -> list[str]:
    """List the values of kinds that `|` separates, in which small letters are a value; none for unreadable files."""
    found: list[str] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        for kind in metavar.split("|"):
            found += VALUES[kind](home) if kind in VALUES else [kind] * kind.islower()
    return found


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
