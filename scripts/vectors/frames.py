"""Frames of a stream between JSON and bytes."""

from dataclasses import dataclass
from typing import Any

from openledger_protocol.codec import FrameDecoder, encode_frame

from .common import Case, bytes_of, cases_in, hex_of, write


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A module of the wire, and the fields of its messages that are bytes or long numbers; JSON has them as text."""

    module: Any
    octets: tuple[str, ...] = ()
    long_numbers: tuple[str, ...] = ()

    def frame(self, given: Any) -> str:
        """The frame of a message, as the protocol writes it."""
        return hex_of(encode_frame(self.module.encode(self.module.decode(self._content(given)))))

    def frame_as_given(self, given: Any) -> str:
        """A frame of this content, be it valid or not."""
        return hex_of(encode_frame(self._content(given)))

    def read(self, frame: str) -> Any:
        """The message in a frame."""
        [fields] = FrameDecoder().feed(bytes_of(frame))
        return write(self.module.encode(self.module.decode(fields)))

    def to_read(self, file: str, rule: str, refused: list[Case]) -> list[Case]:
        """Frames to read: those that a rule of a file writes, and some more, of which most are refused."""
        return [(name, why, self.frame_as_given(given)) for name, why, given in (*cases_in(file)[rule], *refused)]

    def _content(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._content(entry, name) for name, entry in value.items()}
        if isinstance(value, list):
            return [self._content(entry, key) for entry in value]
        if key in self.octets:
            return bytes_of(value)
        return int(value) if key in self.long_numbers else value
