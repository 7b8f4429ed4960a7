"""Rows of published versions as they travel from peer to peer, and versions that were pulled from others.

Beside a version's file in `datanets/<id on the chain>/` lie its rows as one list in canonical JSON, whose SHA-256 is
the root on the chain, and, if they were pulled, a note of what the chain and the peer have said of them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from openledger_protocol.adapter import DatanetReference
from openledger_protocol.codec import canonical_json, sha256_digest, to_plain
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import ROW_TEXT_LENGTH_MAX, Row, row_from_json
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS, DatanetId, Digest, check_digest, check_name

from ..errors import NodeError
from ..home import Home, write_private
from ..text import counted
from .version import DatanetVersion, VersionLabel, account_of, published_file, read_published
from .withdrawn import find_withdrawn, withdrawn_here

PULLED: Final = ".pulled"
PULLED_SCHEMA: Final = "openledger.pulled_version/1"
ROW_LENGTH_MAX: Final = 16 * ROW_TEXT_LENGTH_MAX
"""Characters of one row in JSON: two texts and a name, each letter of which may be escaped with six."""

READ_CHARACTERS: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledVersion:
    """A version whose rows came from a peer; `<rows root>.pulled` in the Datanet's folder."""

    id: DatanetId
    name: str  # as registered on the chain
    version: int  # by the chain's count
    rows_root: Digest
    num_rows: int
    licence: str
    schema: str = PULLED_SCHEMA

    @property
    def reference(self) -> DatanetReference:
        """The version as an adapter names it."""
        return DatanetReference(id=self.id, version=str(self.version), rows_root=self.rows_root, weight_ppm=PPM)

    @property
    def label(self) -> VersionLabel:
        """Its names for a training."""
        return VersionLabel(id=self.name, version=str(self.version), rows_root=self.rows_root, on_chain=self.id)


def is_datanet_id(text: str) -> bool:
    """Return True if a text is the id of a Datanet on a chain, and not its name."""
    try:
        return bool(check_digest(text))
    except MalformedError:
        return False


# ---- rows on disk


def rows_file(home: Home, datanet_id: DatanetId, rows_root: Digest) -> Path:
    """The path of a version's rows."""
    return published_file(home, datanet_id, rows_root).with_suffix(".rows")


def write_canonical(file: Path, rows: Iterable[Row]) -> None:
    """Write rows as they travel, through a temporary file.

    Raises:
        OSError: the file can't be written.
    """
    partial = file.with_name(file.name + ".partial")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    gap = b"["
    try:
        with partial.open("wb") as stream:
            for row in rows:
                stream.write(gap + canonical_json(row))
                gap = b","
            stream.write(b"]")
        partial.chmod(0o600)
        partial.replace(file)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)  # a full disk needs the room
        raise


def read_canonical(file: Path) -> Iterator[tuple[Row, Digest]]:
    """Read rows one by one, each with its digest; they may come from a stranger.

    Raises:
        MalformedError: the file is no list of rows in canonical JSON.
        OSError: the file can't be read.
    """
    try:
        for content, text in _objects(file):
            row = row_from_json(content)
            if (found := canonical_json(row)) != text.encode():
                raise MalformedError("a row is not written in canonical JSON")
            yield row, sha256_digest(found)
    except (ValueError, RecursionError) as error:
        raise MalformedError("the rows are no list in JSON") from error


def _objects(file: Path) -> Iterator[tuple[Any, str]]:
    """The entries of a JSON list without blanks, each with its text; one is in memory at a time."""
    decoder = json.JSONDecoder()
    with file.open(encoding="utf-8", newline="") as stream:
        if stream.read(1) != "[":
            raise MalformedError("the rows are no list in JSON")
        left, at, is_end = "", 0, False
        while True:
            if not is_end and len(left) - at < ROW_LENGTH_MAX:
                more = stream.read(READ_CHARACTERS)
                left, at, is_end = left[at:] + more, 0, not more
                continue
            content, end = decoder.raw_decode(left, at)
            if end - at > ROW_LENGTH_MAX:
                raise MalformedError("a row is too long")
            yield content, left[at:end]
            if left[end : end + 1] == "]":
                if left[end + 1 :] or stream.read(1):
                    raise MalformedError("something follows the last row")
                return
            if left[end : end + 1] != ",":
                raise MalformedError("the rows are no list in JSON")
            at = end + 1


def file_digest(file: Path) -> Digest:
    """SHA-256 of a file.

    Raises:
        OSError: the file can't be read.
    """
    with file.open("rb") as stream:
        return Digest("0x" + hashlib.file_digest(stream, "sha256").hexdigest())


