"""Unique encodings: canonical JSON for hashing, msgpack frames for sending."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, cast

import msgpack
import rfc8785

from .errors import MalformedError
from .primitives import Digest

LENGTH_BYTES = 4
CONTROL_FRAME_BYTES_MAX = 64 * 1024
DATA_FRAME_BYTES_MAX = 1024 * 1024


def canonical_json(value: object) -> bytes:
    """Encode dataclasses, mappings, sequences, strings, integers, booleans and null by RFC 8785.

    Raises:
        MalformedError: the value holds something that JSON can't.
    """
    try:
        return rfc8785.dumps(cast(Any, to_plain(value)))
    except (rfc8785.CanonicalizationError, TypeError, ValueError, RecursionError) as error:
        raise MalformedError(f"not canonical JSON: {error}") from error


def canonical_digest(value: object) -> Digest:
    """SHA-256 over the canonical JSON of `value`."""
    return sha256_digest(canonical_json(value))


def sha256_digest(content: bytes) -> Digest:
    """SHA-256 of `content` as 0x-hex."""
    return Digest("0x" + hashlib.sha256(content).hexdigest())


def to_plain(value: object) -> object:
    """Turn dataclasses and tuples, at any depth, into dicts and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def encode_frame(message: Mapping[str, object], *, size_bytes_max: int = DATA_FRAME_BYTES_MAX) -> bytes:
    """Encode one msgpack map after its 4-byte big-endian length.

    Raises:
        MalformedError: the frame is over its cap, or holds something that msgpack can't.
    """
    try:
        body = cast(bytes, msgpack.packb(dict(message), default=_to_packable, use_bin_type=True))
    except (ValueError, TypeError, OverflowError) as error:
        raise MalformedError(f"can't be encoded as msgpack: {error}") from error
    if len(body) > size_bytes_max:
        raise MalformedError(f"a frame of {len(body)} bytes is over its cap of {size_bytes_max}")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def _to_packable(value: object) -> object:
    """Convert a value that msgpack can't encode; msgpack calls this only then, as it can encode most of a frame."""
    plain = to_plain(value)
    if plain is value:
        raise TypeError(f"{type(value).__name__} has no place in a frame")
    return plain


class FrameDecoder:
    """Decodes received bytes into messages, and buffers an unfinished frame."""

    def __init__(self, *, size_bytes_max: int = DATA_FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._size_bytes_max = size_bytes_max

    def feed(self, received: bytes) -> list[dict[str, Any]]:
        """Return the messages that `received` completes.

        Raises:
            MalformedError: a length over the cap (detected before allocation), or not a msgpack map.
        """
        self._buffer += received
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> dict[str, Any] | None:
        if len(self._buffer) < LENGTH_BYTES:
            return None
        size = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if size > self._size_bytes_max:
            raise MalformedError(f"a frame of {size} bytes is over its cap of {self._size_bytes_max}")
        if len(self._buffer) < LENGTH_BYTES + size:
            return None
        body = bytes(self._buffer[LENGTH_BYTES : LENGTH_BYTES + size])
        del self._buffer[: LENGTH_BYTES + size]
        return _decode_map(body)


def _decode_map(body: bytes) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(body, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise MalformedError(f"not a msgpack frame: {error}") from error
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise MalformedError("a frame must hold one msgpack map with texts as keys")
    return message
