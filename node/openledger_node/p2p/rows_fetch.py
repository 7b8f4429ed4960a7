"""Fetching the rows of a published version from untrusted peers, one after the other until one has sent all.

Chunks that have arrived are kept in a partial folder, so the next peer, or the next run, sends only what is missing.
Nothing is accepted that does not have the digest on the chain.
"""

import shutil
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Generic, TypeVar

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX, sha256_digest
from openledger_protocol.errors import AdapterRefusedError, MalformedError, ProtocolError
from openledger_protocol.wire.inference import ErrorMessage, error_from_message
from openledger_protocol.wire.rows import (
    GetPart,
    GetRows,
    PartMessage,
    RowsListing,
    RowsMessage,
    decode,
    encode,
)
from openledger_protocol.wire.transfer import FileEntry, check_chunk, chunk_size_bytes

from ..errors import NetworkError, NodeError
from .partial import Partial, Place
from .provider import OpenStream, in_time
from .streams import MessageStream
from .transport import PeerId

WINDOW = 4
"""Chunks requested ahead of the one that the peer is sending."""

ROWS_BYTES_MAX = 256 * 1024**2
"""About a million short rows; a reader holds them in memory to train on them."""

VERSION_BYTES_MAX = 64 * 1024**2
RESERVE_BYTES = 256 * 1024**2

HURRY_S, HURRY_BYTES_PER_S = 30.0, 64 * 1024
"""A peer that is slower than this makes room for the next one, and is asked again if all others fail."""

Version = TypeVar("Version")

CheckVersion = Callable[[bytes], Version]
"""Reads a version's file in a thread.

Raises ProtocolError if it is not the one on the chain, NodeError if no peer can help.
"""

CheckRows = Callable[[Path, Version], None]
"""Checks the rows, whose digest is right, against the version; in a thread, with the same errors."""

ShowBytes = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsLimits:
    """Limits on the size of one version."""

    rows_bytes_max: int = ROWS_BYTES_MAX
    version_bytes_max: int = VERSION_BYTES_MAX
    reserve_bytes: int = RESERVE_BYTES  # to keep free on the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedRows(Generic[Version]):
    """The rows of a version, verified against the chain."""

    file: Path
    version: Version
    size_bytes: int  # received in this run
    from_peer: PeerId
    dropped: dict[PeerId, str]


class _TooSlowError(Exception):
    """Others may be faster."""


class RowsTransfer(Generic[Version]):
    """The transfer of one version's rows into a partial folder."""

    def __init__(
        self,
        open_stream: OpenStream,
        providers: Sequence[PeerId],
        wanted: GetRows,
        place: Partial,
        *,
        check_version: CheckVersion[Version],
        check_rows: CheckRows[Version],
        limits: RowsLimits | None = None,
        show: ShowBytes = lambda *_: None,
    ) -> None:
        self.dropped: dict[PeerId, str] = {}
        self._open_stream = open_stream
        self._waiting = deque(dict.fromkeys(providers))
        self._unhurried: set[PeerId] = set()
        self._wanted = wanted
        self._place = place
        self._check_version = check_version
        self._check_rows = check_rows
        self._limits = limits or RowsLimits()
        self._show = show
        self._received = 0

    async def run(self) -> FetchedRows[Version]:
        """Fetch everything that is missing.

        Raises:
            NetworkError: no peer is left; the message gives each one's error. Chunks received so far are kept.
            NodeError: the disk is full, or the version can't be used, whichever peer has it.
        """
        while self._waiting:
            peer_id = self._waiting.popleft()
            try:
                return await self._fetch_from(peer_id)
            except (NetworkError, ProtocolError) as error:
                self.dropped[peer_id] = str(error)
            except _TooSlowError:
                self._unhurried.add(peer_id)
                self._waiting.append(peer_id)
        reasons = "; ".join(f"{peer}: {why}" for peer, why in self.dropped.items()) or "no peer is known to have them"
        raise NetworkError(f"no peer could send the rows of Datanet {self._wanted.datanet} ({reasons})")

    async def _fetch_from(self, peer_id: PeerId) -> FetchedRows[Version]:
        with in_time("be reached"):
            stream = await self._open_stream(peer_id)
        holder = _RowHolder(peer_id, MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX))
        try:
            listing = self._checked(await holder.list(self._wanted))
            with self._hurried(holder, listing.version.size_bytes):
                content = await holder.whole(listing.version)
            self._received += len(content)
            version = await trio.to_thread.run_sync(self._check_version, content)
            await self._fetch_rows(holder, listing.rows)
        finally:
            await holder.aclose()
        file = self._place.files / listing.rows.path
        await trio.to_thread.run_sync(self._check_rows, file, version)
        return FetchedRows(
            file=file,
            version=version,
            size_bytes=self._received,
            from_peer=peer_id,
            dropped=self.dropped,
        )

    def _checked(self, listing: RowsListing) -> RowsListing:
        """Refuse a list that can't be of the wanted rows, or that is too large, before anything is fetched."""
        if listing.rows.digest != self._wanted.rows_root:
            raise AdapterRefusedError(f"its rows have digest {listing.rows.digest}, not that on the chain")
        if listing.rows.size_bytes > self._limits.rows_bytes_max:
            raise AdapterRefusedError(f"its rows have more than {self._limits.rows_bytes_max:,} bytes")
        if listing.version.size_bytes > self._limits.version_bytes_max:
            raise AdapterRefusedError(f"its version has more than {self._limits.version_bytes_max:,} bytes")
        return listing

    async def _fetch_rows(self, holder: "_RowHolder", entry: FileEntry) -> None:
        missing = deque(await trio.to_thread.run_sync(self._missing, entry))
        done_bytes = entry.size_bytes - sum(chunk_size_bytes(*place) for place in missing)
        self._show(done_bytes, entry.size_bytes)

        async def take(place: Place, data: bytes) -> None:
            nonlocal done_bytes
            await trio.to_thread.run_sync(self._place.write, *place, data)
            done_bytes, self._received = done_bytes + len(data), self._received + len(data)
            self._show(done_bytes, entry.size_bytes)

        with self._hurried(holder, entry.size_bytes - done_bytes):
            await holder.fetch(missing, take)
        if await trio.to_thread.run_sync(self._place.wrong_files, [entry]):
            raise AdapterRefusedError("its list of the rows is of another file")

    @contextmanager
    def _hurried(self, holder: "_RowHolder", left_bytes: int) -> Iterator[None]:
        """Limit the time for a file while another peer waits.

        Raises:
            _TooSlowError: the time is over.
        """
        is_hurried = bool(self._waiting) and holder.peer_id not in self._unhurried
        with trio.move_on_after(HURRY_S + left_bytes / HURRY_BYTES_PER_S if is_hurried else inf) as scope:
            yield
        if scope.cancelled_caught:
            raise _TooSlowError

    def _missing(self, entry: FileEntry) -> list[Place]:
        """The chunks that are missing; reads the disk.

        Raises:
            NodeError: the disk has no room for the rows.
        """
        folder = self._place.files
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < entry.size_bytes + self._limits.reserve_bytes:
            raise NodeError(
                f"the rows take {entry.size_bytes:,} bytes, and {folder} has only {free:,} free: free some disk space"
            )
        return self._place.missing([entry])


