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
    with open_forker(module) as ask:
        yield lambda place, chain, point, count: int(ask(place, chain, point, count))


@contextmanager
def open_forker(module: str) -> Iterator[Callable[..., str]]:
    """Start a module that answers each line of words with a line."""
    command = [sys.executable, "-m", module]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def ask(*words: object) -> str:
            print(*words, sep="\t", file=asked, flush=True)
            return told.readline()

        yield ask
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
