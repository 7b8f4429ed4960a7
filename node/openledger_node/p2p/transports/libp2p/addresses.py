"""The addresses of this node: those it listens on, those its owner announces, and those found out at run time."""

from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Final

import trio
from libp2p.host.basic_host import BasicHost
from libp2p.network.swarm import Swarm
from multiaddr import Multiaddr

from ....errors import NetworkError
from ...own_host import is_own_host
from ...scopes import Scope, host_of, may_dial, scope_of
from ...transport import PeerId
from .guard import CLOSE_S, close_quietly
from .host import check_is_free

LISTEN_S: Final = 10.0
INTERFACES_S: Final = 10.0
"""The addresses of open sockets are read again after this time."""


class OwnAddresses:
    """Addresses without the peer id, unless it is said otherwise.

    `mapped` are ones at which others reach this node, such as a port of the router. `withheld` are ones that it
    listens on and nobody reaches.
    """

    def __init__(self, host: BasicHost, *, announce: tuple[Multiaddr, ...], scope: Scope) -> None:
        self._host = host
        self._announce = tuple(map(str, announce))
        self.scope = scope
        self.mapped: tuple[str, ...] = ()
        self.withheld: frozenset[str] = frozenset()
        self._interfaces: list[str] = []
        self._read_s = -inf  # when they were read
        host._addrs_factory = self._identified

    def interfaces(self) -> list[str]:
        """All addresses that this node listens on. They are asked for each second, and change seldom."""
        if not self._interfaces or monotonic() - self._read_s >= INTERFACES_S:
            self._interfaces = [str(address) for address in self._host.get_transport_addrs()]
            self._read_s = monotonic()
        return list(self._interfaces)

    def forget_interfaces(self) -> None:
        """Read them at the next question: they have changed."""
        self._interfaces = []

    def chosen(self) -> list[str]:
        """Addresses that were announced or mapped, so that the whole network reaches them."""
        return list(dict.fromkeys((*self._announce, *self.mapped)))

    def full(self, peer_id: PeerId) -> tuple[str, ...]:
        """Addresses for the whole network, with the peer id at their end."""
        own = (each for each in self._listening() if (scope_of(each) or Scope.MACHINE) >= self.scope)
        return tuple(f"{each}/p2p/{peer_id}" for each in dict.fromkeys((*self.chosen(), *own)))

    def registered(self, relays: tuple[str, ...], peer_id: PeerId) -> list[Multiaddr]:
        """The addresses that a rendezvous point is told; it tells each peer those that the peer can reach."""
        circuits = (address.removesuffix(f"/p2p/{peer_id}") for address in relays)
        return [Multiaddr(each) for each in (*self.chosen(), *circuits, *self._listening())]

    def may_dial(self, address: str) -> bool:
        """True if this node may dial an address that another peer named."""
        return may_dial(address, network=self.scope, own=self.interfaces())

    def _identified(self, listening: Sequence[Multiaddr]) -> list[Multiaddr]:
        """The addresses with which this node identifies itself to peers that are connected."""
        found = dict.fromkeys((*self.chosen(), *map(str, listening)))
        return [Multiaddr(each) for each in found if each not in self.withheld]

    def _listening(self) -> list[str]:
        return [each for each in self.interfaces() if each not in self.withheld]


async def listen_also(swarm: Swarm, address: Multiaddr) -> None:
    """Listen on one more address, and then no more on addresses that this machine has lost.

    Raises:
        NetworkError: it can't be listened on. The others are as they were.
    """
    check_is_free(address)
    with trio.move_on_after(LISTEN_S, shield=True) as opening:  # if cancelled, the library leaves sockets open
        await swarm.listen(address)
    if opening.cancelled_caught and (half_open := swarm.listeners.pop(str(address), None)):
        with trio.move_on_after(CLOSE_S, shield=True):
            await close_quietly(half_open)
    if str(address) not in swarm.listeners:
        raise NetworkError(f"cannot listen on {address}")
    await close_lost(swarm)


async def close_lost(swarm: Swarm) -> bool:
    """Listen no more on addresses that this machine has lost; True if there were any."""
    lost = [name for name in swarm.listeners if not is_own_host(host_of(name) or "")]
    for name in lost:
        listener = swarm.listeners.pop(name)
        with trio.move_on_after(CLOSE_S, shield=True):
            await close_quietly(listener)
    return bool(lost)
