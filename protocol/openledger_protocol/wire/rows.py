"""The `rows` stream: the rows of one published version of a Datanet in chunks, each verified.

A holder's list is only a promise. The SHA-256 of the rows is the root on the chain, and each row's digest is in the
version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, cast

from ..constants import CHUNK_BYTES
from ..errors import MalformedError
from ..primitives import DatanetId, Digest
from .fields import RAW_DIGEST, Field, binary, choice, listed, record, uint
from .frames import ERROR, MessageSet
from .inference import ErrorMessage
from .transfer import CHUNKS_MAX, FileEntry, num_chunks

VERSION_PART: Final = "version"
ROWS_PART: Final = "rows"
_DOMAIN: Final = b"openledger.rows/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRows:
    """Begin a stream about one version of a Datanet."""

    datanet: DatanetId
    rows_root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsListing:
    """The two files of a version: its owners, and its rows."""

    version: FileEntry  # as in an adapter's list of versions
    rows: FileEntry  # canonical JSON of the list of all rows; its digest is the rows_root


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPart:
    """Request one chunk of a file; several requests are answered in their order."""

    part: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartMessage:
    """One chunk of a file."""

    part: str
    index: int
    data: bytes


RowsMessage = GetRows | RowsListing | GetPart | PartMessage | ErrorMessage


def rows_topic(datanet: DatanetId, rows_root: Digest) -> Digest:
    """The id under which a holder of these rows puts its provider records, where an adapter's id would stand."""
    raw = (bytes.fromhex(each.removeprefix("0x")) for each in (datanet, rows_root))
    return Digest("0x" + sha256(_DOMAIN + b"".join(raw)).hexdigest())


def encode(message: RowsMessage) -> dict[str, object]:
    """Encode a message as the map of its frame."""
    return _MESSAGES.encode(message)


def decode(frame: Mapping[str, Any]) -> RowsMessage:
    """Decode the map of a frame.

    Raises:
        UnknownVersionError: it has another major version.
        MalformedError: an unknown `t`; or it names the field that is missing or invalid.
    """
    return cast(RowsMessage, _MESSAGES.decode(frame))


def _entry(part: str) -> Field:
    """A file's entry without its name, which the key in the list says."""
    kinds = {"size_bytes": uint(32), "digest": RAW_DIGEST, "chunks": listed(RAW_DIGEST, length_max=CHUNKS_MAX)}
    write: Callable[[Any], object] = record(FileEntry, **kinds).write
    read = record(_named(part), **kinds).read
    return Field(write, lambda value: _check_chunks(read(value)))


def _named(part: str) -> Any:
    return lambda **fields: FileEntry(path=part, **fields)


def _check_chunks(entry: FileEntry) -> FileEntry:
    if not entry.size_bytes or len(entry.chunks) != num_chunks(entry.size_bytes):
        raise MalformedError(f"{entry.path} of {entry.size_bytes} bytes can't have {len(entry.chunks)} chunks")
    return entry


_PART = choice(VERSION_PART, ROWS_PART)
_PLACE = {"part": _PART, "index": uint(32)}
_MESSAGES = MessageSet(
    {
        "get_rows": (GetRows, record(GetRows, datanet=RAW_DIGEST, rows_root=RAW_DIGEST)),
        "listing": (RowsListing, record(RowsListing, version=_entry(VERSION_PART), rows=_entry(ROWS_PART))),
        "get_part": (GetPart, record(GetPart, **_PLACE)),
        "part": (PartMessage, record(PartMessage, **_PLACE, data=binary(CHUNK_BYTES))),
        "error": (ErrorMessage, ERROR),
    }
)
