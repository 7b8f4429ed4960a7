"""anvil as a development chain: fast and able to reorganise, if npm has installed it.

It writes its state every second and when it ends, so that a kill may lose the blocks of the last seconds.
"""

import fcntl
import json
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

import httpx

from ...errors import ChainError
from .constants import HOST, InUseError, port_taken
from .launch import CHAIN_FILES, find_anvil

STATE_FILE: Final = "anvil-state.json"
LOCK_FILE: Final = "anvil.lock"
START_S: Final = 20.0
POLL_S: Final = 0.02
WATCH_S: Final = 0.2
END_S: Final = 5.0
GAS_LIMIT: Final = 30_000_000
STATES_KEPT: Final = 512
"""States of the newest blocks in memory. Without a bound, anvil moves older ones to the disk. `anvil_reorg` does not
find them there, and the chain continues without its contracts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """Values that make the first block of this chain unique, and the same at each start."""

    timestamp_s: int
    gas_limit: int


class Anvil:
    """One running anvil."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self._process = process
        self.url = url

    def watch(self, stop: threading.Event) -> None:
        """Wait until `stop`.

        Raises:
            ChainError: anvil ended by itself.
        """
        while not stop.wait(WATCH_S):
            if (status := self._process.poll()) is not None:
                raise ChainError(f"anvil ended with status {status}: see its last output above")

    def close(self) -> None:
        """Let anvil write its state and end."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_anvil(folder: Path, port: int, interval_s: float) -> Anvil:
    """Start anvil with a folder's chain, and return when it answers.

    Raises:
        ChainError: anvil is not installed, or ends.
    """
    if (program := find_anvil()) is None:
        raise ChainError(_why_not_here(folder))
    with _lock(folder) as lock:
        genesis = _genesis(folder / CHAIN_FILES["anvil"])
        url = f"http://{HOST}:{_free_port(port)}"
        process = subprocess.Popen(
            [program, *_flags(genesis, folder, url, interval_s)],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            pass_fds=[lock.fileno()],  # anvil holds the lock as long as it lives, even if we are killed
        )
        lock.write(str(process.pid))
    anvil = Anvil(process, url)
    try:
        _wait_until_up(process, url)
    except ChainError as error:
        anvil.close()
        raise _explained(error, folder) from error
    return anvil


def _why_not_here(folder: Path) -> str:
    if (folder / CHAIN_FILES["anvil"]).exists():
        return (
            f"anvil created the chain in {folder}, but is not installed: run `npm ci` in contracts/, "
            "or use another folder"
        )
    return "anvil is not installed: run `npm ci` in contracts/, or leave out --engine anvil"


@contextmanager
def _lock(folder: Path) -> Iterator[IO[str]]:
    """Lock a folder for one anvil, since two would overwrite each other's state. The file holds its process id."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InUseError(
                f"the development chain in {folder} is already running in process {file.read()}: end it first"
            ) from error
        file.truncate(0)
        yield file


def _explained(error: ChainError, folder: Path) -> ChainError:
    """Blame the state file if it is damaged: anvil may have been killed while writing it."""
    state = folder / STATE_FILE
    try:
        json.loads(state.read_bytes() if state.exists() else b"{}")
    except ValueError:
        return _damaged(state)
    return error


def _damaged(file: Path) -> ChainError:
    return ChainError(f"{file} is damaged: move {file.parent} away to start a fresh chain")


def _flags(genesis: Genesis, folder: Path, url: str, interval_s: float) -> list[str]:
    flags = {
        "--port": url.rpartition(":")[2],
        "--block-time": f"{interval_s:g}",
        "--slots-in-an-epoch": "1",  # otherwise no block is ever final
        "--hardfork": "prague",
        "--accounts": "1",
        "--timestamp": str(genesis.timestamp_s),
        "--gas-limit": str(genesis.gas_limit),
        "--state": str(folder / STATE_FILE),
        "--state-interval": "1",
        "--prune-history": str(STATES_KEPT),
    }
    return ["--quiet", "--no-cors", *(word for flag in flags.items() for word in flag)]


def _genesis(file: Path) -> Genesis:
    if file.exists():
        try:
            return Genesis(**json.loads(file.read_bytes()))
        except (ValueError, TypeError) as error:
            raise _damaged(file) from error
    genesis = Genesis(timestamp_s=int(time.time()) - 1, gas_limit=GAS_LIMIT + secrets.randbelow(1 << 16))
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(asdict(genesis)), encoding="utf-8")
    draft.replace(file)
    return genesis


def _free_port(requested: int) -> int:
    """The port, or any free one for 0. Checked before the start, as another program there might answer for anvil."""
    try:
        with socket.create_server((HOST, requested)) as probe:
            port: int = probe.getsockname()[1]
            return port
    except OSError as error:
        raise port_taken(requested, error) from error


def _wait_until_up(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait for an answer, and set the clock, since a resumed chain continues at the time when it ended."""
    deadline_s = time.monotonic() + START_S
    question = {"jsonrpc": "2.0", "id": 1, "method": "evm_setTime", "params": [int(time.time())]}
    with httpx.Client(trust_env=False, timeout=START_S) as client:
        while time.monotonic() < deadline_s:
            if (status := process.poll()) is not None:
                raise ChainError(f"anvil ended with status {status} while starting: its log says why")
            try:
                client.post(url, json=question)
                return
            except httpx.TransportError:
                time.sleep(POLL_S)
    raise ChainError(f"anvil does not answer after {START_S:.0f} s")
