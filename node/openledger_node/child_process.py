"""A child process that prints one line of JSON when it is ready, and ends with its parent."""

import json
import subprocess
import sys
from typing import Any, Self

from .errors import NodeError

END_S = 10.0


class ChildProcess:
    """One child process; a subclass reads its line of JSON."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __enter__(self) -> Self:
        """Return the process itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    @property
    def process_id(self) -> int:
        """Process id of the child."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status of a process that has ended; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until the process ends by itself, and return its exit status."""
        return self._process.wait()

    def close(self) -> None:
        """Close its stdin, which ends the process, and wait for the end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


Started = tuple["subprocess.Popen[str]", dict[str, Any]]
"""A process that is ready, and its line of JSON."""


class BegunProcess:
    """A child process that may not be ready yet."""

    def __init__(self, process: "subprocess.Popen[str]", *, what: str, failure: type[NodeError]) -> None:
        self._process = process
        self._what = what
        self._failure = failure

    @property
    def process(self) -> "subprocess.Popen[str]":
        """The process, which may not be ready yet."""
        return self._process

    def finish(self) -> Started:
        """Wait for the line of JSON.

        Raises:
            NodeError: of the class `failure`, if the process can't be started; the message says why.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": f"it ended with status {self._process.wait()}"}
        if "error" in told:
            self.give_up()
            raise self._failure(f"{self._what} does not start: {told['error']}")
        return self._process, told

    def give_up(self) -> None:
        """End the process, ready or not."""
        ChildProcess(self._process).close()


def begin_process(module: str, words: list[str], *, what: str, failure: type[NodeError]) -> BegunProcess:
    """Start one of our modules without waiting for it. It writes to our own stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sys.stderr.fileno(),
        text=True,
        encoding="utf-8",
        start_new_session=True,  # so that the terminal's Ctrl-C reaches the parent only
    )
    return BegunProcess(process, what=what, failure=failure)
