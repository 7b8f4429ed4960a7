"""Commands of a service manager: systemctl, loginctl, journalctl and launchctl."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import NodeError

ABSENT = 127
"""Exit code of a command that is not installed, as a shell has it."""

DONE = ("Removed ", "Created symlink ")
"""Beginnings of lines by which systemctl tells what it has done before it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The outcome of one command."""

    status: int
    out: str = ""
    err: str = ""


def run_command(words: Sequence[str], timeout_s: float) -> Ran:
    """Run a command of the system and return its outcome.

    Raises:
        NodeError: it does not answer in time.
    """
    try:
        done = subprocess.run(
            list(words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        return Ran(status=ABSENT, err=f"{words[0]} is not installed")
    except subprocess.TimeoutExpired as error:
        raise NodeError(
            f"`{' '.join(words)}` has not ended after {timeout_s:.0f} s: run it yourself to see why"
        ) from error
    return Ran(status=done.returncode, out=done.stdout, err=done.stderr)


def must_run(words: Sequence[str], found: Ran) -> Ran:
    """Return the outcome of a command that has worked.

    Raises:
        NodeError: it has failed; the message has its words.
    """
    if found.status:
        lines = (found.err or found.out).strip().splitlines()
        why = [line for line in lines if not line.startswith(DONE)] or lines
        raise NodeError(f"`{' '.join(words)}` has failed ({why[0] if why else f'status {found.status}'})")
    return found
