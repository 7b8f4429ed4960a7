"""The `adapter` stream: an adapter's files in chunks, each verified, from several providers at once.

A provider's list is only a promise. The files are verified from the adapter's id down: `adapter.json` by the id, and
all others by the digests in it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..constants import ADAPTER_DATANETS_MAX, CHUNK_BYTES
from ..errors import AdapterRefusedError, MalformedError
from ..primitives import AdapterId, Digest, check_digest, check_name
from .fields import DIGEST, Field, binary, checked, listed, record, uint
from .frames import ERROR, MessageSet
from .inference import ErrorMessage

FILES_MAX = 64
CHUNKS_MAX = 8_192
"""Of all files together: 2 GiB, and a list of digests that fits its frame."""

PATH_LENGTH_MAX = 192
_PLAIN_FILES = ("adapter.json", "adapter_config.json", "adapter_model.safetensors")
_INDEX_FOLDER = "attribution"
_DATANETS_FOLDER = "datanets"
_VERSION_SUFFIX = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file and the digests of its chunks, each of 256 KiB except the last."""

    path: str
    size_bytes: int
    digest: Digest  # SHA-256 of the whole file
    chunks: tuple[Digest, ...]  # SHA-256 of each


@dataclass(frozen=True, slots=True, kw_only=True)
class GetManifest:
    """Request an adapter's file list."""

    id: AdapterId


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferManifest:
    """All files of an adapter, and the Datanet versions that name the owners of its training rows."""

    id: AdapterId
    files: tuple[FileEntry, ...]  # in the adapter's folder
    versions: tuple[FileEntry, ...]  # datanets/<id>/<version>.json


@dataclass(frozen=True, slots=True, kw_only=True)
class GetChunk:
    """Request one chunk; several requests are answered in their order."""

    id: AdapterId
    path: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkMessage:
    """One chunk of a file."""

    id: AdapterId
    path: str
    index: int
    data: bytes


TransferMessage = GetManifest | TransferManifest | GetChunk | ChunkMessage | ErrorMessage


def encode(message: TransferMessage) -> dict[str, object]:
    """Encode a message as the map of its frame."""
    return _MESSAGES.encode(message)


def decode(frame: Mapping[str, Any]) -> TransferMessage:
    """Decode the map of a frame.

    Raises:
        UnknownVersionError: it has another major version.
        MalformedError: an unknown `t`; or it names the field that is missing or invalid.
    """
    return cast(TransferMessage, _MESSAGES.decode(frame))


def check_adapter_path(path: str) -> str:
    """Return `path` if an adapter's folder may contain it.

    Raises:
        MalformedError: it is neither one of the three plain files nor `attribution/<name>`.
    """
    folder, slash, name = _text(path).partition("/")
    if path in _PLAIN_FILES or (folder == _INDEX_FOLDER and slash and _is_name(name)):
        return path
    raise MalformedError(f"not a file of an adapter: {repr(path)[:80]}", path=path)


def check_version_path(path: str) -> str:
    """Return `path` if it is the path of a Datanet's version.

    Raises:
        MalformedError: it is not `datanets/<id on the chain>/<rows root>.json`.
    """
    parts = _text(path).split("/")
    is_version = len(parts) == 3 and parts[0] == _DATANETS_FOLDER and parts[2].endswith(_VERSION_SUFFIX)
    if is_version and _is_digest(parts[1]) and _is_digest(parts[2].removesuffix(_VERSION_SUFFIX)):
        return path
    raise MalformedError(f"not a Datanet's version: {repr(path)[:80]}", path=path)


def check_path(path: str) -> str:
    """Return `path` if peers may request it: plain relative names of a fixed list.

    Raises:
        MalformedError: it is not one of them.
    """
    is_version = isinstance(path, str) and path.startswith(_DATANETS_FOLDER + "/")
    return check_version_path(path) if is_version else check_adapter_path(path)


def num_chunks(size_bytes: int) -> int:
    """The number of chunks in a file of this size."""
    return (size_bytes + CHUNK_BYTES - 1) // CHUNK_BYTES


def chunk_size_bytes(entry: FileEntry, index: int) -> int:
    """The size of one chunk of a file.

    Raises:
        MalformedError: the file has no such chunk.
    """
    if not 0 <= index < len(entry.chunks):
        raise MalformedError(f"{entry.path} has {len(entry.chunks)} chunks, and none with index {index}")
    return min(CHUNK_BYTES, entry.size_bytes - index * CHUNK_BYTES)


