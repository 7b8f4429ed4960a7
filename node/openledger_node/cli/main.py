"""Entry point of `openledger-node`: help, completion, and the exit codes of commands."""

import os
import sys
from collections.abc import Sequence

from openledger_protocol.errors import AdapterRefusedError, ProtocolError

from ..errors import InputError, ModelError, NodeError, explain_disk
from .command_tree import TypedLine, as_in_tree, nearest_of, read_line
from .commands import first_word
from .completion import COMPLETION, print_completions, run_completion_option
from .help_text import is_screen_styled, render_help, screen_width

INTERRUPTED = 130
LAUNCHD_LABEL = "XPC_SERVICE_NAME"
PROGRAM = "openledger-node"
VERSION_LINES = (["-V"], ["--version"], ["version"])
"""Lines that are answered without typer."""


def main() -> None:
    """Run one command. A failure that the operator can fix is printed as one line that says how."""
    words = sys.argv[1:]
    if shell := os.environ.get(COMPLETION):
        print_completions(shell, words)
        sys.exit(0)
    sys.argv[1:] = words = as_in_tree(words)
    try:
        status = run(words)
    except KeyboardInterrupt:
        status = _complain("interrupted", INTERRUPTED)
    except (NodeError, ProtocolError) as error:
        status = _complain(f"[bold red]error[/] {_plain(str(error))}", exit_code(error))
    except OSError as error:
        status = _complain(f"[bold red]error[/] {_plain(str(explain_disk(error)))}", NodeError.exit_code)
    sys.exit(status_for_manager(words, status))


def run(words: Sequence[str]) -> int:
    """Show a help text or run the command that the words name, and return the exit code.

    Raises:
        InputError: the words name no command, or give it an option or a value that it does not take.
        NodeError: the command failed.
        KeyboardInterrupt: the operator gave up.
    """
    if run_completion_option(words):
        return 0
    if words in VERSION_LINES:
        from .. import __version__

        print(__version__)
        return 0
    line = read_line(words)
    if line.command.commands and line.arguments:
        raise InputError(_no_command(line))
    if line.is_help or line.command.commands:
        print(render_help(line.command, width=screen_width(), is_styled=is_screen_styled()), end="")
        return 0 if line.is_help else InputError.exit_code
    from .app import run_command  # typer takes longer to import than all that is answered above

    return run_command(words, line.command)


def exit_code(error: NodeError | ProtocolError) -> int:
    """Return the documented exit code of a failure."""
    if isinstance(error, NodeError):
        return error.exit_code
    return ModelError.exit_code if isinstance(error, AdapterRefusedError) else NodeError.exit_code


def status_for_manager(words: Sequence[str], status: int) -> int:
    """The exit code of a command as its service manager understands it.

    launchd starts an agent again after each code but 0. So a start that needs its owner first ends with 0 there, as
    systemd is told by RestartPreventExitStatus.
    """
    label = os.environ.get(LAUNCHD_LABEL, "")
    if PROGRAM not in label or first_word(words) != "start":
        return status
    from ..operator.background import FINAL_STATUS

    if status not in FINAL_STATUS:
        return status
    command = f"launchctl kickstart gui/{os.getuid()}/{label}"
    return _complain(f"[yellow]service[/] launchd does not start the node again before you do, by `{command}`", 0)


def _no_command(line: TypedLine) -> str:
    group = line.command
    nearest = nearest_of(line.arguments[0], [each.name for each in group.commands])
    return f"`{group.path}` has no command {line.arguments[0]!r}{nearest} Its commands: `{group.path} --help`"


def _complain(text: str, status: int) -> int:
    from .render import say

    say(text)
    return status


def _plain(text: str) -> str:
    from .render import plain

    return plain(text)
