"""Serving this node's adapters to peers: their files in chunks, and the Datanet versions that name row owners.

Relays are for control messages and tokens, so a peer that is reached over one gets manifests only, which every payer
needs.

Peers can request only names of a fixed list, and files are opened without following links. A malicious adapter
in the library can therefore not make this node serve any other file.
"""

import contextlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from openledger_protocol.adapter import AdapterManifest, adapter_id, manifest_from_json
from openledger_protocol.constants import ADAPTER_DATANETS_MAX, CHUNK_BYTES
from openledger_protocol.errors import (
    MalformedError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.transfer import (
    FILES_MAX,
    ChunkMessage,
    FileEntry,
    GetChunk,
    GetManifest,
    TransferManifest,
    TransferMessage,
    check_adapter_path,
    check_manifest,
    decode,
    encode,
    file_entry,
)

from ..home import Home
from .adapter_listing import MANIFEST_PATH, SMALL_BYTES_MAX, version_path
from .streams import MessageStream
from .transport import Path as PeerPath
from .transport import PeerId
from .upload import UNREAD_S, Uplink, UploadPlace, next_request, serve_upload

LISTINGS_MAX = 64
"""Lists that are cached, so that a file is hashed once and not for every peer; the oldest are dropped first."""

READERS_MAX = 4
INDEX_FOLDER = "attribution"
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe must not block

Stamp = tuple[tuple[str, int, int, int], ...]
"""Path, mtime, size and inode of each file, which change when the file does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A served adapter: its file list, and the stamp that it was made from."""

    stamp: Stamp
    listing: TransferManifest


class AdapterServer:
    """Serves the `adapter` protocol from a data directory."""

    def __init__(
        self,
        home: Home,
        *,
        may_share: Callable[[AdapterId], bool] = lambda _: True,
        path_to: Callable[[PeerId], PeerPath | None] = lambda _: PeerPath.DIRECT,
        upload_bytes_per_s: int = 0,
    ) -> None:
        self._home = home
        self._may_share = may_share
        self._path_to = path_to
        self._shared: dict[AdapterId, Shared] = {}
        self._listing = threading.Lock()
        self._readers = trio.CapacityLimiter(READERS_MAX)
        self._uplink = Uplink(upload_bytes_per_s)

    @property
    def uplink(self) -> Uplink:
        """The pace and the places of everything that peers fetch from this node."""
        return self._uplink

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Serve one stream: any number of requests, each answered in turn."""
        await serve_upload(peer_id, stream, self._uplink, partial(self._answer_all, peer_id))

    async def _answer_all(self, peer_id: PeerId, messages: MessageStream, place: UploadPlace) -> None:
        while True:
            question = decode(await next_request(messages, place))
            if not _is_of_manifest(question) and self._path_to(peer_id) is PeerPath.RELAYED:
                raise UnavailableError("adapter files are not sent over relays: connect directly and ask again")
            answer = await trio.to_thread.run_sync(self.answer, question, limiter=self._readers)
            if isinstance(answer, ChunkMessage):
                await self._uplink.wait(len(answer.data))
            await messages.send(encode(answer), timeout_s=UNREAD_S)

    def answer(self, question: TransferMessage) -> TransferMessage:
        """Answer one request; reads the disk.

        Raises:
            UnknownModelError: no such adapter is served here.
            MalformedError: it is not a request, or its file has no such chunk.
        """
        if not isinstance(question, GetManifest | GetChunk):
            raise MalformedError("only manifests and chunks can be asked for")
        if isinstance(question, GetChunk) and _is_of_manifest(question):
            return self._manifest_chunk(question)
        shared = self._find(question.id)
        if isinstance(question, GetManifest):
            return shared.listing
        entry = next((each for each in _entries(shared) if each.path == question.path), None)
        if entry is None or question.index >= len(entry.chunks):
            raise MalformedError(f"{question.path} has no chunk {question.index}")
        with self._opened(question.id, question.path) as descriptor:
            data = os.pread(descriptor, CHUNK_BYTES, question.index * CHUNK_BYTES)
        return ChunkMessage(id=question.id, path=question.path, index=question.index, data=data)

    def _manifest_chunk(self, question: GetChunk) -> ChunkMessage:
        """An adapter's manifest. Each new payer asks for it first, so none of the other files is hashed for it."""
        folder = self._folder(question.id)
        try:
            if folder is None or not self._may_share(question.id):
                raise UnknownModelError(f"no adapter {question.id} is served here")
            data = _read_manifest_file(folder)
            if adapter_id(_manifest_from(data)) != question.id:
                raise MalformedError("another adapter, whose id begins alike")
        except (OSError, MalformedError) as error:
            raise UnknownModelError(f"adapter {question.id} can't be served just now") from error
        return ChunkMessage(id=question.id, path=question.path, index=question.index, data=data)

    def _find(self, id: AdapterId) -> Shared:
        folder = self._folder(id)
        if folder is None or not self._may_share(id):
            raise UnknownModelError(f"no adapter {id} is served here")
        try:
            with self._listing:
                return self._listed(id, folder)
        except (OSError, MalformedError) as error:
            raise UnknownModelError(f"adapter {id} can't be served just now") from error

    def _listed(self, id: AdapterId, folder: Path) -> Shared:
        manifest = _manifest_from(_read_manifest_file(folder))
        if adapter_id(manifest) != id:
            raise MalformedError("another adapter, whose id begins alike")
        files, versions = _adapter_paths(folder), self._version_paths(manifest)
        stamp = tuple(_stamp(path, self._place(folder, path)) for path in (*files, *versions))
        if id not in self._shared or self._shared[id].stamp != stamp:
            listing = TransferManifest(
                id=id,
                files=tuple(self._entry(folder, path) for path in files),
                versions=tuple(self._entry(folder, path) for path in versions),
            )
            self._shared[id] = Shared(stamp=stamp, listing=check_manifest(listing))
            while len(self._shared) > LISTINGS_MAX:
                self._shared.pop(next(iter(self._shared)))
        return self._shared[id]

    def _folder(self, id: AdapterId) -> Path | None:
        """The library folder whose name ends in the id's first digits."""
        found = sorted(self._home.adapters.glob(f"[!.]*@{id[2:10]}"))
        return next((folder for folder in found if not folder.is_symlink()), None)

    def _version_paths(self, manifest: AdapterManifest) -> list[str]:
        """The published versions of its Datanets that are on this disk."""
        paths = []
        for datanet in manifest.datanets or ():
            path = version_path(datanet)
            with contextlib.suppress(OSError), _open_below(self._home.datanets, path.split("/")[1:]):
                paths.append(path)
        return list(dict.fromkeys(paths))[:ADAPTER_DATANETS_MAX]

    def _place(self, folder: Path, path: str) -> tuple[Path, list[str]]:
        """The folder that a path is opened from, and the parts of the path below it."""
        parts = path.split("/")
        return (self._home.datanets, parts[1:]) if parts[0] == "datanets" else (folder, parts)

    def _entry(self, folder: Path, path: str) -> FileEntry:
        with _open_below(*self._place(folder, path)) as descriptor:
            return file_entry(path, _chunks(descriptor))

    @contextlib.contextmanager
    def _opened(self, id: AdapterId, path: str) -> Iterator[int]:
        folder = self._folder(id)
        if folder is None:
            raise UnknownModelError(f"adapter {id} is gone")
        try:
            with _open_below(*self._place(folder, path)) as descriptor:
                yield descriptor
        except OSError as error:
            raise UnknownModelError(f"{path} of adapter {id} is gone") from error


def _is_of_manifest(question: TransferMessage) -> bool:
    return isinstance(question, GetChunk) and (question.path, question.index) == (MANIFEST_PATH, 0)


def _entries(shared: Shared) -> Iterable[FileEntry]:
    return (*shared.listing.files, *shared.listing.versions)


def _adapter_paths(folder: Path) -> list[str]:
    """The files of an adapter's folder that peers may request."""
    index = folder / INDEX_FOLDER
    inner = sorted(index.iterdir()) if index.is_dir() and not index.is_symlink() else []
    paths = [*sorted(file.name for file in folder.iterdir()), *(f"{INDEX_FOLDER}/{file.name}" for file in inner)]
    found = []
    for path in paths:
        with contextlib.suppress(MalformedError, OSError), _open_below(folder, check_adapter_path(path).split("/")):
            found.append(path)
    return found[:FILES_MAX]


def _read_manifest_file(folder: Path) -> bytes:
    with _open_below(folder, [MANIFEST_PATH]) as descriptor:
        return os.pread(descriptor, SMALL_BYTES_MAX, 0)


def _manifest_from(content: bytes) -> AdapterManifest:
    try:
        return manifest_from_json(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{MANIFEST_PATH} is no JSON") from error


def _stamp(path: str, place: tuple[Path, list[str]]) -> tuple[str, int, int, int]:
    with _open_below(*place) as descriptor:
        found = os.fstat(descriptor)
        return path, found.st_mtime_ns, found.st_size, found.st_ino


@contextlib.contextmanager
def _open_below(root: Path, parts: list[str]) -> Iterator[int]:
    """Open a plain file below `root`, without following any link on the way.

    Raises:
        OSError: it does not exist, or is not a plain file.
    """
    with contextlib.ExitStack() as stack:
        at = os.open(root, DIRECTORY)
        stack.callback(os.close, at)
        for part in parts[:-1]:
            at = os.open(part, DIRECTORY, dir_fd=at)
            stack.callback(os.close, at)
        descriptor = os.open(parts[-1], PLAIN, dir_fd=at)
        stack.callback(os.close, descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{parts[-1]} is no plain file")
        yield descriptor


def _chunks(descriptor: int) -> Iterator[bytes]:
    at = 0
    while chunk := os.pread(descriptor, CHUNK_BYTES, at):
        yield chunk
        at += len(chunk)