def check_rows(file: Path, version: DatanetVersion) -> None:
    """Check that a file has the rows that a version names, in its order and of its accounts.

    Raises:
        MalformedError: it has other rows, or the version gives a row to another account than the row names.
        OSError: the file can't be read.
    """
    num_rows = 0
    for row, digest in read_canonical(file):
        if num_rows >= len(version.rows) or version.rows[num_rows].digest != digest:
            raise MalformedError(f"its version does not name row {num_rows + 1} of these rows")
        named = account_of(row.contributor, {})
        if named not in (ZERO_ADDRESS, version.rows[num_rows].account):
            raise MalformedError(f"its version pays row {num_rows + 1} to another account than the row names")
        num_rows += 1
    if num_rows != len(version.rows):
        raise MalformedError(f"its version names {len(version.rows)} rows, and there are {num_rows}")


# ---- pulled versions


def keep_pulled(home: Home, pulled: PulledVersion) -> None:
    """Note that a version was pulled; its rows and its file are there already.

    Raises:
        NodeError: the data directory can't be written.
    """
    file = _note_file(home, pulled.id, pulled.rows_root)
    try:
        write_private(file, json.dumps(to_plain(pulled), indent=1) + "\n", is_new=False)
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}") from error


def forget_pulled(home: Home, pulled: PulledVersion) -> None:
    """Delete the rows of a pulled version, and its note.

    Raises:
        NodeError: a file can't be deleted.
    """
    try:
        rows_file(home, pulled.id, pulled.rows_root).unlink(missing_ok=True)
        _note_file(home, pulled.id, pulled.rows_root).unlink(missing_ok=True)
    except OSError as error:
        raise NodeError(f"cannot delete {error.filename}: {error.strerror}") from error


def pulled_versions(home: Home, datanet_id: DatanetId | None = None) -> list[PulledVersion]:
    """The versions that were pulled, of one Datanet or of all, by name and version; damaged notes are left out."""
    found = []
    for file in home.datanets.glob(f"{check_digest(datanet_id) if datanet_id else '0x*'}/0x*{PULLED}"):
        with suppress(OSError, ValueError, RecursionError, MalformedError):
            found.append(_pulled_from(json.loads(file.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda each: (each.name, each.id, each.version))


def pulled_training_rows(
    home: Home, datanet_id: DatanetId, version: str | None = None
) -> tuple[PulledVersion, tuple[Row, ...]]:
    """Read a pulled version to train on, the newest if none is named.

    Raises:
        NodeError: it was not pulled, is damaged, or some of its rows were withdrawn.
    """
    found = [each for each in pulled_versions(home, datanet_id) if version in (None, str(each.version))]
    what = f"{datanet_id}@{version}" if version else datanet_id
    if not found:
        raise NodeError(f"{what} is not here: `openledger-node datanet pull {what}` fetches its rows from peers")
    pulled = found[-1]
    owned = read_published(home, pulled.reference).rows
    if gone := len(find_withdrawn(owned, withdrawn_here(home, [pulled.rows_root]))):
        raise NodeError(
            f"{counted(gone, 'row')} of version {pulled.version} of {pulled.name} were withdrawn, so no adapter is "
            f"trained on it. Pull a newer version with `openledger-node datanet pull {datanet_id}`, as soon as its "
            "owner has published one without them"
        )
    return pulled, read_held(home, datanet_id, pulled.rows_root)


def read_held(home: Home, datanet_id: DatanetId, rows_root: Digest) -> tuple[Row, ...]:
    """Read the rows of a version that are here.

    Raises:
        NodeError: they are missing or damaged.
    """
    file = rows_file(home, datanet_id, rows_root)
    try:
        if file_digest(file) != rows_root:
            raise MalformedError("its digest is not that of its version")
        return tuple(row for row, _ in read_canonical(file))
    except (OSError, MalformedError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise NodeError(
            f"{file} can't be read ({why}): delete it, and fetch it again with "
            f"`openledger-node datanet pull {datanet_id}`"
        ) from error


def _note_file(home: Home, datanet_id: DatanetId, rows_root: Digest) -> Path:
    return published_file(home, datanet_id, rows_root).with_suffix(PULLED)


def _pulled_from(content: Any) -> PulledVersion:
    try:
        found = PulledVersion(**content)
    except TypeError as error:
        raise MalformedError("it is no note of a pulled version") from error
    numbers = (found.version, found.num_rows)
    if found.schema != PULLED_SCHEMA or any(type(each) is not int for each in numbers):
        raise MalformedError("it is no note of a pulled version")
    if not isinstance(found.licence, str):
        raise MalformedError("it is no note of a pulled version")
    check_name(found.name)
    check_digest(found.id)
    check_digest(found.rows_root)
    return found
