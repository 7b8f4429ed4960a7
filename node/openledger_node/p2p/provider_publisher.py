"""Publishing this node's provider records at bootstrap nodes.

A node puts its records in batches, every half hour and when its adapters or addresses change, so that one with
thousands of adapters costs little. It withdraws records of adapters that it no longer sells. A bootstrap node keeps
records in memory only, so after a reconnection it is asked for one of them, and gets all again if it has none.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from random import Random

import trio

from openledger_protocol.advertisement import check_multiaddr, check_relay
from openledger_protocol.constants import AD_ADDRESSES_MAX, AD_RELAYS_MAX
from openledger_protocol.errors import MalformedError, ProtocolError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.providers import (
    PUT_MAX,
    RECORD_LIFETIME_S_MAX,
    RECORDS_MAX,
    GetRecords,
    ProviderRecord,
    PutRecords,
    Records,
    StoredRecords,
    sign_record,
)

from ..errors import NetworkError
from .provider_client import Points
from .provider_records import PER_PEER_MAX
from .transport import PeerId, Transport, relay_of

ROUND_S_MIN, ROUND_S_MAX = 1_500.0, 1_800.0
"""All records are put again after about half of their life, at a time of each node's own."""

LOOK_S = 5.0
"""The pause between checks of this node's adapters and addresses; what changed meanwhile goes out together."""

WITHDRAW_AFTER_S = 15.0
"""An adapter that is gone for so long is withdrawn: the engine may only have restarted."""

CHECK_EVERY_S = 300.0
"""The pause between questions whether a bootstrap node still has the records, beside those after a reconnection."""

BATCH_PAUSE_S = 1.0
"""The pause between two batches for one bootstrap node, which checks each for about 50 ms."""

RETRY_S_MIN, RETRY_S_MAX = 15.0, 600.0
"""A bootstrap node that takes no records is tried again after this time, which doubles."""

log = logging.getLogger(__name__)


