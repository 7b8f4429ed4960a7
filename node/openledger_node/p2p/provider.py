"""One peer that offers an adapter: its list is checked against the adapter's id, its chunks against the list."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX, sha256_digest
from openledger_protocol.errors import AdapterRefusedError, MalformedError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.inference import ErrorMessage, error_from_message
from openledger_protocol.wire.transfer import (
    ChunkMessage,
    FileEntry,
    GetChunk,
    GetManifest,
    TransferManifest,
    TransferMessage,
    check_chunk,
    decode,
    encode,
)

from ..errors import NetworkError
from .adapter_listing import INDEX_PATH, MANIFEST_PATH, Listing, check_listing, read_manifest, small_entry
from .partial import Place
from .streams import MessageStream
from .transport import PeerId

OpenStream = Callable[[PeerId], Awaitable[trio.abc.Stream]]
"""Opens an `adapter` stream to a peer."""

ANSWER_S = 20.0
"""For one answer, a list or a chunk; a slower peer is dropped."""

Take = Callable[[Place, bytes], Awaitable[None]]
"""Receives each verified chunk as it comes."""

WINDOW = 4
"""Chunks requested ahead of the one that the peer is sending."""


class Provider:
    """A peer whose list was verified against the adapter's id."""

    def __init__(self, peer_id: PeerId, id: AdapterId, messages: MessageStream) -> None:
        self.peer_id = peer_id
        self._id = id
        self._messages = messages
        self.listing: Listing

    @classmethod
    async def reach(cls, open_stream: OpenStream, peer_id: PeerId, id: AdapterId) -> "Provider":
        """Connect to a peer, and verify its list with the two files that fix the adapter.

        Raises:
            NetworkError: it can't be reached, or is too slow.
            ProtocolError: it does not have the adapter, or has something else under its id.
        """
        with in_time("be reached"):
            stream = await open_stream(peer_id)
        provider = cls(peer_id, id, MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX))
        try:
            provider.listing = await provider._list()
        except BaseException:
            await provider.aclose()
            raise
        return provider

    async def fetch(self, places: "deque[Place]", take: Take) -> None:
        """Fetch chunks from the left of a shared queue; chunks that did not arrive are put back.

        Raises:
            NetworkError: the peer has gone, or is too slow.
            ProtocolError: it refuses, or sends something else.
        """
        asked: deque[Place] = deque()
        try:
            while places or asked:
                while places and len(asked) < WINDOW:
                    asked.append(places.popleft())
                    await self._ask(asked[-1])
                await take(asked[0], await self._receive_chunk(asked[0]))
                asked.popleft()
        finally:
            places.extendleft(reversed(asked))

    async def whole(self, entry: FileEntry) -> bytes:
        """Fetch a file into memory.

        Raises:
            NetworkError, ProtocolError: as in `fetch`; AdapterRefusedError if the file's digest is wrong.
        """
        content = bytearray()

        async def take(_: Place, data: bytes) -> None:
            content.extend(data)

        await self.fetch(deque((entry, index) for index in range(len(entry.chunks))), take)
        if sha256_digest(bytes(content)) != entry.digest:
            raise AdapterRefusedError(f"its list of {entry.path} is of another file")
        return bytes(content)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._messages.aclose_shielded()

    async def _list(self) -> Listing:
        with in_time("send its list"):
            await self._messages.send(encode(GetManifest(id=self._id)))
            listed = await self._receive()
        if not isinstance(listed, TransferManifest) or listed.id != self._id:
            raise MalformedError("it sent something else in place of its list")
        content = await self.whole(small_entry(listed, MANIFEST_PATH))
        manifest, small = read_manifest(content, self._id), {MANIFEST_PATH: content}
        if manifest.index_root is not None:
            small[INDEX_PATH] = await self.whole(small_entry(listed, INDEX_PATH))
        return check_listing(listed, manifest, small)

    async def _ask(self, place: Place) -> None:
        entry, index = place
        with in_time("take a request"):
            await self._messages.send(encode(GetChunk(id=self._id, path=entry.path, index=index)))

    async def _receive_chunk(self, place: Place) -> bytes:
        entry, index = place
        with in_time("send a chunk"):
            chunk = await self._receive()
        is_asked_for = isinstance(chunk, ChunkMessage) and (chunk.id, chunk.path, chunk.index) == (
            self._id,
            entry.path,
            index,
        )
        if not isinstance(chunk, ChunkMessage) or not is_asked_for:
            raise MalformedError(f"it sent something else in place of chunk {index} of {entry.path}")
        return check_chunk(entry, index, chunk.data)

    async def _receive(self) -> TransferMessage:
        message = decode(await self._messages.receive())
        if isinstance(message, ErrorMessage):
            raise error_from_message(message)
        return message


@contextmanager
def in_time(what: str) -> Iterator[None]:
    """Limit the time for one answer.

    Raises:
        NetworkError: it did not come in time.
    """
    try:
        with trio.fail_after(ANSWER_S):
            yield
    except trio.TooSlowError as error:
        raise NetworkError(f"it took longer than {ANSWER_S:g} s to {what}") from error
