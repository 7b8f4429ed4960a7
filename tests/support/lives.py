"""Lives that end where they are told to: forked from one process, so that one takes milliseconds."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes.nodes import ROOT

DONE, STUCK = 0, 3

Live = Callable[[Path, str, str, int], int]
"""Lives one life: its folder or file, the socket of its chain, a fail point, and how often that may be passed."""

LiveOne = Callable[[Path, str, Callable[[str], None]], int]
"""The same within the process: with a fail point that may kill."""


@contextmanager
def open_lives(module: str) -> Iterator[Live]:
    """Start what lives are forked from: a module that ends in `run_lives`."""
    command = [sys.executable, "-m", module]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def live(place: Path, chain: str, point: str, count: int) -> int:
            asked.write(f"{place}\t{chain}\t{point}\t{count}\n")
            asked.flush()
            return int(told.readline())

        yield live
        asked.close()


def run_lives(live: LiveOne) -> None:
    """Live a life for each line of stdin."""
    for line in sys.stdin:
        place, chain, point, count = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            os._exit(live(Path(place), chain, mortal_at(point, int(count))))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def mortal_at(point: str, count: int) -> Callable[[str], None]:
    """A fail point that ends the process at its `count`-th passing; never for 0."""
    num_left = count

    def pass_point(name: str) -> None:
        nonlocal num_left
        if point in ("*", name):
            num_left -= 1
            if num_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return pass_point
