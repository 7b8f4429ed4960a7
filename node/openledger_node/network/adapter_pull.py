"""Adapters from peers: fetched by content, checked like any other, with Datanet owners confirmed by the chain."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from openledger_protocol.adapter import AdapterManifest, DatanetReference
from openledger_protocol.errors import AdapterRefusedError, MalformedError, UnavailableError
from openledger_protocol.primitives import AdapterId, DatanetId
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.transfer import FileEntry, chunk_size_bytes

from ..attribution.index import open_index
from ..attribution.registry import is_published
from ..datanets.version import (
    DatanetVersion,
    check_signed,
    find_made_here,
    read_published,
    version_from_json,
    write_published,
)
from ..errors import LedgerError, NodeError
from ..home import Home
from ..market.reachable import Reachable, directness, open_directly_to
from ..models.adapters import INDEX_FOLDER, Adapter, add_adapter
from ..models.bases import Base
from ..models.library import list_adapters
from ..p2p.adapter_fetch import FetchedFiles, FetchLimits, Transfer
from ..p2p.adapter_listing import version_path
from ..p2p.partial import Partial, Place
from ..p2p.provider import OpenStream
from ..p2p.transport import PeerId, Transport
from ..settlement.session import NetworkSession

IsPublished = Callable[[DatanetId, DatanetVersion], bool]
"""True if this Datanet has published exactly the version's rows and owners; asks the ledger."""


ShowProgress = Callable[[int, int], None]
"""Gets the bytes that are here, and of all."""


