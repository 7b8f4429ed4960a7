"""Publishing provider records at bootstrap nodes, and finding those of others there.

Each adapter has three bootstrap nodes that hold its records. A node puts its records in batches, every half hour and
when its adapters or addresses change, so that one with thousands of adapters costs little.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random

import trio

from openledger_protocol.advertisement import check_multiaddr, check_relay
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.constants import AD_ADDRESSES_MAX, AD_RELAYS_MAX
from openledger_protocol.errors import MalformedError, ProtocolError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import ErrorMessage, error_from_message
from openledger_protocol.wire.providers import (
    PUT_MAX,
    RECORD_LIFETIME_S_MAX,
    RECORDS_MAX,
    GetRecords,
    ProviderRecord,
    ProvidersMessage,
    PutRecords,
    Records,
    StoredRecords,
    decode,
    encode,
    nearest_points,
    open_record,
    sign_record,
)

from ..errors import NetworkError
from .provider_records import PER_PEER_MAX
from .streams import MessageStream
from .transport import PeerId, Transport, peer_id_from_address, relay_of

ROUND_S_MIN, ROUND_S_MAX = 1_500.0, 1_800.0
"""All records are put again after about half of their life, at a time of each node's own."""

LOOK_S = 5.0
"""The pause between checks of this node's adapters and addresses; what changed meanwhile goes out together."""

BATCH_PAUSE_S = 1.0
"""The pause between two batches for one bootstrap node, which checks each for about 50 ms."""

RETRY_S_MIN, RETRY_S_MAX = 15.0, 600.0
"""A bootstrap node that takes no records is tried again after this time, which doubles."""

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


class ProviderPublisher:
    """Puts a record for each adapter of this node at its nearest bootstrap nodes; `run` is its task."""

    def __init__(
        self,
        points: Points,
        transport: Transport,
        *,
        network: str,
        seed: bytes,
        shelf: Callable[[], Sequence[AdapterId]],
        now_s: Callable[[], float],
        random: Random,
    ) -> None:
        self._points = points
        self._transport = transport
        self._network = network
        self._seed = seed  # of the peer's key
        self._shelf = shelf  # adapters to publish, the most requested first
        self._now_s = now_s
        self._random = random
        self._places: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # addresses and relays of this round
        self._signed: dict[AdapterId, bytes] = {}  # the records of this round
        self._told: dict[PeerId, set[AdapterId]] = {}  # what each bootstrap node has been put in this round
        self._round_due_s = 0.0
        self._retry: dict[PeerId, tuple[float, float]] = {}  # when to try again, and the pause before

    async def run(self) -> None:
        """Publish until cancelled."""
        await trio.sleep(LOOK_S * self._random.random())
        while True:
            await self._look()
            await trio.sleep(LOOK_S)

    async def _look(self) -> None:
        """Put whatever a bootstrap node lacks; begin a new round if it is due, or this node is reached elsewhere."""
        shelf, places = self._shelf()[:PER_PEER_MAX], self._find_places()
        if trio.current_time() >= self._round_due_s or places != self._places:
            self._places, self._signed, self._told = places, {}, {}
            self._round_due_s = trio.current_time() + self._random.uniform(ROUND_S_MIN, ROUND_S_MAX)
        if not any(places):
            return  # nobody could reach this node
        awake = {point for point in self._points if self._retry.get(point, (0.0, 0.0))[0] <= trio.current_time()}
        lacking: dict[PeerId, list[AdapterId]] = {}
        for adapter in shelf:
            for point in self._points.nearest(adapter):
                if point in awake and adapter not in self._told.get(point, ()):
                    lacking.setdefault(point, []).append(adapter)
        async with trio.open_nursery() as nursery:
            for point, adapters in lacking.items():
                nursery.start_soon(self._put_all, point, adapters)

    async def _put_all(self, point: PeerId, adapters: Sequence[AdapterId]) -> None:
        for number, batch in enumerate(_batches(adapters)):
            if number:
                await trio.sleep(BATCH_PAUSE_S)
            try:
                stored = await self._points.ask(point, PutRecords(records=await self._sign(batch)))
            except (NetworkError, ProtocolError) as error:
                self._put_off(point)
                log.info("bootstrap node %s takes no provider records: %s", point, error)
                return
            self._retry.pop(point, None)
            self._told.setdefault(point, set()).update(batch)
            if isinstance(stored, StoredRecords):
                log.debug("bootstrap node %s keeps %d of %d provider records", point, stored.count, len(batch))

    def _put_off(self, point: PeerId) -> None:
        pause_s = min(max(2 * self._retry.get(point, (0.0, 0.0))[1], RETRY_S_MIN), RETRY_S_MAX)
        self._retry[point] = trio.current_time() + pause_s * self._random.uniform(0.75, 1.25), pause_s

    async def _sign(self, adapters: Sequence[AdapterId]) -> tuple[bytes, ...]:
        """The signed records of adapters; all bootstrap nodes get the same one of each."""
        (addresses, relays), now_s = self._places, int(self._now_s())
        for adapter in adapters:
            if adapter not in self._signed:
                record = ProviderRecord(
                    network=self._network,
                    adapter=adapter,
                    peer_id=self._transport.peer_id,
                    addresses=addresses,
                    relays=relays,
                    issued_s=now_s,
                    expires_s=now_s + RECORD_LIFETIME_S_MAX,
                )
                self._signed[adapter] = sign_record(record, self._seed)
                await trio.lowlevel.checkpoint()  # signing takes time, and other tasks wait
        return tuple(self._signed[adapter] for adapter in adapters)

    def _find_places(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """This node's addresses, and the addresses of its relays, as far as a record can list them."""
        addresses = [each for each in self._transport.addresses if _passes(check_multiaddr, each)]
        relays = [each for each in map(relay_of, self._transport.relays) if _passes(check_relay, each)]
        return tuple(addresses[:AD_ADDRESSES_MAX]), tuple(relays[:AD_RELAYS_MAX])


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
            if record.adapter == adapter and record.peer_id != self._transport.peer_id:
                found.append(record)
            await trio.lowlevel.checkpoint()
        return found


def _batches(adapters: Sequence[AdapterId]) -> Iterator[Sequence[AdapterId]]:
    for begin in range(0, len(adapters), PUT_MAX):
        yield adapters[begin : begin + PUT_MAX]


def _passes(check: Callable[[str], str], address: str) -> bool:
    try:
        check(address)
    except MalformedError:
        return False
    return True
