"""A node in a process of its own, as its operator starts and asks it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union

import httpx

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import OperatorHome
from openledger_node.home import Home

from ..commands import ForkedCommand, run_command

ROOT = Path(__file__).resolve().parents[3]
TEST_HOME = Home(ROOT / ".home")
"""The data directory in which `make test` keeps the real demo base."""

EMBEDDED = {"OPENLEDGER_NODE_NETWORK": "auto"}
"""The settings of a node on a development chain of its own, where what it earns is claimed at once."""

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
DEADLINE_S = 180.0
POLL_S = 0.05

Value = TypeVar("Value")
Process = Union["subprocess.Popen[str]", ForkedCommand]


@dataclass
class Node:
    """One running daemon."""

    home: Home
    process: Any  # a Popen or a ForkedCommand; None if somebody else started it
    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=DEADLINE_S, verify=False)

    def status(self) -> dict[str, Any]:
        return command_json(self.home, "status")

    def jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = command_json(self.home, "jobs", "--limit", "100")["jobs"]
        return jobs

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        status: int = self.process.wait(STOP_TIMEOUT_S)
        return status


@contextmanager
def running_node(home: Home, *flags: str, **environment: str) -> Iterator[Node]:
    """Start a node on a free port, wait until it serves, and end it."""
    has_own_modules = "PYTHONPATH" in environment  # which a process that is loaded already would not see
    process = (start_process if has_own_modules else fork_process)(home, *flags, **environment)
    try:
        status = wait_for_status(home, process, lambda found: found["state"] in ("serving", "idle", "training"))
        yield Node(home=home, process=process, url=status["api"]["url"], key=load_api_key(home))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def fork_process(home: Home, *flags: str, **environment: str) -> ForkedCommand:
    """Start a node as a fork of a process that has loaded its modules."""
    with (home.root / "start.log").open("w") as log:
        words = ("start", "--port", "0", "--no-hello", *flags)
        return ForkedCommand(*words, env=node_environment(home, **environment), out=log, err=log)


def start_process(home: Home, *flags: str, **environment: str) -> "subprocess.Popen[str]":
    """Start a node as its operator does, which takes three seconds longer."""
    log = (home.root / "start.log").open("w")
    command = [sys.executable, "-m", "openledger_node", "start", "--port", "0", "--no-hello", *flags]
    with log:
        return subprocess.Popen(command, env=node_environment(home, **environment), stderr=log, text=True)


def wait_for_status(home: Home, process: Process, is_reached: Any) -> dict[str, Any]:
    """Ask the daemon until its status is as wanted."""
    read_log = (home.root / "start.log").read_text

    def find() -> dict[str, Any] | None:
        assert process.poll() is None, read_log()
        found = ask_status(home)
        return found if found and is_reached(found) else None

    return wait_for(find, within_s=START_TIMEOUT_S, why=read_log)


def wait_for(
    find: Callable[[], Value | None], *, within_s: float = DEADLINE_S, why: Callable[[], str] = lambda: "not in time"
) -> Value:
    """Call a function until it returns a value."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if found := find():
            return found
        time.sleep(POLL_S)
    raise AssertionError(why())


def operator_of(home: Home | OperatorHome) -> httpx.Client:
    """A client of a node's control socket."""
    transport = httpx.HTTPTransport(uds=str(Home(home.root).socket), verify=False)  # loads no certificates
    return httpx.Client(transport=transport, base_url="http://node", timeout=60)


def ask(home: Home | OperatorHome, question: str, /, **arguments: Any) -> Any:
    """Ask the daemon about money as a command does, without a process for the command."""
    with operator_of(home) as operator:
        return operator.post(f"/money/{question}", json=arguments).raise_for_status().json()


def is_alive(process_id: int) -> bool:
    """True while a process runs, whoever started it."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ask_status(home: Home | OperatorHome) -> dict[str, Any] | None:
    """Ask the control socket directly; None while nobody listens there."""
    with socket.socket(socket.AF_UNIX) as probe:  # the HTTP client would leave a socket open that can't connect
        try:
            probe.connect(str(Home(home.root).socket))
        except OSError:
            return None
    try:
        with operator_of(home) as operator:
            found: dict[str, Any] = operator.get("/status", timeout=5).json()
            return found
    except httpx.HTTPError:
        return None


def command_json(home: Home, *words: str, **environment: str) -> dict[str, Any]:
    """Run a command with `--json` and read its one object."""
    ran = run_command(*words, "--json", env=node_environment(home, **environment))
    if ran.returncode != 0:
        print(ran.stderr, file=sys.stderr)
    ran.check_returncode()
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def node_environment(home: Home, **more: str) -> dict[str, str]:
    """Our environment without a node's settings; on no network, unless `more` names one."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OPENLEDGER_")}
    return {**ours, "OPENLEDGER_HOME": str(home.root), "OPENLEDGER_NODE_NETWORK": "local", **more}
