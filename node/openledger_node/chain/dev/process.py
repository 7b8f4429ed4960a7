"""The development chain's process: `python -m openledger_node.chain.dev.process --folder … --port …`.

It writes one line of JSON to stdout: its URL, or why it can't start. It ends when its stdin does, so that it never
outlives its parent.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from ... import __version__
from ...errors import ChainError
from ...plugs import load_plug
from ..client import ChainClient
from .constants import BLOCK_INTERVAL_S, IN_USE_WAIT_S, InUseError, StoreFullError
from .launch import CHAIN_FILES, Engine, engine_of

if TYPE_CHECKING:
    from .embedded import EmbeddedChain

STDOUT, STDERR = 1, 2
INTERVAL_S_MIN: Final = 0.01
SHUTDOWN_POLL_S: Final = 3_600.0
IN_USE_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Command-line options of the process."""

    folder: Path
    port: int  # 0: any free port
    engine: str
    interval_s: float  # from block to block
    wait_s: float  # for another process that still runs the chain


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReady:
    """The line for the parent once the chain answers requests."""

    url: str
    chain_id: int
    genesis_hash: str
    engine: Engine


class Parent:
    """The parent process: it reads one line, and when its pipe ends, so do we."""

    def __init__(self, channel: IO[str]) -> None:
        self._channel = channel
        self._has_been_told = False
        self.is_gone = threading.Event()

    def tell(self, fields: dict[str, object]) -> None:
        """Write the line."""
        self._channel.write(json.dumps(fields) + "\n")
        self._channel.flush()
        self._has_been_told = True

    def fail(self, why: str) -> None:
        """Report why the chain ends: in the line, or on stderr after it, since nobody reads a second line."""
        if self._has_been_told:
            with suppress(OSError):
                print(f"the development chain ends: {why}", file=sys.stderr, flush=True)
        else:
            self.tell({"error": why})

    def watch(self) -> None:
        """Notice the end of the parent; a signal counts as the same."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.is_gone.set())
        threading.Thread(target=self._read_to_the_end, daemon=True).start()

    def _read_to_the_end(self) -> None:
        sys.stdin.read()
        self.is_gone.set()


def main() -> None:
    """Run the chain until stdin ends."""
    options = _parse(sys.argv[1:])
    parent = Parent(_claim_stdout())
    parent.watch()
    try:
        options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine = engine_of(options.folder, options.engine)
        run = run_anvil if engine == "anvil" else run_embedded
        run_when_free(lambda: run(options, parent), parent, options.wait_s)
    except (ChainError, OSError) as error:
        parent.fail(str(error))
        sys.exit(ChainError.exit_code)


def run_when_free(run: Callable[[], None], parent: Parent, wait_s: float) -> None:
    """Run the chain once no other process does. The log says once that it waits.

    Raises:
        InUseError: another process still runs it after `wait_s`, or our parent has gone.
    """
    until_s = time.monotonic() + wait_s
    has_waited = False
    while True:
        try:
            return run()
        except InUseError as error:
            if time.monotonic() >= until_s:
                raise
            if not has_waited:
                has_waited = True
                with suppress(OSError):
                    print(
                        f"waiting up to {wait_s:g} s for another process to end: {error}", file=sys.stderr, flush=True
                    )
            if parent.is_gone.wait(IN_USE_POLL_S):
                raise


def run_embedded(options: Options, parent: Parent) -> None:
    """Serve and mine the embedded chain."""
    from .embedded import open_chain  # imported late: the EVM takes 50 MB and almost 1 s, which anvil does not need
    from .rpc_methods import RpcMethods
    from .rpc_server import open_server

    chain = open_chain(options.folder / CHAIN_FILES["embedded"], int(time.time()) - 1)
    methods = RpcMethods(chain, f"openledger-node/{__version__}")
    server = open_server(options.port, methods.answer)
    # Nobody shuts the server down: it ends with its process, so it need not look for that twice a second.
    threading.Thread(target=server.serve_forever, args=(SHUTDOWN_POLL_S,), daemon=True).start()
    genesis = chain.header(0)
    assert genesis is not None, "a chain has a first block"
    ready = ChainReady(
        url=server.url, chain_id=chain.chain_id, genesis_hash="0x" + genesis.hash.hex(), engine="embedded"
    )
    parent.tell(asdict(ready))
    due_s, why_not = time.monotonic(), ""
    while not parent.is_gone.wait(max(0.0, due_s - time.monotonic())):
        with methods.lock:
            why_not = mine_or_say(chain, int(time.time()), why_not)
        due_s = max(due_s + options.interval_s, time.monotonic())
    with methods.lock:  # a request that is being answered ends first
        chain.close()


def mine_or_say(chain: "EmbeddedChain", timestamp_s: int, why_before: str) -> str:
    """Mine a block; return why it can't be stored, which is said once. The chain still answers meanwhile.

    Raises:
        ChainError: the chain is damaged.
    """
    try:
        chain.mine(timestamp_s)
    except StoreFullError as error:
        if str(error) != why_before:
            with suppress(OSError):  # the log may be on the same disk
                print(f"no block is mined: {error}", file=sys.stderr, flush=True)
        return str(error)
    return ""


def run_anvil(options: Options, parent: Parent) -> None:
    """Run the chain with anvil."""
    from .anvil import start_anvil

    anvil = start_anvil(options.folder, options.port, options.interval_s)
    try:
        client: ChainClient = load_plug("chain", "evm")(anvil.url)
        genesis = client.block(0)
        assert genesis is not None, "a chain has a first block"
        ready = ChainReady(url=anvil.url, chain_id=client.chain_id(), genesis_hash=genesis.hash, engine="anvil")
        client.close()
        parent.tell(asdict(ready))
        anvil.watch(parent.is_gone)
    finally:
        anvil.close()


def _parse(words: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="openledger_node.chain.dev.process", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="Folder of the chain.")
    parser.add_argument("--port", type=int, default=0, help="Port to listen on; 0 takes any free one.")
    parser.add_argument("--engine", default="embedded", help="Engine: auto, embedded or anvil.")
    parser.add_argument("--interval-s", type=float, default=BLOCK_INTERVAL_S, help="Seconds between blocks.")
    parser.add_argument("--wait-s", type=float, default=IN_USE_WAIT_S, help="Seconds to wait for a free chain.")
    found = parser.parse_args(words)
    interval_s = max(INTERVAL_S_MIN, found.interval_s)
    return Options(
        folder=found.folder, port=found.port, engine=found.engine, interval_s=interval_s, wait_s=found.wait_s
    )


def _claim_stdout() -> IO[str]:
    """Reserve stdout for our line, and send everything that libraries print to stderr."""
    channel = os.fdopen(os.dup(STDOUT), "w", encoding="utf-8")
    os.dup2(STDERR, STDOUT)
    return channel


if __name__ == "__main__":
    main()
