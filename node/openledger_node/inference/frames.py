"""What daemon and engine say to each other: one msgpack map a frame, over a socket pair that nobody else has."""

from dataclasses import dataclass
from typing import Any

from openledger_protocol.codec import FrameDecoder, encode_frame, to_plain
from openledger_protocol.inference import FinishReason, SamplingParams

from .backend import BackendSettings, Profile
from .sequence import AdapterSource

FRAME_BYTES_MAX = 64 << 20
"""A prompt of a million tokens fits; the other end is our own child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """First command: open this backend."""

    backend: str
    settings: BackendSettings
    prefill_tokens_max: int
    adapter_cache_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Run a sequence; `resumed_ids` are the tokens of its answer that an engine before this one gave out."""

    sequence_id: str
    prompt_ids: tuple[int, ...]
    resumed_ids: tuple[int, ...]
    sampling: SamplingParams
    adapter: AdapterSource | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a sequence; answered by `Finished` unless it is over already."""

    sequence_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The backend is open."""

    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatal:
    """The backend can't be opened, and trying again would not help."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """These sequences are in the batch from now on: if the engine dies, one of those may be why."""

    sequence_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """New tokens of a sequence, and the text that may be shown now."""

    sequence_id: str
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last word on a sequence."""

    sequence_id: str
    reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The last word on a sequence that cannot run here."""

    sequence_id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A sign of life while there is work, with the engine's figures."""

    num_running: int
    num_waiting: int
    resident: tuple[str, ...]  # adapter ids on the device
    adapter_bytes: int


Command = Open | Submit | Cancel
Event = Ready | Fatal | Joined | Chunk | Finished | Refused | Beat

_TYPES: dict[str, type[Command | Event]] = {
    cls.__name__.lower(): cls for cls in (Open, Submit, Cancel, Ready, Fatal, Joined, Chunk, Finished, Refused, Beat)
}
_FIELD_TYPES: dict[str, type[Any]] = {
    "settings": BackendSettings,
    "sampling": SamplingParams,
    "adapter": AdapterSource,
    "profile": Profile,
}


def encode(message: Command | Event) -> bytes:
    """Put a message into its frame; its type's name is the frame's `t`."""
    plain = to_plain(message)
    assert isinstance(plain, dict)
    return encode_frame({"t": type(message).__name__.lower(), **plain}, size_bytes_max=FRAME_BYTES_MAX)


def frame_decoder() -> FrameDecoder:
    """Start reading one end of the pair."""
    return FrameDecoder(size_bytes_max=FRAME_BYTES_MAX)


def decode(fields: dict[str, Any]) -> Command | Event:
    """Take a message out of its frame."""
    cls = _TYPES[fields["t"]]
    return cls(**{name: _field(name, value) for name, value in fields.items() if name != "t"})


def _field(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        cls = _FIELD_TYPES[name]
        return cls(**{key: _field(key, item) for key, item in value.items()})
    return tuple(value) if isinstance(value, list) else value
