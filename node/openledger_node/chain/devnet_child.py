"""Starting and ending a development chain in a process of its own: its engine's memory is never the daemon's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from openledger_protocol.primitives import Digest

from ..errors import ChainError
from .development import BLOCK_INTERVAL_S
from .engines import Engine

END_S = 10.0
LOG_BYTES_MAX = 1 << 20


class Devnet:
    """One running development chain: where it listens and what it is."""

    def __init__(self, process: "subprocess.Popen[str]", told: dict[str, Any]) -> None:
        self._process = process
        self.url: str = told["url"]
        self.chain_id: int = told["chain_id"]
        self.genesis_hash = Digest(told["genesis_hash"])
        self.engine: Engine = told["engine"]

    def __enter__(self) -> "Devnet":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()

    @property
    def process_id(self) -> int:
        """Of the process that we started."""
        return self._process.pid

    def wait(self) -> int:
        """Wait until it ends by itself, and return its exit status."""
        return self._process.wait()

    def close(self) -> None:
        """Hang up, which ends it, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def start_devnet(
    folder: Path,
    *,
    port: int = 0,
    engine: str = "auto",
    interval_s: float = BLOCK_INTERVAL_S,
    log_file: Path | None = None,
) -> Devnet:
    """Start the chain that lies in `folder`, or begin one there, and return when it answers.

    What the process prints goes to `log_file`, or where our own errors go. It ends with us, whatever ends us.

    Raises:
        ChainError: it can't be started; the message says why.
    """
    words = ["--folder", str(folder), "--port", str(port), "--engine", engine, "--interval-s", f"{interval_s:g}"]
    with _open_log(log_file) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "openledger_node.chain.devnet", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # the terminal's Ctrl-C is for us
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    told: dict[str, Any] = json.loads(line) if line else {"error": f"it ended with status {process.wait()}"}
    if "error" in told:
        process.communicate()
        raise ChainError(f"the development chain does not start: {told['error']}")
    return Devnet(process, told)


def _open_log(file: Path | None) -> IO[str]:
    if file is None:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > LOG_BYTES_MAX:
        file.replace(file.with_suffix(".log.1"))
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8")
