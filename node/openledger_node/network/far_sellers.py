"""Sellers that this node has not heard of: found by their provider records at bootstrap nodes.

A node hears the advertisements of a part of the network. For an adapter that nobody there offers, it asks the
bootstrap nodes nearest to the adapter's id, and then asks the peers that they name for their own advertisements.
"""

import logging
import time
from collections.abc import Callable, Sequence
from random import SystemRandom

import trio

from openledger_protocol.advertisement import peer_id_of
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import ProtocolError, UnavailableError, UnknownModelError
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Digest
from openledger_protocol.wire.ads import Ads, GetAds, ads_protocol, decode, encode
from openledger_protocol.wire.providers import ProviderRecord

from ..errors import LedgerError, NetworkError
from ..home import Home
from ..ledger.events import EventRows
from ..market.board import AdTable
from ..market.names import SHORT_ID_DIGITS, is_id
from ..market.reachable import Reachable, open_to
from ..network_file import Network
from ..p2p.adapter_fetch import PROVIDERS_AT_ONCE
from ..p2p.identity import ensure_identity
from ..p2p.provider_client import Points, ProviderLookup
from ..p2p.provider_publisher import ProviderPublisher
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId, Transport

ASKED_MAX = 8
"""Providers that are asked for their advertisements, as many as a call has places."""

ENOUGH = 3
"""Advertisements after which the others are not waited for."""

ASK_S = 5.0

log = logging.getLogger(__name__)


class FarSellers:
    """Finds sellers and files of adapters beyond the advertisements that this node has heard."""

    def __init__(
        self,
        transport: Transport,
        lookup: ProviderLookup,
        table: AdTable,
        *,
        network: str,
        base: Callable[[], Digest],
        events: EventRows,
    ) -> None:
        self._transport = transport
        self._lookup = lookup
        self._table = table
        self._protocol = ads_protocol(network)
        self._base = base
        self._events = events

    async def look_for(self, name: str) -> None:
        """Learn advertisements of an adapter's sellers if none are known; a name without an id finds nothing new."""
        try:
            self._table.resolve(name)
            return
        except (UnknownModelError, UnavailableError):
            adapter = await self._adapter_named(name)
        if adapter is None:
            return
        records = (await self._lookup.find(adapter))[:ASKED_MAX]
        num_learned = 0

        async def ask(record: ProviderRecord, scope: trio.CancelScope) -> None:
            nonlocal num_learned
            is_learned = await self._ask(record)  # before the sum, which others change meanwhile
            num_learned += is_learned
            if num_learned >= ENOUGH:
                scope.cancel()

        with trio.move_on_after(ASK_S) as scope:
            async with trio.open_nursery() as nursery:
                for record in records:
                    nursery.start_soon(ask, record, scope)
        if records:
            log.info("%d of %d far providers of adapter %s advertise it", num_learned, len(records), adapter)

    async def copies(self, name: str) -> tuple[AdapterId, dict[PeerId, Reachable]]:
        """The adapter that a name means, and the peers that offer its files: by their advertisements or records.

        Raises:
            UnknownModelError: nobody offers it, or it is a base.
        """
        try:
            found = self._table.resolve(name)
        except (UnknownModelError, UnavailableError):
            adapter = await self._adapter_named(name)
            records = await self._lookup.find(adapter) if adapter else []
            if adapter is None or not records:
                raise
            return adapter, {PeerId(record.peer_id): record for record in records}
        if found.adapter == BASE_ONLY:
            raise UnknownModelError(
                f"{name!r} is a base model, not an adapter: `openledger-node models pull` downloads bases"
            )
        copies: dict[PeerId, Reachable] = {
            PeerId(ad.peer_id): ad for ad in self._table.offers(found.base, found.adapter)
        }
        if len(copies) < PROVIDERS_AT_ONCE:
            for record in await self._lookup.find(found.adapter):
                copies.setdefault(PeerId(record.peer_id), record)
        return found.adapter, copies

    async def _ask(self, record: ProviderRecord) -> bool:
        """Ask a provider for its own advertisement; True if the board took it."""
        question = GetAds(base=self._base(), count_max=1, peer_id=record.peer_id)
        try:
            async with await open_to(self._transport, record, self._protocol) as stream:
                messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
                await messages.send(encode(question))
                answer = decode(await messages.receive())
            own = (
                [each for each in answer.ads if peer_id_of(each) == record.peer_id] if isinstance(answer, Ads) else []
            )
        except (NetworkError, ProtocolError) as error:
            log.info("%s does not tell its advertisement: %s", record.peer_id, error)
            return False
        return bool(own) and self._table.learn(own[0])

    async def _adapter_named(self, name: str) -> AdapterId | None:
        """The registered adapter that a name means by its id, or by the id's beginning; None for any other name.

        Only registered adapters are sold, so made-up ids ask no bootstrap node.
        """
        last = name.rpartition(":")[2]
        begin = last.rpartition("@")[2] if "@" in last else ""
        try:
            if is_id(last):
                is_registered = await trio.to_thread.run_sync(self._is_registered, last)
                return AdapterId(last) if is_registered else None
            if len(begin) != SHORT_ID_DIGITS or not set(begin) <= set("0123456789abcdef"):
                return None
            found = await trio.to_thread.run_sync(self._registered_from, "0x" + begin)
        except LedgerError as error:
            log.warning("an adapter can't be looked up: %s", error)
            return None
        return found.pop() if len(found) == 1 else None

    def _is_registered(self, id: str) -> bool:
        return bool(self._events.find("AdapterRegistered", {"adapterId": id}))

    def _registered_from(self, begin: str) -> set[AdapterId]:
        ids = (str(event.arguments["adapterId"]) for event in self._events.find("AdapterRegistered"))
        return {AdapterId(id) for id in ids if id.startswith(begin)}


def open_far_sellers(
    network: Network,
    transport: Transport,
    points: Points,
    table: AdTable,
    *,
    base: Callable[[], Digest],
    events: EventRows,
) -> FarSellers:
    """Open the search for sellers that were not heard."""
    lookup = ProviderLookup(points, transport, network=network.network, now_s=time.time, random=SystemRandom())
    return FarSellers(transport, lookup, table, network=network.network, base=base, events=events)


def open_publisher(
    home: Home, network: Network, transport: Transport, points: Points, shelf: Callable[[], Sequence[AdapterId]]
) -> ProviderPublisher:
    """Open the publishing of provider records for the adapters on the shelf."""
    return ProviderPublisher(
        points,
        transport,
        network=network.network,
        seed=ensure_identity(home.network_keys(network.network)),
        shelf=shelf,
        now_s=time.time,
        random=SystemRandom(),
    )
