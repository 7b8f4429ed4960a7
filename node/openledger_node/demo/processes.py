"""Processes of the demo: a chain, a bootstrap node and nodes, each with its own data directory."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import httpx

from ..errors import NodeError
from ..home import Home
from .scratch import life_line

START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 30.0
VERB_TIMEOUT_S: Final = 900.0
"""A training on two busy cores takes minutes; a command that takes longer than this hangs."""
ASK_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.2
LOG_LINES: Final = 12
CHILD: Final = f"{__package__}.child"
"""The module that runs a command and ends with this process."""

Value = TypeVar("Value")


class DemoError(NodeError):
    """A step of the demo failed; the message names it."""


class DemoEndingError(Exception):
    """The demo is ending, so nothing is started or tried again."""


class Process:
    """One process with its own log file."""

    def __init__(self, name: str, words: list[str], environment: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self._log_file = log_file
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", CHILD, *words],
                env=dict(environment),
                stdin=life_line(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # so that the terminal's Ctrl-C reaches the demo only
            )

    @property
    def process_id(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    def read_object(self) -> Any:
        """Read the JSON object that the process prints when it is ready.

        Raises:
            DemoError: the process ended first.
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
        """Return the end of its log."""
        lines = self._log_file.read_text(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-LOG_LINES:] if line.strip()) or "its log is empty"

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()

    def interrupt(self) -> None:
        """Ask the process to end."""
        if self.is_alive:
            self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Interrupt the process, and kill it if it does not end."""
        if self.is_alive:
            self.interrupt()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        _stdout(self._process).close()


class OperatorHome:
    """One node's data directory, its commands, and its daemon while it runs."""

    def __init__(self, name: str, root: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours = {key: value for key, value in os.environ.items() if not key.startswith("OPENLEDGER_")}
        self._environment = {**ours, "OPENLEDGER_HOME": str(root), "NO_COLOR": "1", **settings}
        self._commands: set[subprocess.Popen[str]] = set()  # those that run now
        self._is_ending = False
        self.daemon: Process | None = None

    def start(self, *words: str) -> Process:
        """Start a command that stays in the foreground."""
        return Process(f"{self.name} ({words[0]})", list(words), self._environment, self.root / f"{words[0]}.log")

    def start_daemon(self) -> None:
        """Start the node."""
        self.daemon = self.start("start", "--no-hello")

    def run(self, *words: str) -> Any:
        """Run a command with `--json`, and return its object.

        Raises:
            DemoError: the command failed or does not end; the message has its last line.
            DemoEndingError: the demo ends.
        """
        if self._is_ending:
            raise DemoEndingError
        said = f"{self.name}: `openledger-node {' '.join(words)}`"
        with subprocess.Popen(
            [sys.executable, "-m", CHILD, *words, "--json"],
            env=self._environment,
            stdin=life_line(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            self._commands.add(process)
            try:
                printed, errors = process.communicate(timeout=VERB_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                raise DemoError(f"{said} did not end within {VERB_TIMEOUT_S:g} s") from error
            finally:
                process.kill()  # does nothing if it has ended
                self._commands.discard(process)
        if self._is_ending:
            raise DemoEndingError
        if process.returncode != 0:
            why = errors.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
            raise DemoError(f"{said} failed: {why[0]}")
        return json.loads(printed)

    def ask(self, path: str, body: Mapping[str, Any] | None = None, *, method: str = "POST") -> Any:
        """Ask the daemon over its control socket: a command does the same, and takes a second to start.

        Raises:
            DemoError: the daemon does not answer, or refuses; the message says why.
            DemoEndingError: the demo ends.
        """
        if self._is_ending:
            raise DemoEndingError
        socket = Home(self.root).socket
        if not socket.exists():  # the client would leave a socket open that can't connect
            raise DemoError(f"{self.name} does not listen yet")
        try:
            transport = httpx.HTTPTransport(uds=str(socket), verify=False)  # reading certificates takes 20 ms
            with httpx.Client(transport=transport, base_url="http://node", timeout=ASK_TIMEOUT_S) as client:
                response = client.request(method, path, json=body or {})
        except httpx.HTTPError as error:
            raise DemoError(f"{self.name} does not answer {path}: {error or type(error).__name__}") from error
        if response.is_error:
            raise DemoError(f"{self.name} refuses {path}: {response.text[:200]}")
        return response.json()

    def status(self) -> Any:
        """The status of the daemon."""
        return self.ask("/status", method="GET")

    def wait_until_up(self) -> Any:
        """Wait until the daemon takes requests, and return its status.

        Raises:
            DemoError: the daemon ended, or takes too long.
        """

        def find() -> bool:
            if self.daemon and not self.daemon.is_alive:
                raise DemoError(f"{self.name} ended: {self.daemon.last_words()}")
            return self.is_up()

        wait_for(f"{self.name} is up", find, timeout_s=START_TIMEOUT_S)
        return self.status()

    def is_up(self) -> bool:
        """True if the daemon takes requests and is connected with its chain."""
        try:
            status = self.status()
        except DemoError:
            return False
        return status["state"] in ("idle", "serving") and status["chain"] == "ok"

    def interrupt(self) -> None:
        """Ask the daemon to end, and end the commands."""
        self._is_ending = True
        for process in tuple(self._commands):
            process.kill()
        if self.daemon:
            self.daemon.interrupt()

    def close(self) -> None:
        """End the daemon."""
        if self.daemon:
            self.daemon.close()
            self.daemon = None


def wait_for(what: str, find: Callable[[], Value | None], *, timeout_s: float) -> Value:
    """Call `find` until it returns a value.

    Raises:
        DemoError: there is no value in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if found := find():
            return found
        threading.Event().wait(POLL_S)
    raise DemoError(f"not within {timeout_s:.0f} s: {what}")


@contextmanager
def closing_all() -> Iterator[list[Any]]:
    """Close everything in the list at the end, the last first; what takes time to end is told before."""
    opened: list[Any] = []
    try:
        yield opened
    finally:
        for each in opened:
            if isinstance(each, OperatorHome):
                each.interrupt()
        for each in reversed(opened):
            each.close()


def together(*calls: Callable[[], Value]) -> list[Value]:
    """Make calls side by side, and return their results in order; the first failure is raised at once."""
    executor = ThreadPoolExecutor(len(calls))
    try:
        futures = [executor.submit(call) for call in calls]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
        return [future.result() for future in futures]
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _stdout(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout
