"""Serving the rows of Datanets' versions to peers, in chunks, over direct connections."""

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.errors import (
    MalformedError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.primitives import DatanetId, Digest
from openledger_protocol.wire.rows import (
    ROWS_PART,
    VERSION_PART,
    GetPart,
    GetRows,
    PartMessage,
    RowsListing,
    RowsMessage,
    decode,
    encode,
)
from openledger_protocol.wire.transfer import CHUNKS_MAX, FileEntry, chunk_digests, num_chunks

from .streams import MessageStream
from .transport import Path as PeerPath
from .transport import PeerId
from .upload import UNREAD_S, Uplink, UploadPlace, next_request, serve_upload

LISTINGS_MAX = 16
READERS_MAX = 2

FileStamps = tuple[tuple[int, int, int], ...]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRows:
    """A version that this node serves."""

    datanet: DatanetId
    rows_root: Digest
    version: Path  # the file that names the owner of each row
    rows: Path


FindRows = Callable[[DatanetId, Digest], HeldRows]
"""Finds a version by its Datanet and root, and blocks.

Raises UnknownModelError if it is not served here, and UnavailableError if some of its rows were withdrawn.
"""


class RowsServer:
    """Serves the `rows` protocol."""

    def __init__(
        self,
        find: FindRows,
        *,
        path_to: Callable[[PeerId], PeerPath | None] = lambda _: PeerPath.DIRECT,
        uplink: Uplink | None = None,
    ) -> None:
        self._find = find
        self._path_to = path_to
        self._uplink = uplink or Uplink(0)
        self._listed: dict[Digest, tuple[FileStamps, RowsListing]] = {}
        self._listing = threading.Lock()
        self._readers = trio.CapacityLimiter(READERS_MAX)

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Serve one stream: a version, and any number of its chunks."""
        await serve_upload(peer_id, stream, self._uplink, partial(self._answer_all, peer_id))

    async def _answer_all(self, peer_id: PeerId, messages: MessageStream, place: UploadPlace) -> None:
        question = await _next(messages, place)
        if not isinstance(question, GetRows):
            raise MalformedError("a stream of rows begins with get_rows")
        if self._path_to(peer_id) is PeerPath.RELAYED:
            raise UnavailableError("rows are not sent over relays: connect directly and ask again")
        held = await self._blocking(partial(self._find, question.datanet, question.rows_root))
        listing = await self._blocking(partial(self._list, held))
        await messages.send(encode(listing), timeout_s=UNREAD_S)
        while True:
            wanted = await _next(messages, place)
            if not isinstance(wanted, GetPart):
                raise MalformedError("only chunks can be asked for after the list")
            chunk = await self._blocking(partial(_read, held, listing, wanted))
            await self._uplink.wait(len(chunk.data))
            await messages.send(encode(chunk), timeout_s=UNREAD_S)

    async def _blocking(self, call: Callable[[], Value]) -> Value:
        return await trio.to_thread.run_sync(call, limiter=self._readers)

    def _list(self, held: HeldRows) -> RowsListing:
        """The list of a version; its files are hashed once, and again when they change."""
        try:
            with self._listing:
                stamp = tuple(_stamp(file) for file in (held.version, held.rows))
                if held.rows_root not in self._listed or self._listed[held.rows_root][0] != stamp:
                    version, rows = (_entry(part, _file(held, part)) for part in (VERSION_PART, ROWS_PART))
                    if rows.digest != held.rows_root:
                        raise UnavailableError("the copy of these rows here is damaged: ask another peer")
                    listing = RowsListing(version=version, rows=rows)
                    self._listed[held.rows_root] = stamp, listing
                    while len(self._listed) > LISTINGS_MAX:
                        self._listed.pop(next(iter(self._listed)))
                return self._listed[held.rows_root][1]
        except OSError as error:
            raise UnknownModelError("these rows can't be served just now") from error


async def _next(messages: MessageStream, place: UploadPlace) -> RowsMessage:
    return decode(await next_request(messages, place))


def _file(held: HeldRows, part: str) -> Path:
    return held.rows if part == ROWS_PART else held.version


def _read(held: HeldRows, listing: RowsListing, wanted: GetPart) -> PartMessage:
    entry = listing.rows if wanted.part == ROWS_PART else listing.version
    if wanted.index >= len(entry.chunks):
        raise MalformedError(f"the file {wanted.part} has no chunk {wanted.index}")
    try:
        descriptor = os.open(_file(held, wanted.part), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            data = os.pread(descriptor, CHUNK_BYTES, wanted.index * CHUNK_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnknownModelError("these rows are gone") from error
    return PartMessage(part=wanted.part, index=wanted.index, data=data)


def _stamp(file: Path) -> tuple[int, int, int]:
    found = file.stat(follow_symlinks=False)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _entry(part: str, file: Path) -> FileEntry:
    size_bytes = file.stat(follow_symlinks=False).st_size
    if num_chunks(size_bytes) > CHUNKS_MAX:
        raise UnavailableError("these rows are too large to be sent")
    return entry_of(part, file)


def entry_of(part: str, file: Path) -> FileEntry:
    """The entry of a file, which is read chunk by chunk.

    Raises:
        OSError: it can't be read.
    """
    whole, chunks, size_bytes = hashlib.sha256(), list[Digest](), 0
    with file.open("rb") as stream:
        while data := stream.read(CHUNK_BYTES):
            whole.update(data)
            chunks += chunk_digests(data)
            size_bytes += len(data)
    return FileEntry(path=part, size_bytes=size_bytes, digest=Digest("0x" + whole.hexdigest()), chunks=tuple(chunks))