class _PointRecords:
    """The records that one bootstrap node has been put."""

    def __init__(self) -> None:
        self.told: set[AdapterId] = set()  # in this round
        self.maybe: set[AdapterId] = set()  # in this round or before, and not withdrawn
        self.sure: AdapterId | None = None  # the adapter of a record that it said to keep
        self.is_connected = False
        self.check_s = 0.0  # when to ask whether it still has them
        self.retry_s, self.pause_s = 0.0, 0.0  # when to try again, and the pause before

    def lose(self) -> None:
        """Forget all: the bootstrap node has started anew."""
        self.told, self.maybe, self.sure = set(), set(), None


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
        self._held = {point: _PointRecords() for point in points}
        self._seen_s: dict[AdapterId, float] = {}  # when an adapter was last on the shelf
        self._round_due_s = 0.0

    async def run(self) -> None:
        """Publish until cancelled."""
        await trio.sleep(LOOK_S * self._random.random())
        while True:
            await self._look()
            await trio.sleep(LOOK_S)

    async def _look(self) -> None:
        """Put whatever a bootstrap node lacks; begin a new round if it is due, or this node is reached elsewhere."""
        now_s, shelf, places = trio.current_time(), self._shelf()[:PER_PEER_MAX], self._find_places()
        if now_s >= self._round_due_s or (any(places) and places != self._places):
            self._places, self._signed = places, {}
            self._round_due_s = now_s + self._random.uniform(ROUND_S_MIN, ROUND_S_MAX)
            for held in self._held.values():
                held.told, held.sure = set(), None
        gone = self._gone_from(shelf)
        async with trio.open_nursery() as nursery:
            for point, held in self._held.items():
                if held.retry_s <= now_s:
                    wanted = [each for each in shelf if point in self._points.nearest(each)] if any(places) else []
                    nursery.start_soon(self._serve, point, held, wanted, gone)

    def _gone_from(self, shelf: Sequence[AdapterId]) -> set[AdapterId]:
        """The adapters to withdraw: gone from the shelf for a while, and not for so long that no record is left."""
        now_s = trio.current_time()
        self._seen_s |= dict.fromkeys(shelf, now_s)
        self._seen_s = {each: at_s for each, at_s in self._seen_s.items() if now_s - at_s <= RECORD_LIFETIME_S_MAX}
        for held in self._held.values():
            held.maybe &= self._seen_s.keys()
        return {adapter for adapter, at_s in self._seen_s.items() if now_s - at_s >= WITHDRAW_AFTER_S}

    async def _serve(
        self, point: PeerId, held: _PointRecords, wanted: Sequence[AdapterId], gone: set[AdapterId]
    ) -> None:
        """Bring one bootstrap node up to date; after a failure it is left alone for a while."""
        try:
            await self._check(point, held)
            lacking = [(batch, False) for batch in _batches([each for each in wanted if each not in held.told])]
            surplus = [(batch, True) for batch in _batches(sorted(held.maybe & gone))]
            for number, (batch, is_withdrawal) in enumerate((*lacking, *surplus)):
                if number:
                    await trio.sleep(BATCH_PAUSE_S)
                await (self._withdraw if is_withdrawal else self._put)(point, held, batch)
        except (NetworkError, ProtocolError) as error:
            held.pause_s = min(max(2 * held.pause_s, RETRY_S_MIN), RETRY_S_MAX)
            held.retry_s = trio.current_time() + self._jittered(held.pause_s)
            log.info("bootstrap node %s takes no provider records: %s", point, error)

    async def _check(self, point: PeerId, held: _PointRecords) -> None:
        """Ask a bootstrap node that was reconnected, or not asked for a while, whether it has the records still."""
        is_connected = point in self._transport.connected()
        is_back, held.is_connected = is_connected and not held.is_connected, is_connected
        if held.sure is None or not (is_back or trio.current_time() >= held.check_s):
            return
        answer = await self._points.ask(point, GetRecords(adapter=held.sure, count_max=RECORDS_MAX))
        self._note_asked(held)
        if not isinstance(answer, Records) or self._signed[held.sure] not in answer.records:
            log.info("bootstrap node %s has lost the provider records of this node", point)
            held.lose()

    async def _put(self, point: PeerId, held: _PointRecords, adapters: Sequence[AdapterId]) -> None:
        records = await self._sign(adapters)
        held.maybe |= set(adapters)  # also if the answer is lost
        stored = await self._points.ask(point, PutRecords(records=records))
        self._note_asked(held)
        held.told |= set(adapters)
        if isinstance(stored, StoredRecords) and stored.count == len(adapters):
            held.sure = adapters[0]

    async def _withdraw(self, point: PeerId, held: _PointRecords, adapters: Sequence[AdapterId]) -> None:
        records = []
        for adapter in adapters:
            records.append(self._sign_one(adapter, is_withdrawal=True))
            await trio.lowlevel.checkpoint()  # signing takes time, and other tasks wait
        held.told -= set(adapters)  # also if the answer is lost
        held.sure = None if held.sure in adapters else held.sure
        await self._points.ask(point, PutRecords(records=tuple(records)))
        self._note_asked(held)
        held.maybe -= set(adapters)

    def _note_asked(self, held: _PointRecords) -> None:
        """Note an answer: the question has connected the bootstrap node, which needs no check for a while."""
        held.is_connected, held.pause_s = True, 0.0
        held.check_s = trio.current_time() + self._jittered(CHECK_EVERY_S)

    async def _sign(self, adapters: Sequence[AdapterId]) -> tuple[bytes, ...]:
        """The signed records of adapters; all bootstrap nodes get the same one of each."""
        for adapter in adapters:
            if adapter not in self._signed:
                self._signed[adapter] = self._sign_one(adapter)
                await trio.lowlevel.checkpoint()
        return tuple(self._signed[adapter] for adapter in adapters)

    def _sign_one(self, adapter: AdapterId, *, is_withdrawal: bool = False) -> bytes:
        (addresses, relays), now_s = self._places, int(self._now_s())
        record = ProviderRecord(
            network=self._network,
            adapter=adapter,
            peer_id=self._transport.peer_id,
            addresses=addresses,
            relays=relays,
            issued_s=now_s,
            expires_s=now_s + (0 if is_withdrawal else RECORD_LIFETIME_S_MAX),
        )
        return sign_record(record, self._seed)

    def _find_places(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """This node's addresses, and the addresses of its relays, as far as a record can list them."""
        addresses = [each for each in self._transport.addresses if _passes(check_multiaddr, each)]
        relays = [each for each in map(relay_of, self._transport.relays) if _passes(check_relay, each)]
        return tuple(addresses[:AD_ADDRESSES_MAX]), tuple(relays[:AD_RELAYS_MAX])

    def _jittered(self, wait_s: float) -> float:
        return wait_s * self._random.uniform(0.75, 1.25)


def _batches(adapters: Sequence[AdapterId]) -> Iterator[Sequence[AdapterId]]:
    for begin in range(0, len(adapters), PUT_MAX):
        yield adapters[begin : begin + PUT_MAX]


def _passes(check: Callable[[str], str], address: str) -> bool:
    try:
        check(address)
    except MalformedError:
        return False
    return True
