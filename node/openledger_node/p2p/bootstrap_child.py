"""Starting and ending a bootstrap point in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..errors import NetworkError

END_S = 10.0


class Point:
    """One running bootstrap point: who it is, and where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", told: dict[str, Any]) -> None:
        self._process = process
        self.peer_id: str = told["peer_id"]
        self.addresses: tuple[str, ...] = tuple(told["addresses"])

    def __enter__(self) -> "Point":
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


def start_point(folder: Path, *, network: str, listen: tuple[str, ...], bootstrap: tuple[str, ...] = ()) -> Point:
    """Start a point with the identity that lies in `folder`, and return when it listens. It ends with us.

    Raises:
        NetworkError: it can't be started; the message says why.
    """
    words = ["--network", network, "--folder", str(folder)]
    for flag, addresses in (("--listen", listen), ("--bootstrap", bootstrap)):
        words += [word for address in addresses for word in (flag, address)]
    process = subprocess.Popen(
        [sys.executable, "-m", "openledger_node.p2p.bootstrap", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # the terminal's Ctrl-C is for us
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    told: dict[str, Any] = json.loads(line) if line else {"error": f"it ended with status {process.wait()}"}
    if "error" in told:
        process.communicate()
        raise NetworkError(f"the bootstrap point does not start: {told['error']}")
    return Point(process, told)
