"""The processes of a demonstration: a chain, a bootstrap point and nodes, each with a home of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from ..errors import NodeError

START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 30.0
VERB_TIMEOUT_S: Final = 900.0
"""A training on two busy cores takes minutes; what takes longer than this hangs."""
POLL_S: Final = 0.2
LOG_LINES: Final = 12

Value = TypeVar("Value")


class DemoError(NodeError):
    """A hop of the demonstration is broken; the message names it."""


class Process:
    """One process, which writes to a log of its own."""

    def __init__(self, name: str, words: list[str], environment: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self._log_file = log_file
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "openledger_node", *words],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @property
    def process_id(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def read_object(self) -> Any:
        """The one JSON object that it prints when it is ready.

        Raises:
            HopError: it ended before.
        """
        decoder, text = json.JSONDecoder(), ""
        for line in _stdout(self._process):
            text += line
            try:
                return decoder.raw_decode(text)[0]
            except ValueError:
                continue
        raise DemoError(f"{self.name} ended before it was ready: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        lines = self._log_file.read_text(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-LOG_LINES:] if line.strip()) or "it said nothing"

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let it end."""
        if self.is_alive:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        _stdout(self._process).close()


class OperatorHome:
    """One party's home: its verbs, and its daemon while that runs."""

    def __init__(self, name: str, root: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours = {key: value for key, value in os.environ.items() if not key.startswith("OPENLEDGER_")}
        self._environment = {**ours, "OPENLEDGER_HOME": str(root), "NO_COLOR": "1", **settings}
        self.daemon: Process | None = None

    def start(self, *words: str) -> Process:
        """Run a verb that stays in the foreground."""
        return Process(f"{self.name} ({words[0]})", list(words), self._environment, self.root / f"{words[0]}.log")

    def start_daemon(self) -> None:
        """Start the node."""
        self.daemon = self.start("start", "--no-hello")

    def verb(self, *words: str) -> Any:
        """Run a verb with `--json`, and read its one object.

        Raises:
            HopError: it failed, or does not end; the message has its last words.
        """
        said = f"{self.name}: `openledger-node {' '.join(words)}`"
        try:
            ran = subprocess.run(
                [sys.executable, "-m", "openledger_node", *words, "--json"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=VERB_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"{said} did not end within {VERB_TIMEOUT_S:g} s") from error
        if ran.returncode != 0:
            why = ran.stderr.strip().splitlines()[-1:] or [f"exit status {ran.returncode}"]
            raise DemoError(f"{said} failed: {why[0]}")
        return json.loads(ran.stdout)

    def wait_until_up(self) -> Any:
        """The daemon's status, once it would take requests.

        Raises:
            HopError: it ended, or takes too long.
        """

        def find() -> Any:
            if self.daemon and not self.daemon.is_alive:
                raise DemoError(f"{self.name} ended: {self.daemon.last_words()}")
            status = self.verb("status")
            return status if status["state"] in ("idle", "serving") and status["chain"] == "ok" else None

        return wait_for(f"{self.name} is up", find, timeout_s=START_TIMEOUT_S)

    def close(self) -> None:
        """End the daemon."""
        if self.daemon:
            self.daemon.close()
            self.daemon = None


def wait_for(what: str, find: Callable[[], Value | None], *, timeout_s: float) -> Value:
    """Ask until there is an answer.

    Raises:
        HopError: there is none in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if found := find():
            return found
        threading.Event().wait(POLL_S)
    raise DemoError(f"not within {timeout_s:.0f} s: {what}")


@contextmanager
def closing_all() -> Iterator[list[Any]]:
    """Close what is put into the list, the last first, however this ends."""
    opened: list[Any] = []
    try:
        yield opened
    finally:
        for each in reversed(opened):
            each.close()


def _stdout(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout
