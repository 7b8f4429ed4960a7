"""All tests, in three pytest runs side by side: half of the time each waits for processes, a chain or a browser.

What the last run prints is shown as it comes, the others' output below it. A few tests that failed are run once more
when nothing runs beside them: what fails again is a fault, and what passes is printed as unsteady, to be mended.
Exits 0 only if no test has failed twice.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PYTEST = str(Path(sys.executable).with_name("pytest"))
CACHES = Path(".pytest_cache")
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", **os.environ}
"""Threads that wait by spinning would take the processor from the other runs."""
TESTS_FAILED = 1
"""pytest's exit status: it ran to its end, and tests failed."""
UNSTEADY_MAX = 3
"""More failures than these are no accident."""


@dataclass(frozen=True)
class Run:
    """A pytest run of its own, which keeps the names of what failed in it."""

    name: str
    words: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        """What runs it; what an earlier one kept is forgotten."""
        return [PYTEST, "--cache-clear", "-o", f"cache_dir={CACHES / self.name}", *self.words]

    def failed(self) -> list[str]:
        """The ids of the tests that failed in it; none if it did not come to its end."""
        path = CACHES / self.name / "v" / "cache" / "lastfailed"
        return sorted(json.loads(path.read_text())) if path.exists() else []


NODES = Run("nodes", ("tests/network", "tests/real"))
PAGE_AND_PROGRAMS = Run(
    "page_and_programs",
    (
        *("tests/web", "tests/scripts"),
        *("tests/house/test_install.py", "tests/house/test_commands.py", "tests/house/test_hard_moments.py"),
    ),
)
BESIDE = (NODES, PAGE_AND_PROGRAMS)
REST = Run("rest", tuple(word for run in BESIDE for path in run.words for word in ("--ignore", path)))


def main() -> None:
    with ExitStack() as stack:
        kept = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in BESIDE]
        beside = [start(stack, run, output) for run, output in zip(BESIDE, kept, strict=True)]
        statuses = [subprocess.run(REST.command, env=ENVIRONMENT, check=False).returncode]
        for process, output in zip(beside, kept, strict=True):
            statuses.append(process.wait())
            output.seek(0)
            print(output.read(), flush=True)
    outcomes = zip((REST, *BESIDE), statuses, strict=True)
    sys.exit(not all(holds(run, status) for run, status in outcomes))


def start(stack: ExitStack, run: Run, output: IO[str]) -> "subprocess.Popen[bytes]":
    """A run that writes to a file, and does not outlive this program."""
    process = subprocess.Popen(run.command, env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT)
    stack.callback(process.kill)
    return process


def holds(run: Run, status: int) -> bool:
    """Whether nothing failed in a run, or nothing that fails again."""
    if status != TESTS_FAILED:
        return status == 0
    failed = run.failed()
    if not 0 < len(failed) <= UNSTEADY_MAX:
        return False
    if subprocess.run([PYTEST, *failed], env=ENVIRONMENT, check=False).returncode != 0:
        return False
    print("UNSTEADY, passed alone:", *failed, sep="\n  ", flush=True)
    return True


if __name__ == "__main__":
    main()
