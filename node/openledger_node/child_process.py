"""A child process that prints one line of JSON when it is ready, and ends with its parent."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Self

from .errors import NodeError, explain_disk

END_S = 10.0
LOG_BYTES_MAX = 1 << 20

log = logging.getLogger(__name__)


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


def begin_process(
    module: str, words: list[str], *, what: str, failure: type[NodeError], log_file: Path | None = None
) -> BegunProcess:
    """Start one of our modules without waiting for it. Its stderr goes to `log_file`, or to our own stderr."""
    with _open_log(log_file) as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # so that the terminal's Ctrl-C reaches the parent only
        )
    return BegunProcess(process, what=what, failure=failure)


def _open_log(file: Path | None) -> IO[str]:
    if file is None:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
    return os.fdopen(open_log(file, bytes_max=LOG_BYTES_MAX), "w", encoding="utf-8")


def open_log(file: Path, *, bytes_max: int) -> int:
    """Open the log of a child process and return its descriptor; a full one becomes `.log.1` first.

    A child whose log can't be written runs all the same, because a full disk must not stop it.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if file.exists() and file.stat().st_size > bytes_max:
            file.replace(file.with_suffix(".log.1"))
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        log.warning("%s; what %s would say is lost", explain_disk(error, file.parent), file.name)
        return os.open(os.devnull, os.O_WRONLY)
