"""Starting and ending a development chain in a process of its own: its engine's memory is never the daemon's."""

import subprocess
from pathlib import Path
from typing import Any

from openledger_protocol.primitives import Digest

from ..companion import Companion, start_process
from ..errors import ChainError
from .development import BLOCK_INTERVAL_S
from .engines import Engine


class Devnet(Companion):
    """One running development chain: where it listens and what it is."""

    def __init__(self, process: "subprocess.Popen[str]", told: dict[str, Any]) -> None:
        super().__init__(process)
        self.url: str = told["url"]
        self.chain_id: int = told["chain_id"]
        self.genesis_hash = Digest(told["genesis_hash"])
        self.engine: Engine = told["engine"]


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
    what = "the development chain"
    return Devnet(
        *start_process("openledger_node.chain.devnet", words, what=what, failure=ChainError, log_file=log_file)
    )
