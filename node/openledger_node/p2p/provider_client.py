"""Bootstrap nodes as holders of provider records, and finding the records of others there.

Each adapter has three bootstrap nodes that hold its records.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from random import Random

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import ProtocolError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import ErrorMessage, error_from_message
from openledger_protocol.wire.providers import (
    RECORDS_MAX,
    GetRecords,
    ProviderRecord,
    ProvidersMessage,
    Records,
    decode,
    encode,
    nearest_points,
    open_record,
)

from ..errors import NetworkError
from .provider_records import PER_PEER_MAX
from .streams import MessageStream
from .transport import PeerId, Transport, peer_id_from_address

ASK_S = 10.0
LOOKUP_S, OTHERS_S = 4.0, 0.5
"""The longest wait for the answers of the bootstrap nodes, and how long the others get after the first records."""

FOUND_FOR_S, NONE_FOR_S = 60.0, 10.0
"""The time for which a result counts, with records and without."""

RESULTS_MAX, NEAREST_MAX = 1_024, 2 * PER_PEER_MAX

log = logging.getLogger(__name__)


class Points:
    """The bootstrap nodes of a network, as holders of provider records."""

    def __init__(self, transport: Transport, *, network: str, bootstrap: Iterable[str]) -> None:
        self._transport = transport
        self._protocol = wire_name(network, "providers")
        self._addresses: dict[PeerId, list[str]] = {}
        self._nearest: dict[AdapterId, tuple[PeerId, ...]] = {}  # the publisher asks for all of its own every 5 s
        for address in bootstrap:
            point = peer_id_from_address(address)
            if point != transport.peer_id:
                self._addresses.setdefault(point, []).append(address)

    def __iter__(self) -> Iterator[PeerId]:
        """The peer ids of the bootstrap nodes."""
        return iter(self._addresses)

    def nearest(self, adapter: AdapterId) -> tuple[PeerId, ...]:
        """The bootstrap nodes that hold an adapter's records, nearest first."""
        if adapter not in self._nearest:
            if len(self._nearest) >= NEAREST_MAX:
                self._nearest.clear()
            self._nearest[adapter] = tuple(map(PeerId, nearest_points(adapter, self._addresses)))
        return self._nearest[adapter]

    async def ask(self, point: PeerId, question: ProvidersMessage) -> ProvidersMessage:
        """Ask a bootstrap node one question.

        Raises:
            NetworkError: it is away, too slow, or holds no provider records.
            ProtocolError: it refuses.
        """
        with trio.move_on_after(ASK_S):
            await self._reach(point)
            async with await self._transport.open_stream(point, self._protocol) as stream:
                messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
                await messages.send(encode(question))
                answer = decode(await messages.receive())
            if isinstance(answer, ErrorMessage):
                raise error_from_message(answer)
            return answer
        raise NetworkError(f"bootstrap node {point} has not answered in {ASK_S:.0f} s")

    async def _reach(self, point: PeerId) -> None:
        if point in self._transport.connected():
            return
        failure: NetworkError | None = None
        for address in self._addresses[point]:
            try:
                await self._transport.connect(address, is_trusted=True)
                return
            except NetworkError as error:
                failure = error
        assert failure is not None, "each bootstrap node has an address"
        raise failure


class ProviderLookup:
    """Finds the peers that have an adapter, by the records at its nearest bootstrap nodes."""

    def __init__(
        self, points: Points, transport: Transport, *, network: str, now_s: Callable[[], float], random: Random
    ) -> None:
        self._points = points
        self._transport = transport
        self._network = network
        self._now_s = now_s
        self._random = random
        self._results: dict[AdapterId, tuple[float, list[ProviderRecord]]] = {}  # until when; newest last
        self._asking: dict[AdapterId, trio.Event] = {}

    async def find(self, adapter: AdapterId) -> list[ProviderRecord]:
        """Valid records of other peers in random order; none if nobody has it, or no bootstrap node answers."""
        while (asking := self._asking.get(adapter)) is not None:
            await asking.wait()
        until_s, found = self._results.get(adapter, (-1.0, []))
        if trio.current_time() < until_s:
            return list(found)
        self._asking[adapter] = trio.Event()
        try:
            found = await self._ask_all(adapter)
        finally:
            self._asking.pop(adapter).set()
        self._results.pop(adapter, None)
        self._results[adapter] = trio.current_time() + (FOUND_FOR_S if found else NONE_FOR_S), found
        if len(self._results) > RESULTS_MAX:
            del self._results[next(iter(self._results))]
        return list(found)

    async def _ask_all(self, adapter: AdapterId) -> list[ProviderRecord]:
        newest: dict[str, ProviderRecord] = {}

        async def ask(point: PeerId, scope: trio.CancelScope) -> None:
            for record in await self._ask(point, adapter):
                if (known := newest.get(record.peer_id)) is None or known.issued_s < record.issued_s:
                    newest[record.peer_id] = record
                scope.deadline = min(scope.deadline, trio.current_time() + OTHERS_S)

        with trio.move_on_after(LOOKUP_S) as scope:
            async with trio.open_nursery() as nursery:
                for point in self._points.nearest(adapter):
                    nursery.start_soon(ask, point, scope)
        found = list(newest.values())
        self._random.shuffle(found)
        return found

    async def _ask(self, point: PeerId, adapter: AdapterId) -> list[ProviderRecord]:
        try:
            answer = await self._points.ask(point, GetRecords(adapter=adapter, count_max=RECORDS_MAX))
        except (NetworkError, ProtocolError) as error:
            log.info("bootstrap node %s tells no provider records: %s", point, error)
            return []
        found = []
        for content in answer.records if isinstance(answer, Records) else ():
            try:
                record = open_record(content, network=self._network, now_s=int(self._now_s()))
            except ProtocolError as error:
                log.info("bootstrap node %s tells a wrong provider record: %s", point, error)
                continue
            is_other = record.peer_id != self._transport.peer_id
            if record.adapter == adapter and is_other and not record.is_withdrawal:
                found.append(record)
            await trio.lowlevel.checkpoint()
        return found
