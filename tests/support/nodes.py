"""A real node in a process of its own, for tests that need one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from openledger_node.api_key import load_api_key
from openledger_node.home import Home

from .commands import run_command

ROOT = Path(__file__).resolve().parents[2]
TEST_HOME = Home(ROOT / ".home")
"""Where `make test` keeps the real demo base."""

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05


@dataclass
class Node:
    """One running daemon."""

    home: Home
    process: "subprocess.Popen[str]"
    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=60)

    def status(self) -> dict[str, Any]:
        return command_json(self.home, "status")

    def jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = command_json(self.home, "jobs", "--limit", "100")["jobs"]
        return jobs

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def running_node(home: Home, *flags: str, **environment: str) -> Iterator[Node]:
    """Start a node on a free port, wait until it serves, and end it."""
    process = start_process(home, *flags, **environment)
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


def start_process(home: Home, *flags: str, **environment: str) -> "subprocess.Popen[str]":
    log = (home.root / "start.log").open("w")
    command = [sys.executable, "-m", "openledger_node", "start", "--port", "0", "--no-hello", *flags]
    with log:
        return subprocess.Popen(command, env=node_environment(home, **environment), stderr=log, text=True)


def wait_for_status(home: Home, process: "subprocess.Popen[str]", is_reached: Any) -> dict[str, Any]:
    """Ask the daemon until its status is as wanted."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, (home.root / "start.log").read_text()
        if (found := ask_status(home)) and is_reached(found):
            return found
        time.sleep(POLL_S)
    raise AssertionError((home.root / "start.log").read_text())


def ask_status(home: Home) -> dict[str, Any] | None:
    """Ask the control socket directly; None while nobody listens there."""
    with socket.socket(socket.AF_UNIX) as probe:  # the HTTP client would leave a socket open that can't connect
        try:
            probe.connect(str(home.socket))
        except OSError:
            return None
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(home.socket)), timeout=5) as client:
            found: dict[str, Any] = client.get("http://node/status").json()
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
    """Ours, without any setting of the node; on no network, unless `more` says another."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OPENLEDGER_")}
    return {**ours, "OPENLEDGER_HOME": str(home.root), "OPENLEDGER_NODE_NETWORK": "local", **more}
