"""Trying addresses from outside: does a peer answer there, and is it the one that the address names?"""

import secrets
from collections.abc import Iterable
from contextlib import suppress

import trio

from ..errors import NetworkError
from ..plugs import load_plug
from .identity import SEED_BYTES
from .transport import Transport

PROBES_AT_ONCE = 8


def probe_all(addresses: Iterable[str]) -> frozenset[str]:
    """Dial each address, with an identity that is used once, and return those where the right peer proves its id."""
    transport: Transport = load_plug("transport", "libp2p")(
        identity=secrets.token_bytes(SEED_BYTES), listen=(), serve_rendezvous=False
    )
    answering: set[str] = set()

    async def probe(address: str, limit: trio.CapacityLimiter) -> None:
        async with limit:
            with suppress(NetworkError):
                await transport.probe(address)
                answering.add(address)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(transport.run)
            limit = trio.CapacityLimiter(PROBES_AT_ONCE)
            async with trio.open_nursery() as probing:
                for address in addresses:
                    probing.start_soon(probe, address, limit)
            nursery.cancel_scope.cancel()

    trio.run(run)
    return frozenset(answering)