def check_chunk(entry: FileEntry, index: int, data: bytes) -> bytes:
    """Return `data` if it is the file's chunk.

    Raises:
        MalformedError: the file has no such chunk, or it has another length.
        AdapterRefusedError: its digest differs from the list's.
    """
    size_bytes = chunk_size_bytes(entry, index)
    if len(data) != size_bytes:
        raise MalformedError(f"chunk {index} of {entry.path} has {len(data)} bytes, not {size_bytes}")
    if _digest(hashlib.sha256(data)) != entry.chunks[index]:
        raise AdapterRefusedError(f"chunk {index} of {entry.path} is not the one that the list promised", index=index)
    return data


def chunk_digests(data: bytes) -> tuple[Digest, ...]:
    """The SHA-256 of each chunk of a file."""
    return tuple(_digest(hashlib.sha256(chunk)) for chunk in _chunks(data))


def file_entry(path: str, chunks: Iterable[bytes]) -> FileEntry:
    """Make a file's entry from its chunks in order, so that nobody must hold the whole file.

    Raises:
        MalformedError: a path that may not be requested, or an earlier chunk that is not 256 KiB.
    """
    whole, digests, size_bytes = hashlib.sha256(), [], 0
    for chunk in chunks:
        if size_bytes % CHUNK_BYTES or not 0 < len(chunk) <= CHUNK_BYTES:
            raise MalformedError(f"{path} must come in chunks of {CHUNK_BYTES} bytes")
        whole.update(chunk)
        digests.append(_digest(hashlib.sha256(chunk)))
        size_bytes += len(chunk)
    return FileEntry(path=check_path(path), size_bytes=size_bytes, digest=_digest(whole), chunks=tuple(digests))


def check_manifest(manifest: TransferManifest) -> TransferManifest:
    """Return `manifest` if a receiver can fetch it.

    Raises:
        MalformedError: a duplicate path, a missing file, a wrong number of chunks, or over 2 GiB in total.
    """
    entries = (*manifest.files, *manifest.versions)
    paths = [entry.path for entry in entries]
    # Names that differ only by case are one file on some disks.
    if len({path.lower() for path in paths}) != len(paths):
        raise MalformedError("a file is listed twice")
    if missing := [name for name in _PLAIN_FILES if name not in paths]:
        raise MalformedError(f"{missing[0]} is missing")
    for entry in entries:
        if len(entry.chunks) != num_chunks(entry.size_bytes):
            raise MalformedError(f"{entry.path} of {entry.size_bytes} bytes can't have {len(entry.chunks)} chunks")
    if (total := sum(len(entry.chunks) for entry in entries)) > CHUNKS_MAX:
        raise MalformedError(f"{total} chunks are over the cap of {CHUNKS_MAX}")
    return manifest


def _chunks(data: bytes) -> Iterator[bytes]:
    for begin in range(0, len(data), CHUNK_BYTES):
        yield data[begin : begin + CHUNK_BYTES]


def _digest(hashed: "hashlib._Hash") -> Digest:
    return Digest("0x" + hashed.hexdigest())


def _text(path: object) -> str:
    if type(path) is not str or len(path) > PATH_LENGTH_MAX:
        raise MalformedError(f"not a path: {repr(path)[:80]}")
    return path


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except MalformedError:
        return False
    return True


def _is_digest(text: str) -> bool:
    try:
        check_digest(text)
    except MalformedError:
        return False
    return True


def _entry(check: Field) -> Field:
    digests = listed(DIGEST, length_max=CHUNKS_MAX)
    return record(FileEntry, path=check, size_bytes=uint(32), digest=DIGEST, chunks=digests)


def _manifest() -> Field:
    fields = record(
        TransferManifest,
        id=DIGEST,
        files=listed(_entry(checked(check_adapter_path)), length_max=FILES_MAX),
        versions=listed(_entry(checked(check_version_path)), length_max=ADAPTER_DATANETS_MAX),
    )
    return Field(fields.write, lambda value: check_manifest(fields.read(value)))


_PLACE = {"id": DIGEST, "path": checked(check_path), "index": uint(32)}
_MESSAGES = MessageSet(
    {
        "get_manifest": (GetManifest, record(GetManifest, id=DIGEST)),
        "manifest": (TransferManifest, _manifest()),
        "get_chunk": (GetChunk, record(GetChunk, **_PLACE)),
        "chunk": (ChunkMessage, record(ChunkMessage, **_PLACE, data=binary(CHUNK_BYTES))),
        "error": (ErrorMessage, ERROR),
    }
)