def no_progress(done_bytes: int, total_bytes: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An adapter that came from peers."""

    adapter: Adapter
    size_bytes: int  # fetched this time; 0 if nothing was new
    duration_s: float
    from_peer: PeerId | None  # the peer that sent most of it
    dropped: dict[PeerId, str]  # peers that were given up, and why
    missing_versions: dict[str, str]  # Datanet versions that are missing, and why; without them it can't be sold


async def pull_named(
    home: Home,
    session: NetworkSession,
    transport: Transport,
    adapter: AdapterId,
    copies: Mapping[PeerId, Reachable],
    *,
    base: Base,
    show: ShowProgress,
) -> Fetched:
    """Fetch an adapter over direct connections from the peers that offer it, the nearest first.

    Raises:
        NodeError: no copy could be fetched, or added to the library.
    """
    protocol = wire_name(session.network.network, "adapter")
    return await fetch_adapter(
        lambda peer_id: open_directly_to(transport, copies[peer_id], protocol),
        sorted(copies, key=lambda peer_id: directness(transport, copies[peer_id])),
        adapter,
        home,
        base,
        is_published=partial(is_published_by_now, session),
        show=show,
    )


def is_published_by_now(session: NetworkSession, datanet_id: DatanetId, version: DatanetVersion) -> bool:
    """True if a Datanet has published a version; before the answer is no, the newest blocks are read.

    Raises:
        UnavailableError: they can't be read now.
    """
    events = session.ledger.events
    if is_published(events, datanet_id, version):
        return True
    is_read = False
    with suppress(LedgerError):
        is_read = session.read()
    if is_published(events, datanet_id, version):
        return True
    if not is_read:
        raise UnavailableError("this node can't read the chain's newest blocks now: pull it again later")
    return False


async def fetch_adapter(
    open_stream: OpenStream,
    providers: Sequence[PeerId],
    adapter_id: AdapterId,
    home: Home,
    base: Base,
    *,
    is_published: IsPublished,
    limits: FetchLimits | None = None,
    show: ShowProgress = no_progress,
) -> Fetched:
    """Fetch an adapter from up to three peers at once, check all of it, and add it to the library.

    After a crash the fetch resumes where it stopped. An adapter that is here already stays as it is; only versions of
    its Datanets that are missing here are fetched.

    Raises:
        NetworkError: no peer sent it; the message gives each peer's reason. Fetched parts are kept for the next time.
        AdapterRefusedError: it is for another base, or can't be served.
        NodeError: it is being fetched already, or the disk has no room.
    """
    started_s = trio.current_time()
    versions = _Versions(home, is_published)
    here = await trio.to_thread.run_sync(_find, home, adapter_id)
    wanted = await trio.to_thread.run_sync(versions.wanted, here.manifest) if here else []
    if here and not wanted:
        return Fetched(adapter=here, size_bytes=0, duration_s=0.0, from_peer=None, dropped={}, missing_versions={})
    with CountedPartial.opened(home, adapter_id) as place:
        place.show = show
        transfer = Transfer(open_stream, providers, adapter_id, place, limits)
        if here:
            adapter = here
            try:
                missing = await transfer.run_versions(wanted, versions.keep)
            finally:
                place.remove()
        else:
            files = await transfer.run(partial(_check_base, base), versions.wanted, versions.keep)
            adapter, missing = await trio.to_thread.run_sync(_admit, home, base, files, place), files.missing_versions
    is_new = not here or len(missing) < len(wanted)
    return Fetched(
        adapter=adapter,
        size_bytes=transfer.received_bytes if is_new else 0,
        duration_s=trio.current_time() - started_s,
        from_peer=transfer.from_peer if is_new else None,
        dropped=transfer.dropped,
        missing_versions=missing,
    )


def fetched_to_plain(fetched: Fetched) -> dict[str, Any]:
    """The result for JSON."""
    return {
        "adapter": fetched.adapter.full_name,
        "digest": fetched.adapter.id,
        "from_peer": fetched.from_peer,
        "bytes": fetched.size_bytes,
        "duration_s": round(fetched.duration_s, 3),
        "missing_versions": fetched.missing_versions,
    }


class CountedPartial(Partial):
    """The folder of an adapter that is being fetched; it shows how much of it is there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.show: ShowProgress = no_progress
        self._done_bytes = self._total_bytes = 0
        self._counting = threading.Lock()  # peers' chunks are written in threads

    def missing(self, entries: Iterable[FileEntry]) -> list[Place]:
        """List the chunks that are missing or wrong; those that are there count as done."""
        listed = list(entries)
        places = super().missing(listed)
        self._total_bytes = sum(entry.size_bytes for entry in listed)
        self._done_bytes = self._total_bytes - sum(chunk_size_bytes(entry, index) for entry, index in places)
        self.show(self._done_bytes, self._total_bytes)
        return places

    def write(self, entry: FileEntry, index: int, data: bytes) -> None:
        """Write one verified chunk and show the progress."""
        super().write(entry, index, data)
        with self._counting:
            self._done_bytes += len(data)
            self.show(self._done_bytes, self._total_bytes)


class _Versions:
    """Versions of an adapter's Datanets; only those published on the chain are kept."""

    def __init__(self, home: Home, is_published: IsPublished) -> None:
        self._home = home
        self._is_published = is_published

    def wanted(self, manifest: AdapterManifest) -> list[DatanetReference]:
        """The versions that are missing here; without an index of its rows an adapter needs none."""
        if manifest.index_root is None:
            return []
        return [datanet for datanet in manifest.datanets or () if not self._is_here(datanet)]

    def keep(self, datanet: DatanetReference, content: bytes) -> None:
        """Store a version that a peer sent.

        Raises:
            MalformedError: it can't be read.
            AdapterRefusedError: it has other rows, was never published, or shows a commitment that the chain lacks.
            BadSignatureError: one of its offers is not signed by its account.
        """
        try:
            version = version_from_json(json.loads(content), is_signed=True)  # its signatures come last
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"its {version_path(datanet)} is not valid JSON") from error
        if version.rows_root != datanet.rows_root:
            raise AdapterRefusedError(
                f"its {version_path(datanet)} is not the version that the adapter was trained on"
            )
        if not self._is_published(datanet.id, version):
            raise AdapterRefusedError(
                f"its {version_path(datanet)} was never published on this network, or it shows commitments that the "
                "chain does not have"
            )
        write_published(self._home, datanet.id, check_signed(version))

    def _is_here(self, datanet: DatanetReference) -> bool:
        made_here = find_made_here(self._home, datanet.rows_root)
        with suppress(NodeError):  # it is missing or damaged
            made_here = [read_published(self._home, datanet), *made_here]
        return any(self._is_surely_published(datanet.id, version) for version in made_here)

    def _is_surely_published(self, datanet_id: DatanetId, version: DatanetVersion) -> bool:
        with suppress(UnavailableError):
            return self._is_published(datanet_id, version)
        return False


def _find(home: Home, id: AdapterId) -> Adapter | None:
    return next((adapter for adapter in list_adapters(home) if adapter.id == id), None)


def _check_base(base: Base, manifest: AdapterManifest) -> None:
    if manifest.base.digest != base.digest:
        raise AdapterRefusedError(
            f"{manifest.name} was made for base {manifest.base.name} ({manifest.base.digest[:10]}…), "
            f"not for {base.name} ({base.digest[:10]}…), which is served here"
        )


def _admit(home: Home, base: Base, files: FetchedFiles, place: Partial) -> Adapter:
    """Add files that match the adapter's id to the library.

    A refusal deletes them: with the same id every peer's copy would be refused.
    """
    try:
        if files.manifest.index_root is not None:
            open_index(files.folder / INDEX_FOLDER, files.manifest.index_root)
        adapter = add_adapter(home, files.folder, base)
    except AdapterRefusedError:
        place.remove()
        raise
    except OSError as error:
        raise NodeError(f"cannot add {files.manifest.name} to the adapter library: {error.strerror}") from error
    place.remove()
    return adapter
