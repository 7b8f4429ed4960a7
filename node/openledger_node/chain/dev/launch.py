"""Starting and ending a development chain in a process of its own: its engine's memory is never the daemon's."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, Literal

from openledger_protocol.primitives import Digest

from ...child_process import ChildProcess, start_process
from ...errors import ChainError
from .constants import BLOCK_INTERVAL_S

# ---- What can run a development chain: the engine inside this package, or anvil where somebody has put it.

Engine = Literal["embedded", "anvil"]

CHAIN_FILES: Final[dict[Engine, str]] = {"embedded": "chain.db", "anvil": "anvil.json"}
"""What a folder holds of each engine's chain; a chain stays with the engine that began it."""

CHECKOUT = Path(__file__).resolve().parents[4]


def engine_of(folder: Path, wanted: str) -> Engine:
    """The engine for a chain's folder; `auto` is the one that began it, else the embedded one.

    Raises:
        ChainError: no engine is called so, or another one began the chain.
    """
    begun: list[Engine] = [engine for engine, name in CHAIN_FILES.items() if (folder / name).exists()]
    if wanted == "auto":
        return begun[0] if begun else "embedded"
    for engine in CHAIN_FILES:
        if engine == wanted:
            if begun and engine not in begun:
                raise ChainError(f"{begun[0]} began the chain in {folder}: use it, or take another folder")
            return engine
    raise ChainError(f"no engine is called {wanted!r}: there are auto, {', '.join(CHAIN_FILES)}")


def find_anvil() -> Path | None:
    """The program, if it is here: in this checkout by `npm ci`, or on the path."""
    # npm's own way in is a script that starts the program as a child and would leave it behind when it is killed.
    packages = CHECKOUT / "contracts" / "node_modules" / "@foundry-rs"
    for program in sorted(packages.glob("anvil-*/bin/anvil")):
        return program
    found = shutil.which("anvil")
    return Path(found) if found else None


# ---- launch


class Devnet(ChildProcess):
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
        *start_process("openledger_node.chain.dev.process", words, what=what, failure=ChainError, log_file=log_file)
    )
