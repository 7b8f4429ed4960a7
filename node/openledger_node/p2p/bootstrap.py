"""A bootstrap node: a process without engine or money, where the peers of one network find each other.

    python -m openledger_node.p2p.bootstrap --network ID --folder F --listen /ip4/127.0.0.1/tcp/0

It serves rendezvous and relay, dials back peers that ask for it, passes gossip on, prints one line of JSON with its
addresses, and ends when its input ends.
"""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from random import SystemRandom

import trio

from openledger_protocol.wire.frames import wire_name

from ..errors import NodeError
from ..plugs import load_plug
from ..text import SafeFormatter
from .address_book import AddressBook
from .bootstrap_topics import TopicFollower
from .connections import Connections
from .dialback import DialbackServer
from .envelopes import GossipVerdict, judge_envelope
from .identity import ensure_identity
from .rates import Rates
from .scopes import scope_of_network
from .transport import PeerId, Transport, peer_id_from_address

CONNECTIONS_MAX = 256
MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 2.0, 20.0
"""Messages passed on per origin."""

READ_BYTES = 4096
END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def open_bootstrap(folder: Path, listen: tuple[str, ...], bootstrap: tuple[str, ...] = ()) -> Transport:
    """Open the transport of a bootstrap node, with the identity in `folder`.

    Raises:
        ConfigError: a listen address is invalid.
        KeyFileError: the identity can't be read.
    """
    transport: Transport = load_plug("transport", "libp2p")(
        identity=ensure_identity(folder),
        listen=listen,
        serve_rendezvous=True,
        bootstrap=(*listen, *bootstrap),
        inbound_max=CONNECTIONS_MAX,
        serve_relay=True,
    )
    return transport


async def serve(
    transport: Transport,
    *,
    network: str,
    folder: Path,
    bootstrap: tuple[str, ...] = (),
    announce: Callable[[Transport], None],
    wait_for_end: Callable[[], Awaitable[object]],
) -> None:
    """Serve one network until `wait_for_end` returns; `bootstrap` are its other bootstrap nodes.

    Raises:
        NetworkError: it can't listen.
    """
    rates: Rates[PeerId] = Rates(per_s=MESSAGES_A_SECOND, burst=MESSAGES_AT_ONCE, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        dialback = DialbackServer(transport, scope=scope_of_network((*transport.addresses, *bootstrap)))
        transport.handle(wire_name(network, "dialback"), dialback.serve)
        announce(transport)
        connections = Connections(
            transport, network=network, bootstrap=bootstrap, book=AddressBook(folder), random=SystemRandom()
        )
        nursery.start_soon(connections.run)
        follower = TopicFollower(
            transport,
            network=network,
            judge=partial(_judge, rates),
            others=frozenset(map(peer_id_from_address, bootstrap)),
        )
        nursery.start_soon(follower.run)
        await wait_for_end()
        nursery.cancel_scope.cancel()


def _judge(rates: Rates[PeerId], topic: str, origin: PeerId, content: bytes) -> GossipVerdict:
    """Judge a message as far as a node without a chain can; a rate that is exceeded is no mark."""
    if not rates.take(origin):
        return GossipVerdict.IGNORE
    return judge_envelope(topic, origin, content)


async def _wait_for_hang_up(signals: AsyncIterator[int]) -> None:
    """Wait until stdin ends or an end signal arrives."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_wait_for_end_of_input, nursery.cancel_scope)
        async for _ in signals:
            nursery.cancel_scope.cancel()


async def _wait_for_end_of_input(scope: trio.CancelScope) -> None:
    # NOTE: not by `sys.stdin`, because a thread that waits in it holds a lock that the interpreter needs at exit.
    while await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), READ_BYTES, abandon_on_cancel=True):
        pass
    scope.cancel()


def _announce(transport: Transport) -> None:
    print(json.dumps({"peer_id": transport.peer_id, "addresses": transport.addresses}), flush=True)


def main() -> int:
    """Run a bootstrap node; the exit code is that of its error."""
    parser = argparse.ArgumentParser(prog="openledger_node.p2p.bootstrap")
    parser.add_argument("--network", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--listen", action="append", required=True)
    parser.add_argument("--bootstrap", action="append", default=[])
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    for handler in logging.root.handlers:
        handler.setFormatter(SafeFormatter(logging.BASIC_FORMAT))

    failure: BaseException | None = None
    try:
        trio.run(_run, args)
    except* NodeError as group:
        failure = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if isinstance(failure, NodeError):
        print(json.dumps({"error": str(failure)}), flush=True)
        return failure.exit_code
    return 0


async def _run(args: argparse.Namespace) -> None:
    with trio.open_signal_receiver(*END_SIGNALS) as signals:  # before it prints its addresses
        await serve(
            open_bootstrap(args.folder, tuple(args.listen), tuple(args.bootstrap)),
            network=args.network,
            folder=args.folder,
            bootstrap=tuple(args.bootstrap),
            announce=_announce,
            wait_for_end=partial(_wait_for_hang_up, signals),
        )


if __name__ == "__main__":
    sys.exit(main())
