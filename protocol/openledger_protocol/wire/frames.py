"""Parts shared by all protocols between peers: protocol names, `{v, t, …}` frames, and maps outside streams."""

from collections.abc import Mapping
from typing import Any

from ..codec import CONTROL_FRAME_BYTES_MAX, LENGTH_BYTES, FrameDecoder, encode_frame
from ..constants import WIRE_VERSION
from ..errors import MalformedError, UnknownVersionError
from ..primitives import check_name
from .fields import BOOL, Field, record, text
from .inference import ERROR_LENGTH_MAX, ErrorMessage

ERROR = record(ErrorMessage, code=text(ERROR_LENGTH_MAX), message=text(ERROR_LENGTH_MAX), retryable=BOOL)
"""The error message of every protocol."""


def wire_name(network: str, name: str, version: int = WIRE_VERSION) -> str:
    """The name of a protocol or gossip topic, bound to one network so that no old signature is valid in another.

    `version` is the protocol's own; the `v` of its frames is the version of the frames.

    Raises:
        MalformedError: the network's id is not a name.
    """
    return f"/openledger/{check_name(network)}/{name}/{version}"


class MessageSet:
    """The messages of one protocol, by their `t`."""

    def __init__(self, messages: Mapping[str, tuple[type[Any], Field]]) -> None:
        self._fields = {name: field for name, (_, field) in messages.items()}
        self._names = {cls: name for name, (cls, _) in messages.items()}

    def encode(self, message: object) -> dict[str, object]:
        """Encode a message as the map of its frame."""
        name = self._names[type(message)]
        plain = self._fields[name].write(message)
        assert isinstance(plain, dict)
        return {"v": WIRE_VERSION, "t": name, **plain}

    def decode(self, frame: Mapping[str, Any]) -> Any:
        """Decode the map of a frame.

        Raises:
            UnknownVersionError: it has another major version.
            MalformedError: an unknown `t`; or it names the field that is missing or invalid.
        """
        version, name = frame.get("v"), frame.get("t")
        if type(version) is not int or version != WIRE_VERSION:
            raise UnknownVersionError(
                f"a message of version {repr(version)[:80]}; here version {WIRE_VERSION} is spoken"
            )
        if not isinstance(name, str) or name not in self._fields:
            raise MalformedError(f"a message has no t {repr(name)[:80]}")
        try:
            return self._fields[name].read(dict(frame))
        except MalformedError as error:
            raise MalformedError(f"{name}: {error.message}") from error


def pack_map(fields: Mapping[str, object], *, size_bytes_max: int = CONTROL_FRAME_BYTES_MAX) -> bytes:
    """Encode one msgpack map without a length prefix.

    Raises:
        MalformedError: it is over its cap, or holds something that msgpack can't.
    """
    return encode_frame(fields, size_bytes_max=size_bytes_max)[LENGTH_BYTES:]


def unpack_map(content: bytes, *, size_bytes_max: int = CONTROL_FRAME_BYTES_MAX) -> dict[str, Any]:
    """Decode a map that `pack_map` encoded.

    Raises:
        MalformedError: it is over its cap, or not one msgpack map with texts as keys.
    """
    if len(content) > size_bytes_max:
        raise MalformedError(f"a message of {len(content)} bytes is over its cap of {size_bytes_max}")
    [fields] = FrameDecoder(size_bytes_max=size_bytes_max).feed(len(content).to_bytes(LENGTH_BYTES, "big") + content)
    return fields
