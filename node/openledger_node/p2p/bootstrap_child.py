"""Starting and ending a bootstrap point in a process of its own."""

import subprocess
from pathlib import Path
from typing import Any

from ..child_process import ChildProcess, start_process
from ..errors import NetworkError


class BootstrapNode(ChildProcess):
    """One running bootstrap point: who it is, and where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", told: dict[str, Any]) -> None:
        super().__init__(process)
        self.peer_id: str = told["peer_id"]
        self.addresses: tuple[str, ...] = tuple(told["addresses"])


def start_point(
    folder: Path, *, network: str, listen: tuple[str, ...], bootstrap: tuple[str, ...] = ()
) -> BootstrapNode:
    """Start a point with the identity that lies in `folder`, and return when it listens. It ends with us.

    Raises:
        NetworkError: it can't be started; the message says why.
    """
    words = ["--network", network, "--folder", str(folder)]
    for flag, addresses in (("--listen", listen), ("--bootstrap", bootstrap)):
        words += [word for address in addresses for word in (flag, address)]
    what = "the bootstrap point"
    return BootstrapNode(*start_process("openledger_node.p2p.bootstrap", words, what=what, failure=NetworkError))
