"""Rendezvous, both sides, with bounds, because registrations come from untrusted peers.

A point remembers one registration per connected peer, so nobody can fill it: whoever leaves is forgotten, and whoever
registers under many names has only the last. It answers with a random sample in which no neighbourhood can prevail.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import SystemRandom

from libp2p.abc import IHost
from libp2p.discovery.rendezvous import RendezvousClient, RendezvousService
from libp2p.discovery.rendezvous.config import MIN_TTL
from libp2p.discovery.rendezvous.messages import (
    create_discover_response_message,
    create_register_message,
    create_register_response_message,
)
from libp2p.discovery.rendezvous.pb.rendezvous_pb2 import Message
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from ....node_clock import seconds_since_boot
from ...budget import PER_GROUP_MAX, PER_HOST_MAX
from ...scopes import Scope, group_of, is_public_host, is_same_home, scope_of, scope_of_host
from ...tally import Level, Reason, TrafficTally
from ...transport import PeerId

ADDRESSES_MAX = 8
ADDRESS_BYTES_MAX = 256
NAMESPACE_LENGTH_MAX = 64
TTL_S_MAX = 2 * 3600
PEERS_TOLD_MAX = 64
PEERS_ASKED_FOR = 256

Status = Message.ResponseStatus


@dataclass(frozen=True, slots=True)
class Registration:
    """A peer that wants to be found."""

    namespace: str
    addresses: tuple[bytes, ...]
    until_s: float


class RendezvousPoint(RendezvousService):
    """Tells peers of each other while they are connected."""

    def __init__(
        self,
        host: IHost,
        *,
        connected: Callable[[], Iterable[PeerId]],
        host_of: Callable[[PeerId], str],
        clock: Callable[[], float] = seconds_since_boot,
        tally: TrafficTally | None = None,
    ) -> None:
        super().__init__(host)
        self._tally = tally or TrafficTally()
        self._tally.watch(Level.REGISTRATIONS, self._count)
        self._connected = connected
        self._host_of = host_of  # the IP address that a peer dialled in from; empty if this node dialled it
        self._clock = clock
        self._random = SystemRandom()
        self._registered: dict[PeerId, Registration] = {}

    def _handle_register(self, peer_id: ID, register_msg: Message.Register) -> Message:
        namespace, addresses = register_msg.ns, tuple(register_msg.peer.addrs)
        if register_msg.peer.id != peer_id.to_bytes():
            return self._refuse(Status.E_NOT_AUTHORIZED, "a peer registers only itself")
        if not 0 < len(namespace) <= NAMESPACE_LENGTH_MAX:
            return self._refuse(Status.E_INVALID_NAMESPACE, "no such namespace")
        if not 0 < register_msg.ttl <= TTL_S_MAX:
            return self._refuse(Status.E_INVALID_TTL, f"at most {TTL_S_MAX} s")
        if len(addresses) > ADDRESSES_MAX or any(len(each) > ADDRESS_BYTES_MAX for each in addresses):
            return self._refuse(Status.E_INVALID_PEER_INFO, f"at most {ADDRESSES_MAX} addresses")
        until_s = self._clock() + register_msg.ttl
        self._registered[PeerId(str(peer_id))] = Registration(namespace, addresses, until_s)
        self._forget()
        return create_register_response_message(Status.OK, "OK", register_msg.ttl)

    def _refuse(self, status: Status.ValueType, words: str) -> Message:
        self._tally.refuse(Reason.REGISTRATION)
        return create_register_response_message(status, words)

    def _count(self) -> dict[str, int]:
        self._forget()
        return {"": len(self._registered)}

    def _handle_unregister(self, peer_id: ID, unregister_msg: Message.Unregister) -> None:
        self._registered.pop(PeerId(str(peer_id)), None)

    def _handle_discover(self, peer_id: ID, discover_msg: Message.Discover) -> Message:
        self._forget()
        asker = PeerId(str(peer_id))
        others = [who for who, each in self._registered.items() if each.namespace == discover_msg.ns and who != asker]
        # A peer without an address for this one would only take the place of another.
        found = {who: addresses for who in others if (addresses := self._visible(who, asker))}
        names = list(found)
        self._random.shuffle(names)
        num_max = min(discover_msg.limit or PEERS_TOLD_MAX, PEERS_TOLD_MAX)
        told = []
        for who in self._spread(names)[:num_max]:
            answer = Message.Register(ns=discover_msg.ns)
            answer.peer.id = ID.from_string(who).to_bytes()
            answer.peer.addrs.extend(found[who])
            answer.ttl = max(0, int(self._registered[who].until_s - self._clock()))
            told.append(answer)
        return create_discover_response_message(told, b"", Status.OK, "OK")

    def _spread(self, found: Iterable[PeerId]) -> list[PeerId]:
        """Peers of which no internet address, and no neighbourhood, has too many."""
        num_of: Counter[str] = Counter()
        chosen = []
        for who in found:
            host = self._host_of(who)
            if is_public_host(host):
                if num_of[host] >= PER_HOST_MAX or num_of[group_of(host)] >= PER_GROUP_MAX:
                    continue
                num_of.update((host, group_of(host)))
            chosen.append(who)
        return chosen

    def _visible(self, who: PeerId, asker: PeerId) -> list[bytes]:
        """The addresses of a peer that another one is told."""
        own, theirs = self._host_of(who), self._host_of(asker)
        return [raw for raw in self._registered[who].addresses if is_told(raw, owner=own, asker=theirs)]

    def _forget(self) -> None:
        """Forget those who left, and those who did not renew."""
        connected, now = set(self._connected()), self._clock()
        self._registered = {
            who: each for who, each in self._registered.items() if who in connected and each.until_s > now
        }


def is_told(raw: bytes, *, owner: str, asker: str) -> bool:
    """True if a peer that comes from the IP address `asker` is told this address of a peer that comes from `owner`.

    Nobody outside is told an address of a LAN or of a machine. Two peers behind the same router are in one LAN.
    """
    try:
        scope = scope_of(str(Multiaddr(raw)))
    except Exception:  # the library raises many kinds
        return False
    if scope is None or scope is Scope.INTERNET:
        return True  # a DNS name, which the asker judges itself, or the internet
    asker_scope = scope_of_host(asker)
    if asker_scope is Scope.MACHINE:
        return True
    return scope is Scope.LAN and (asker_scope is Scope.LAN or is_same_home(asker, owner))


async def register_and_discover(
    host: IHost, point: ID, namespace: str, addresses: Iterable[Multiaddr]
) -> list[PeerInfo]:
    """Register our addresses at a rendezvous point, if there are any, and ask for those of others."""
    client = RendezvousClient(host, point)
    if listed := list(addresses)[:ADDRESSES_MAX]:
        message = create_register_message(namespace, host.get_id(), [], MIN_TTL)
        # NOTE: by itself the library cuts an address off at its first peer id, which is the relay's in a circuit.
        message.register.peer.addrs.extend(address.to_bytes() for address in listed)
        await client._send_message(message)
    peers, _ = await client.discover(namespace, PEERS_ASKED_FOR)
    return [peer for peer in peers[:PEERS_ASKED_FOR] if peer.peer_id != host.get_id()]
