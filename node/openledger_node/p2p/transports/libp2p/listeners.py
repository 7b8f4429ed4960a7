"""Sockets on which a node listens while it runs: those of a laptop move with it into another network."""

import trio
from libp2p.network.swarm import Swarm
from multiaddr import Multiaddr

from ....errors import NetworkError
from ...own_host import is_own_host
from ...scopes import host_of
from .guard import CLOSE_S, close_quietly
from .host import check_is_free

LISTEN_S = 10.0


async def listen_also(swarm: Swarm, address: Multiaddr) -> None:
    """Listen on one more address, and then no more on addresses that this machine has lost.

    Raises:
        NetworkError: it can't be listened on. The others are as they were.
    """
    check_is_free(address)
    with trio.move_on_after(LISTEN_S, shield=True):  # if cancelled, the library leaves sockets open
        await swarm.listen(address)
    if str(address) not in swarm.listeners:
        raise NetworkError(f"cannot listen on {address}")
    for name in [name for name in swarm.listeners if not is_own_host(host_of(name))]:
        listener = swarm.listeners.pop(name)
        with trio.move_on_after(CLOSE_S, shield=True):
            await close_quietly(listener)
