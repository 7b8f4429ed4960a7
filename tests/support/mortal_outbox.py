"""An outbox in a process of its own, which is killed where it is told to.

`python -m support.mortal_outbox` reads lives, a line each: ledger, socket of the chain, a fail point (or `*`), and
how often it may be passed: the last time ends the process by SIGKILL. It answers with the exit code, negative where a
signal ended the life. Lives are forked, so that one takes milliseconds.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from openledger_node.chain.outbox import Outbox
from openledger_node.ledger.ledger import open_ledger
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.transactions import OutboxLimits

from .chain_server import RemoteChain
from .nodes import ROOT

KEYS = {address_of(key): key for key in (bytes([number]) * 32 for number in (1, 2))}
STEPS_MAX = 400
DONE, STUCK = 0, 3
LIMITS = OutboxLimits(in_flight_max=2, bump_after_blocks=3, bump_after_s=3)


Live = Callable[[Path, str, str, int], int]
"""Lives one life."""


@contextmanager
def open_lives() -> Iterator[Live]:
    """Start what lives are forked from."""
    command = [sys.executable, "-m", "support.mortal_outbox"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def live(file: Path, socket: str, point: str, count: int) -> int:
            asked.write(f"{file}\t{socket}\t{point}\t{count}\n")
            asked.flush()
            return int(told.readline())

        yield live
        asked.close()


def main() -> None:
    """Live a life for each line."""
    for line in sys.stdin:
        file, socket, point, count = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            os._exit(_live(Path(file), socket, mortal_at(point, int(count))))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def mortal_at(point: str, count: int) -> Callable[[str], None]:
    """A fail point that ends the process at its `count`-th passing; never for 0."""
    num_left = count

    def pass_point(name: str) -> None:
        nonlocal num_left
        if point in ("*", name):
            num_left -= 1
            if num_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return pass_point


def _live(file: Path, socket: str, fail_point: Callable[[str], None]) -> int:
    """Step until all is over; the chain makes a block after each step."""
    chain, ledger = RemoteChain(socket), open_ledger(file)
    outbox = Outbox(
        client=chain,
        journal=ledger.outbox,
        chain_id=chain.chain_id(),
        senders=KEYS,
        sign=lambda sender, digest: sign_digest(KEYS[sender], digest),
        limits=LIMITS,
        fail_point=fail_point,
    )
    for _ in range(STEPS_MAX):
        outbox.step()
        chain.mine()
        if chain.is_calm() and not ledger.outbox.unfinished():
            return DONE
    return STUCK


if __name__ == "__main__":
    main()
