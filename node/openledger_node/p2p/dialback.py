"""Dialling back: a peer opens new connections to the node that asks, which learns whether others reach it.

A peer dials nothing but the IP address that it sees the asker at, seldom, and reports only ports where the asker
answered with its own peer id. So nobody can use it to dial or to scan a third machine.
"""

import trio

from openledger_protocol.errors import MalformedError, OverloadedError, ProtocolError, UnavailableError
from openledger_protocol.wire.dialback import DialbackMessage, Dialled, DialMe, decode, encode
from openledger_protocol.wire.inference import ErrorMessage, error_from_message

from ..errors import NetworkError
from .rates import Rates
from .scopes import Scope, group_of, scope_of_host
from .streams import MessageStream
from .tally import Counted, Reason, TrafficTally
from .transport import Path, PeerId, Transport

DIAL_S = 5.0
QUESTION_S = 5.0
ANSWER_S = DIAL_S + 4.0
"""The asker's time limit: both ends of the stream are slower than the dial by a round trip or two."""

EVERY_S = 30.0
CHECKS_MAX = 4
"""Checks that run at the same time; each dials at most four ports."""


def multiaddr_of(host: str, port: int) -> str:
    """The TCP multiaddress of an IP address and a port."""
    return f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}"


class DialbackServer:
    """Serves the `dialback` protocol; `scope` is that of the network."""

    def __init__(self, transport: Transport, *, scope: Scope, tally: TrafficTally | None = None) -> None:
        self._transport = transport
        self._tally = tally or TrafficTally()
        self._scope = scope
        self._num_running = 0
        self._rates: Rates[str] = Rates(per_s=1 / EVERY_S, burst=1.0, clock=trio.current_time)

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Answer one question."""
        messages = MessageStream(stream)
        try:
            with trio.fail_after(QUESTION_S):
                question = decode(await messages.receive())
            answer = await self._answer(peer_id, question)
            await messages.offer(encode(answer), timeout_s=QUESTION_S)
        except ProtocolError as error:
            self._tally.refuse(Reason.DIALBACK)
            await messages.refuse(error, timeout_s=QUESTION_S)
        except (NetworkError, trio.TooSlowError):
            pass  # it left, or asked nothing

    async def _answer(self, peer_id: PeerId, question: DialbackMessage) -> Dialled:
        if not isinstance(question, DialMe):
            raise MalformedError("a stream begins with `dial_me`")
        host = self._transport.seen_host(peer_id)
        if not host or self._transport.path_to(peer_id) is not Path.DIRECT:
            raise UnavailableError("this node does not see your address: it has dialled you, or over a relay")
        scope = scope_of_host(host)
        if scope is None or scope < self._scope:
            raise UnavailableError(f"you are seen at {host}, which most nodes of this network can't dial")
        if self._num_running >= CHECKS_MAX or not self._take(peer_id, host):
            raise OverloadedError(f"one check in {EVERY_S:.0f} s is made for a peer and for an address: ask later")
        self._num_running += 1
        try:
            found = await self._dial_all(peer_id, host, question.ports)
            self._tally.count(Counted.DIALBACK, "reached" if found else "not_reached")
            return Dialled(host=host, open=found)
        finally:
            self._num_running -= 1

    def _take(self, peer_id: PeerId, host: str) -> bool:
        """Take a turn of the peer and one of its address; the peers behind one IPv4 address share it."""
        address = group_of(host) if ":" in host else host
        return self._rates.take(peer_id) and self._rates.take(address)

    async def _dial_all(self, peer_id: PeerId, host: str, ports: tuple[int, ...]) -> tuple[int, ...]:
        found: set[int] = set()
        with trio.move_on_after(DIAL_S):
            async with trio.open_nursery() as nursery:
                for port in dict.fromkeys(ports):
                    nursery.start_soon(self._dial, peer_id, host, port, found)
        return tuple(port for port in dict.fromkeys(ports) if port in found)

    async def _dial(self, peer_id: PeerId, host: str, port: int, found: set[int]) -> None:
        try:
            await self._transport.probe(f"{multiaddr_of(host, port)}/p2p/{peer_id}")
        except NetworkError:
            return
        found.add(port)


async def ask_to_dial(transport: Transport, protocol: str, peer_id: PeerId, ports: tuple[int, ...]) -> Dialled:
    """Ask a peer to dial this node at `ports`.

    Raises:
        NetworkError: the peer is away, or has not answered in time.
        ProtocolError: it refuses, or its answer is malformed.
    """
    with trio.move_on_after(ANSWER_S):
        async with await transport.open_stream(peer_id, protocol) as stream:
            messages = MessageStream(stream)
            await messages.send(encode(DialMe(ports=ports)))
            answer = decode(await messages.receive())
        if isinstance(answer, ErrorMessage):
            raise error_from_message(answer)
        if not isinstance(answer, Dialled) or not set(answer.open) <= set(ports):
            raise MalformedError("a peer reports ports that it was not asked about")
        return answer
    raise NetworkError(f"peer {peer_id} has not dialled back in {ANSWER_S:.0f} s")
