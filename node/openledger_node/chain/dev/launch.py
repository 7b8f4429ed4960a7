"""Start and end a development chain in a process of its own, so that its memory is never the daemon's."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from openledger_protocol.primitives import Digest

from ...child_process import BegunProcess, ChildProcess, begin_process
from ...errors import ChainError
from .constants import BLOCK_INTERVAL_S, IN_USE_WAIT_S

# ---- Engines: the one in this package, or anvil if it is installed

Engine = Literal["embedded", "anvil"]

CHAIN_FILES: Final[dict[Engine, str]] = {"embedded": "chain.db", "anvil": "anvil.json"}
"""The file of each engine's chain in its folder; a chain stays with the engine that created it."""

CHECKOUT = Path(__file__).resolve().parents[4]


def engine_of(folder: Path, requested: str) -> Engine:
    """The engine for a chain's folder; `auto` is the engine that created the chain, or else the embedded one.

    Raises:
        ChainError: there is no such engine, or another one created the chain.
    """
    created: list[Engine] = [engine for engine, name in CHAIN_FILES.items() if (folder / name).exists()]
    if requested == "auto":
        return created[0] if created else "embedded"
    for engine in CHAIN_FILES:
        if engine == requested:
            if created and engine not in created:
                raise ChainError(f"{created[0]} created the chain in {folder}: use that engine, or another folder")
            return engine
    raise ChainError(f"there is no engine {requested!r}: use auto, {' or '.join(CHAIN_FILES)}")


def find_anvil() -> Path | None:
    """The anvil program, from `npm ci` in this checkout or from PATH; None if it is not installed."""
    # Not npm's launcher: it starts anvil as a child process, and would leave it running when it is killed.
    packages = CHECKOUT / "contracts" / "node_modules" / "@foundry-rs"
    for program in sorted(packages.glob("anvil-*/bin/anvil")):
        return program
    found = shutil.which("anvil")
    return Path(found) if found else None


# ---- launch


class Devnet(ChildProcess):
    """One running development chain: its URL and identity."""

    def __init__(self, begun: BegunProcess, begin: Callable[[int], BegunProcess]) -> None:
        """Return when the chain answers.

        Raises:
            ChainError: it can't start; the message says why.
        """
        process, ready = begun.finish()
        super().__init__(process)
        self._begin = begin  # the chain's process on a port
        self._turn = threading.Lock()  # a thread may start the process again while the node stops
        self._is_over = False
        self.url: str = ready["url"]
        self.chain_id: int = ready["chain_id"]
        self.genesis_hash = Digest(ready["genesis_hash"])
        self.engine: Engine = ready["engine"]

    def restart(self) -> None:
        """Start the chain again, at the same address, after its process has ended.

        Raises:
            ChainError: it can't start; the message says why.
        """
        with self._turn:
            if self._is_over:
                raise ChainError("the node stops, so its development chain is not started again")
            super().close()
            begun = self._begin(urlsplit(self.url).port or 0)
            self._process = begun.process  # so that `close` ends it even before it answers
        _, ready = begun.finish()
        if ready["genesis_hash"] != self.genesis_hash:
            super().close()
            raise ChainError("the development chain is another one now: stop the node and start it again")

    def close(self) -> None:
        """End the process for good, even one that `restart` has begun in another thread."""
        with self._turn:
            self._is_over = True
        super().close()


@dataclass(frozen=True, slots=True)
class BegunDevnet:
    """A development chain whose process may not answer yet."""

    process: BegunProcess
    begin: Callable[[int], BegunProcess]  # the process on a port, once more

    def finish(self) -> Devnet:
        """Return when the chain answers.

        Raises:
            ChainError: it can't start; the message says why.
        """
        return Devnet(self.process, self.begin)


def begin_devnet(
    folder: Path,
    *,
    port: int = 0,
    engine: str = "auto",
    interval_s: float = BLOCK_INTERVAL_S,
    wait_s: float = IN_USE_WAIT_S,
) -> BegunDevnet:
    """Start the process of the chain in `folder`, or of a new one there, without waiting for it.

    It waits up to `wait_s` for the end of another process that runs the chain, such as that of a killed node.
    The process writes to our stderr. It ends when ours does, even by a kill.
    """
    module, what = "openledger_node.chain.dev.process", "the development chain"

    def begin(port: int) -> BegunProcess:
        words = ["--folder", str(folder), "--port", str(port), "--engine", engine]
        words += ["--interval-s", f"{interval_s:g}", "--wait-s", f"{wait_s:g}"]
        return begin_process(module, words, what=what, failure=ChainError)

    return BegunDevnet(begin(port), begin)


def start_devnet(
    folder: Path,
    *,
    port: int = 0,
    engine: str = "auto",
    interval_s: float = BLOCK_INTERVAL_S,
    wait_s: float = IN_USE_WAIT_S,
) -> Devnet:
    """Start the chain as `begin_devnet` does, and return when it answers.

    Raises:
        ChainError: it can't start; the message says why.
    """
    begun = begin_devnet(folder, port=port, engine=engine, interval_s=interval_s, wait_s=wait_s)
    return begun.finish()
