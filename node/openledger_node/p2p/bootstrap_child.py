"""Starting and stopping a bootstrap node in a child process."""

import subprocess
from pathlib import Path
from typing import Any

from ..child_process import ChildProcess, start_process
from ..errors import NetworkError


class BootstrapNode(ChildProcess):
    """A running bootstrap node: its peer id and addresses."""

    def __init__(self, process: "subprocess.Popen[str]", fields: dict[str, Any]) -> None:
        super().__init__(process)
        self.peer_id: str = fields["peer_id"]
        self.addresses: tuple[str, ...] = tuple(fields["addresses"])


def start_bootstrap(
    folder: Path, *, network: str, listen: tuple[str, ...], bootstrap: tuple[str, ...] = ()
) -> BootstrapNode:
    """Start a bootstrap node with the identity in `folder`, and return when it listens. It ends with this process.

    Raises:
        NetworkError: it can't be started; the message says why.
    """
    args = ["--network", network, "--folder", str(folder)]
    for flag, addresses in (("--listen", listen), ("--bootstrap", bootstrap)):
        args += [word for address in addresses for word in (flag, address)]
    what = "the bootstrap point"
    return BootstrapNode(*start_process("openledger_node.p2p.bootstrap", args, what=what, failure=NetworkError))
