"""All tests, in three pytest runs side by side: half of the time each waits for processes, a chain or a browser.

What the last run prints is shown as it comes, the others' output below it. Exits 0 only if all of them do.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

PYTEST = str(Path(sys.executable).with_name("pytest"))
NODES = ("tests/network", "tests/real")
PAGE_AND_PROGRAMS = (
    *("tests/web", "tests/scripts"),
    *("tests/house/test_install.py", "tests/house/test_commands.py", "tests/house/test_hard_moments.py"),
)
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", **os.environ}
"""Threads that wait by spinning would take the processor from the other runs."""


def main() -> None:
    with ExitStack() as stack:
        kept = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)]
        beside = [start(stack, *run) for run in zip((NODES, PAGE_AND_PROGRAMS), kept, strict=True)]
        rest = [word for path in NODES + PAGE_AND_PROGRAMS for word in ("--ignore", path)]
        statuses = [subprocess.run([PYTEST, *rest], env=ENVIRONMENT, check=False).returncode]
        for run, output in zip(beside, kept, strict=True):
            statuses.append(run.wait())
            output.seek(0)
            print(output.read(), flush=True)
    sys.exit(any(statuses))


def start(stack: ExitStack, paths: tuple[str, ...], output: IO[str]) -> "subprocess.Popen[bytes]":
    """A run that writes to a file, and does not outlive this program."""
    run = subprocess.Popen([PYTEST, *paths], env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT)
    stack.callback(run.kill)
    return run


if __name__ == "__main__":
    main()
