"""A node and a payer, a process each and a socket pair a stream between them; one is killed where it is told to be.

`python -m node.payments.mortal_stream` reads lives, a line each: folder of the two ledgers, the side that dies, a
fail point (or `*`), and how often it may be passed: the last time ends that process by SIGKILL. It answers with both
exit codes, node's first, negative where a signal ended the life. The side that lives on sees a stream that breaks.
Each signature is noted in a file beside the ledgers as it is made, before anybody can have seen it.
"""

import os
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import trio
from support.lives import mortal_at, open_forker
from support.market_world.requests import purchase
from support.market_world.seller import open_seller
from support.market_world.terms import DOMAIN, Clock, draws, peer_id_of, sign_as

from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.errors import NetworkError
from openledger_node.ledger.ledger import open_ledger
from openledger_node.payments.payer import open_payer
from openledger_protocol.errors import ProtocolError

STREAMS = 2
LIFE_S = 20.0
DONE, BROKEN = 0, 3

Side = Literal["node", "payer"]
Live = Callable[[Path, str, str, int], tuple[int, int]]
"""Lives one life of both sides."""


@contextmanager
def open_lives() -> Iterator[Live]:
    """Start what lives are forked from."""
    with open_forker("node.payments.mortal_stream") as ask:

        def live(folder: Path, side: str, point: str, count: int) -> tuple[int, int]:
            node, payer = ask(folder, side, point, count).split()
            return int(node), int(payer)

        yield live


def main() -> None:
    """Live a life for each line."""
    for number, line in enumerate(sys.stdin):
        folder, side, point, count = line.rstrip("\n").split("\t")
        pairs = [socket.socketpair() for _ in range(STREAMS)]
        ends: dict[Side, list[socket.socket]] = {"node": [a for a, _ in pairs], "payer": [b for _, b in pairs]}
        children = [
            _fork(own, Path(folder), number, ends, mortal_at(point, int(count) if own == side else 0))
            for own in ("node", "payer")
        ]
        for pair in pairs:
            for end in pair:
                end.close()
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(*codes, flush=True)


def noted(file: Path, sign: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Sign, and let it be known what was signed."""

    def sign_and_note(digest: bytes) -> bytes:
        with file.open("a") as notes:
            notes.write(f"0x{digest.hex()}\n")
        return sign(digest)

    return sign_and_note


def _fork(
    side: Side, folder: Path, number: int, ends: dict[Side, list[socket.socket]], fail_point: Callable[[str], None]
) -> int:
    child = os.fork()
    if child:
        return child
    for other in ends["payer" if side == "node" else "node"]:
        other.close()  # else nobody would notice that it has died
    live = _sell if side == "node" else _buy
    try:
        trio.run(_limited, live, folder, number, ends[side], fail_point)
        os._exit(DONE)
    except BaseException:
        traceback.print_exc()
        os._exit(BROKEN)


async def _limited(
    live: Callable[[Path, int, list[socket.socket], Callable[[str], None]], Awaitable[None]],
    folder: Path,
    number: int,
    ends: list[socket.socket],
    fail_point: Callable[[str], None],
) -> None:
    with trio.fail_after(LIFE_S):
        await live(folder, number, ends, fail_point)


async def _sell(folder: Path, _: int, ends: list[socket.socket], fail_point: Callable[[str], None]) -> None:
    """Sign what is left unsigned, then serve one stream after the other; the clock stands where it always stood."""
    with closing(open_ledger(folder / "node.db", draw=draws())) as ledger:
        ledger.jobs.recover()
        async with trio.open_nursery() as nursery:
            sign = noted(folder / "node.signed", sign_as("node signer"))
            seller = open_seller(
                "node", folder, ledger, nursery, voucher_timeout_s=0.5, sign=sign, fail_point=fail_point
            )
            await nursery.start(seller.engine.run)
            seller.receipts.recover()
            for end in ends:
                stream = _stream(end)
                await seller.paid.serve(peer_id_of("buyer"), stream)
                await stream.aclose()
            await seller.serving.wait_idle()
            nursery.cancel_scope.cancel()


async def _buy(folder: Path, number: int, ends: list[socket.socket], fail_point: Callable[[str], None]) -> None:
    with closing(open_ledger(folder / "payer.db")) as ledger:
        payer = open_payer(
            ledger,
            domain=DOMAIN,
            tokenizer=ByteTokenizer(),
            sign=noted(folder / "payer.signed", sign_as("authorizer")),
            now_ns=Clock(),
            fail_point=fail_point,
        )
        for place, end in enumerate(ends):
            wanted = purchase(f"life {number} stream {place}", prompt=f"life {number}.{place} ...", max_tokens=20)
            try:
                await payer.buy(wanted, _stream(end), _show)
            except (ProtocolError, NetworkError) as error:
                with (folder / "payer.errors").open("a") as notes:
                    notes.write(f"{type(error).__name__} {error}\n")


async def _show(_: str) -> None:
    await trio.lowlevel.checkpoint()


def _stream(end: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(end))


if __name__ == "__main__":
    main()
