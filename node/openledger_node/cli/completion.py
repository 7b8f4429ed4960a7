"""Completion with the Tab key in bash, zsh and fish: the shells' scripts, and the answers that they ask for."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ..errors import InputError
from ..home import Home, home_folder
from .command_tree import PROGRAM, Parameter, TypedLine, read_line
from .complete_values import values_of
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
    kinds = parameter.choices or values_of(parameter.kind, Home(home_folder(Path(home) if home else None)))
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
