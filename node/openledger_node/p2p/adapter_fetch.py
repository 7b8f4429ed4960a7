"""Fetching an adapter from untrusted peers: only files that match its id are accepted.

Peers whose lists agree are asked in parallel. A peer whose chunk does not match its list is dropped. If all
chunks match and a file is still wrong, the list was false, and every peer that sent this list is dropped.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from openledger_protocol.adapter import AdapterManifest, DatanetReference
from openledger_protocol.errors import AdapterRefusedError, ProtocolError, UnavailableError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.transfer import FileEntry

from ..errors import NetworkError, NodeError
from .adapter_listing import Listing, version_path
from .partial import Partial, Place
from .provider import OpenStream, Provider
from .transport import PeerId

PROVIDERS_AT_ONCE = 3
JOIN_S = 2.0
"""The time that other providers get to join once the first is connected; one behind a router may take 10 s."""

SIZE_BYTES_MAX = 2 * 1024**3
RESERVE_BYTES = 256 * 1024**2
VERSION_BYTES_MAX = 64 * 1024**2
MORE_PEERS_MAX = 5
"""Peers, beside those that sent the adapter, that are reached for versions of its Datanets."""

Check = Callable[[AdapterManifest], None]
"""Raises AdapterRefusedError for an unwanted adapter, before anything large is fetched."""

ListMissing = Callable[[AdapterManifest], Sequence[DatanetReference]]
"""Lists the Datanet versions that are missing here; reads the disk."""

KeepVersion = Callable[[DatanetReference, bytes], None]
"""Writes a Datanet's version from a peer.

Raises ProtocolError if it does not match the chain, or UnavailableError if nobody can say so now.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """Limits on the size of one adapter."""

    size_bytes_max: int = SIZE_BYTES_MAX
    reserve_bytes: int = RESERVE_BYTES  # to keep free on the disk
    version_bytes_max: int = VERSION_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFiles:
    """An adapter's files, each verified against its id; not yet checked for loading."""

    folder: Path
    manifest: AdapterManifest
    missing_versions: dict[str, str]  # path → why no peer's version was accepted


