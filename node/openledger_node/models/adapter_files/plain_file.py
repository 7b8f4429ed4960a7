"""Safe reading of strangers' files: only regular files, at most a given size, and only unambiguous JSON.

A folder from a stranger may hold a pipe, a device, a link to a secret, or a file that grows while it is read.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from math import isfinite
from pathlib import Path
from typing import Any

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import Digest

OPENING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK, so that a pipe can't block the node
QUOTED_LENGTH_MAX = 100
COPY_BYTES = 1 << 20


@contextmanager
def open_plain(file: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading; check the descriptor, because the name may lead elsewhere a moment later.

    Raises:
        AdapterRefusedError: it is missing, or is a link, a folder, a pipe or a device.
    """
    try:
        descriptor = os.open(file, OPENING)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AdapterRefusedError(f"{file} {_why_closed(file)}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AdapterRefusedError(f"{file} is not a regular file")
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def read_plain(file: Path, *, size_bytes_max: int) -> bytes:
    """Read a small file whole.

    Raises:
        AdapterRefusedError: it is not a regular file, or is too large.
    """
    with open_plain(file) as stream:
        content = stream.read(size_bytes_max + 1)
    if len(content) > size_bytes_max:
        raise AdapterRefusedError(f"{file} is too large: over {size_bytes_max} bytes")
    return content


def read_json(file: Path, *, size_bytes_max: int) -> dict[str, Any]:
    """Read a small file that must be one JSON object.

    Raises:
        AdapterRefusedError: it is not.
    """
    return parse_json(read_plain(file, size_bytes_max=size_bytes_max), str(file))


def parse_json(content: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object strictly: each key once, every number finite.

    If a key appears twice, two readers may take different values, and the value that runs is not the one checked.

    Raises:
        AdapterRefusedError: names `what`.
    """
    try:
        parsed = json.loads(
            content.decode(), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
    except AdapterRefusedError as error:
        raise AdapterRefusedError(f"{what}: {error.message}") from error
    except (ValueError, RecursionError) as error:
        raise AdapterRefusedError(f"{what} is not JSON") from error
    if not isinstance(parsed, dict):
        raise AdapterRefusedError(f"{what} is not a JSON object")
    return parsed


def plain_digest(file: Path) -> Digest:
    """SHA-256 of a regular file, read in pieces.

    Raises:
        AdapterRefusedError: it is not a regular file.
    """
    with open_plain(file) as stream:
        return Digest("0x" + hashlib.file_digest(stream, hashlib.sha256).hexdigest())


def copy_plain(source: Path, target: Path) -> None:
    """Copy a regular file, up to the size that it had when it was opened.

    Raises:
        AdapterRefusedError: it is not a regular file, or is truncated meanwhile.
    """
    with open_plain(source) as reading, target.open("xb") as writing:
        left = os.fstat(reading.fileno()).st_size
        while left:
            piece = reading.read(min(left, COPY_BYTES))
            if not piece:
                raise AdapterRefusedError(f"{source} became shorter while it was copied")
            writing.write(piece)
            left -= len(piece)


def quoted(value: object) -> str:
    """A stranger's value as ASCII, shortened and with control characters escaped, so that a terminal can show it."""
    try:
        return ascii(value)[:QUOTED_LENGTH_MAX]
    except (ValueError, RecursionError):  # an integer with more digits than Python prints
        return "a value that is too large"


def _why_closed(file: Path) -> str:
    if file.is_symlink():
        return "is a link, and links may lead anywhere: copy the folder with `cp -rL` and use the copy"
    if os.path.lexists(file):
        return "cannot be opened as a regular file"
    return "is missing"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise AdapterRefusedError(f"the key {quoted(twice)} appears twice")
    return found


def _no_constant(name: str) -> float:
    raise AdapterRefusedError(f"{name} is not a number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise AdapterRefusedError(f"{quoted(digits)} is too large for a number")
    return number