class _RowHolder:
    """One peer that says to have the rows."""

    def __init__(self, peer_id: PeerId, messages: MessageStream) -> None:
        self.peer_id = peer_id
        self._messages = messages

    async def list(self, wanted: GetRows) -> RowsListing:
        """Ask for the list of a version.

        Raises:
            NetworkError: the peer has gone, or is too slow.
            ProtocolError: it refuses, or sends something else.
        """
        await self._send(wanted)
        answer = await self._receive("send its list")
        if not isinstance(answer, RowsListing):
            raise MalformedError("it sent something else in place of its list")
        return answer

    async def fetch(self, places: "deque[Place]", take: Callable[[Place, bytes], Awaitable[None]]) -> None:
        """Fetch chunks in their order.

        Raises:
            NetworkError, ProtocolError: as in `list`, or a chunk is not the one that was listed.
        """
        asked: deque[Place] = deque()
        while places or asked:
            while places and len(asked) < WINDOW:
                entry, index = places.popleft()
                asked.append((entry, index))
                await self._send(GetPart(part=entry.path, index=index))
            entry, index = asked.popleft()
            await take((entry, index), await self._chunk(entry, index))

    async def whole(self, entry: FileEntry) -> bytes:
        """Fetch a file into memory.

        Raises:
            NetworkError, ProtocolError: as in `fetch`, or the file's digest is wrong.
        """
        content = bytearray()

        async def take(_: Place, data: bytes) -> None:
            content.extend(data)

        await self.fetch(deque((entry, index) for index in range(len(entry.chunks))), take)
        if sha256_digest(bytes(content)) != entry.digest:
            raise AdapterRefusedError(f"its list of the {entry.path} is of another file")
        return bytes(content)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._messages.aclose_shielded()

    async def _chunk(self, entry: FileEntry, index: int) -> bytes:
        answer = await self._receive("send a chunk")
        if not isinstance(answer, PartMessage) or (answer.part, answer.index) != (entry.path, index):
            raise MalformedError(f"it sent something else in place of chunk {index} of the {entry.path}")
        return check_chunk(entry, index, answer.data)

    async def _send(self, message: RowsMessage) -> None:
        with in_time("take a request"):
            await self._messages.send(encode(message))

    async def _receive(self, what: str) -> RowsMessage:
        with in_time(what):
            message = decode(await self._messages.receive())
        if isinstance(message, ErrorMessage):
            raise error_from_message(message)
        return message