class Transfer:
    """The transfer of one adapter into a partial folder."""

    def __init__(
        self,
        open_stream: OpenStream,
        providers: Sequence[PeerId],
        id: AdapterId,
        place: Partial,
        limits: FetchLimits | None = None,
    ) -> None:
        self.dropped: dict[PeerId, str] = {}
        self._open_stream = open_stream
        self._id = id
        self._partial = place
        self._limits = limits or FetchLimits()
        self._waiting = deque(dict.fromkeys(providers))
        self._rank = {peer_id: rank for rank, peer_id in enumerate(self._waiting)}
        self._live: dict[PeerId, Provider] = {}
        self._bytes_of: Counter[PeerId] = Counter()
        self._num_more = 0  # peers that were reached for versions only

    @property
    def received_bytes(self) -> int:
        """The bytes received so far."""
        return self._bytes_of.total()

    @property
    def from_peer(self) -> PeerId | None:
        """The peer that has sent most of them; None if none has sent any."""
        return next((peer_id for peer_id, _ in self._bytes_of.most_common(1)), None)

    async def run(self, check: Check, list_missing: ListMissing, keep_version: KeepVersion) -> FetchedFiles:
        """Fetch everything that is missing.

        Raises:
            AdapterRefusedError: this adapter is unwanted, whichever peer has it.
            NetworkError: no provider is left; the message gives each one's error. Chunks received so far are kept.
            NodeError: the disk is full.
        """
        try:
            listing = await self._fetch_files(check)
            datanets = await trio.to_thread.run_sync(list_missing, listing.manifest)
            missing = await self._fetch_versions(datanets, keep_version)
        finally:
            await self._close()
        return FetchedFiles(folder=self._partial.files, manifest=listing.manifest, missing_versions=missing)

    async def run_versions(self, datanets: Sequence[DatanetReference], keep_version: KeepVersion) -> dict[str, str]:
        """Fetch only versions of Datanets, for an adapter that is here; path → why no peer's was accepted.

        Raises:
            NodeError: the disk is full.
        """
        try:
            await self._recruit()
            return await self._fetch_versions(datanets, keep_version)
        except NetworkError as error:
            return {version_path(datanet): str(error) for datanet in datanets}
        finally:
            await self._close()

    async def _close(self) -> None:
        for provider in list(self._live.values()):
            await provider.aclose()

    async def _fetch_files(self, check: Check) -> Listing:
        while True:
            await self._recruit()
            listing = self._commonest_listing()
            check(listing.manifest)
            self._partial.check_room(listing.size_bytes, reserve_bytes=self._limits.reserve_bytes)
            missing = deque(await trio.to_thread.run_sync(self._partial.missing, listing.bulk))
            await self._fetch(listing, missing)
            if missing:
                continue  # every provider of this list is gone
            wrong = await trio.to_thread.run_sync(self._partial.wrong_files, listing.bulk)
            if not wrong:
                for path, content in listing.small.items():
                    self._partial.write_small(path, content)
                return listing
            await self._drop_all(listing, f"its list of {wrong[0].path} is of another file")

    async def _recruit(self) -> None:
        """Connect to providers until enough are connected or none is waiting.

        Raises:
            NetworkError: no provider is left.
        """
        while self._waiting and len(self._live) < PROVIDERS_AT_ONCE:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(min(len(self._waiting), PROVIDERS_AT_ONCE - len(self._live))):
                        nursery.start_soon(self._join, self._waiting.popleft(), scope)
            if scope.cancelled_caught:
                break  # those that were too slow wait until another one is needed
        if not self._live:
            reasons = "; ".join(f"{peer}: {why}" for peer, why in self.dropped.items()) or "no peer offers it"
            raise NetworkError(f"no peer could send adapter {self._id} ({reasons})")

    async def _join(self, peer_id: PeerId, others: trio.CancelScope) -> None:
        """Connect to a provider, and limit the time that the others get for it."""
        try:
            await self._reach(peer_id)
        except trio.Cancelled:
            self._waiting.append(peer_id)
            raise
        if peer_id in self._live:
            others.deadline = min(others.deadline, trio.current_time() + JOIN_S)

    async def _reach(self, peer_id: PeerId) -> None:
        try:
            provider = await Provider.reach(self._open_stream, peer_id, self._id)
        except (NetworkError, ProtocolError) as error:
            self.dropped[peer_id] = str(error)
            return
        self._live[peer_id] = provider
        self._bytes_of[peer_id] += sum(map(len, provider.listing.small.values()))
        if provider.listing.size_bytes > self._limits.size_bytes_max:
            await self._drop(provider, f"its list is of more than {self._limits.size_bytes_max:,} bytes")

    def _commonest_listing(self) -> Listing:
        """The list that most providers have; on a tie, that of the provider named first."""
        lists = [provider.listing for provider in self._in_order()]
        return max(lists, key=lambda mine: sum(mine.bulk == other.bulk for other in lists))

    async def _fetch(self, listing: Listing, missing: "deque[Place]") -> None:
        """Fetch missing chunks from all providers of one list, until nothing is missing or they are gone."""
        while missing and (group := self._group(listing)):
            try:
                async with trio.open_nursery() as nursery:
                    for provider in group:
                        nursery.start_soon(self._fetch_from, provider, missing)
            except* NodeError as failed:
                raise failed.exceptions[0] from None
            while self._waiting and len(self._live) < PROVIDERS_AT_ONCE and missing:
                await self._reach(self._waiting.popleft())

    async def _fetch_from(self, provider: Provider, missing: "deque[Place]") -> None:
        async def take(place: Place, data: bytes) -> None:
            await trio.to_thread.run_sync(self._partial.write, *place, data)
            self._bytes_of[provider.peer_id] += len(data)

        try:
            await provider.fetch(missing, take)
        except (NetworkError, ProtocolError) as error:
            await self._drop(provider, str(error))

    def _group(self, listing: Listing) -> list[Provider]:
        return [provider for provider in self._in_order() if provider.listing.bulk == listing.bulk]

    def _in_order(self) -> list[Provider]:
        """Connected providers in the order in which they were named."""
        return sorted(self._live.values(), key=lambda provider: self._rank[provider.peer_id])

    async def _drop_all(self, listing: Listing, why: str) -> None:
        for provider in self._group(listing):
            self._bytes_of.pop(provider.peer_id)
            await self._drop(provider, why)

    async def _drop(self, provider: Provider, why: str) -> None:
        self.dropped[provider.peer_id] = why
        self._live.pop(provider.peer_id, None)
        await provider.aclose()

    # ---- versions of Datanets

    async def _fetch_versions(
        self, datanets: Sequence[DatanetReference], keep_version: KeepVersion
    ) -> dict[str, str]:
        """Fetch each version from a peer that has a valid one; path → why no peer's was accepted."""
        missing = {}
        for datanet in datanets:
            if why := await self._fetch_version(datanet, keep_version):
                missing[version_path(datanet)] = why
        return missing

    async def _fetch_version(self, datanet: DatanetReference, keep_version: KeepVersion) -> str | None:
        path, why = version_path(datanet), "no peer has it"
        asked: set[PeerId] = set()
        why_unsure = None  # then another peer's version may still be one that is known, but none is reached for it
        while provider := await self._next_to_ask(asked, may_reach=why_unsure is None):
            asked.add(provider.peer_id)
            entry = provider.listing.versions.get(path)
            if entry is None:
                continue
            try:
                content = await self._version(provider, entry)
                why_unsure = await trio.to_thread.run_sync(_why_not_kept, keep_version, datanet, content)
                if why_unsure is None:
                    return None
            except (NetworkError, ProtocolError) as error:
                why = str(error)
                await self._drop(provider, why)
        return why_unsure or why

    async def _next_to_ask(self, asked: Collection[PeerId], *, may_reach: bool) -> Provider | None:
        """The first connected provider that was not asked, or one that is reached now; None if there is none."""
        while True:
            for provider in self._in_order():
                if provider.peer_id not in asked:
                    return provider
            if not may_reach or not self._waiting or self._num_more >= MORE_PEERS_MAX:
                return None
            self._num_more += 1
            await self._reach(self._waiting.popleft())

    async def _version(self, provider: Provider, entry: FileEntry) -> bytes:
        if entry.size_bytes > self._limits.version_bytes_max:
            raise AdapterRefusedError(f"{entry.path} has more than {self._limits.version_bytes_max:,} bytes")
        content = await provider.whole(entry)
        self._bytes_of[provider.peer_id] += len(content)
        return content


def _why_not_kept(keep_version: KeepVersion, datanet: DatanetReference, content: bytes) -> str | None:
    """Keep a version; return None, or why it can't be judged now. That is not the peer's fault."""
    try:
        keep_version(datanet, content)
    except UnavailableError as error:
        return str(error)
    return None
