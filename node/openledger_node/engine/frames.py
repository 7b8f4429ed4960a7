"""Messages between daemon and engine: one msgpack map a frame, over a private socket pair."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from openledger_protocol.codec import FrameDecoder, encode_frame
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.inference import FinishReason, SamplingParams, TokenLogprob
from openledger_protocol.primitives import AdapterId, Digest

from ..models.adapter_source import AdapterSource
from .backend import BackendSettings, Profile
from .load_steps import LoadStep

Reduced = tuple[tuple[Digest, bytes], ...]
"""Signals of an answer as bytes, by the root of a Datanet's rows."""

FRAME_BYTES_MAX = 64 << 20
"""A prompt of a million tokens fits. The limit may be generous, because the other end is our own child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEngine:
    """First command: open this backend."""

    backend: str
    settings: BackendSettings
    prefill_tokens_max: int
    adapter_cache_bytes: int
    adapter_ram_bytes: int = 0  # for further copies in RAM; used only if the device has memory of its own
    pinned: tuple[AdapterSource, ...] = ()
    base_digest: Digest | None = None  # probe verdicts are cached under it; None: they are not cached


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Run a sequence, or resume it after `resumed_ids`."""

    sequence_id: str
    prompt_ids: tuple[int, ...]
    resumed_ids: tuple[int, ...] = ()  # tokens of the answer that an earlier engine has already sent
    sampling: SamplingParams
    adapter: AdapterSource | None
    payer: str = ""  # the turn is charged to this payer; empty: this machine's owner
    num_allowed: int | None = None  # tokens of the answer that may be computed before `Allow`; None: all
    scores_prompt: bool = False  # the first token's logprobs begin with those of the prompt after its first token
    ignores_end: bool = False  # the base's end tokens do not end the answer
    grammar: str = ""  # Lark text that the answer must fit, instead of the schema in `sampling`
    num_prefix: int = 0  # the last ids of the prompt that are the answer's beginning, by another node
    signals_folder: str = ""  # of the adapter's index, by which the answer's taps are reduced; empty: not needed
    replayed_ids: tuple[int, ...] = ()  # draw exactly these tokens, show none, and end with their signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """Let the answer of a sequence grow to so many tokens in all."""

    sequence_id: str
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a sequence; answered by `Finished` unless it has already ended."""

    sequence_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Keep this adapter on the device from now on."""

    source: AdapterSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpin:
    """Allow this adapter to be evicted again."""

    adapter_id: AdapterId


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload:
    """Unload this adapter as soon as no sequence needs it, because its files were removed."""

    adapter_id: AdapterId


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReady:
    """The backend is open."""

    profile: Profile
    has_taps: bool = False  # see `Backend.has_taps`


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatal:
    """The final event of an engine that can't be opened, or whose device failed in a step."""

    message: str  # for the operator: what happened and what helps
    is_device: bool = False  # the device or its memory, and not a setting or a file
    can_recover: bool = False  # a later attempt may succeed without a change by the operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """These sequences run, or their adapters are being loaded; if the engine dies, one of them may be the cause."""

    sequence_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTokens:
    """The tokens of one step. The n-th item of each field belongs to the n-th sequence that drew one."""

    sequence_ids: tuple[str, ...]
    texts: tuple[str, ...]  # that may be shown now
    ids: tuple[int, ...]
    reasons: tuple[FinishReason | None, ...]  # why the sequence has ended with this token
    logprobs: tuple[tuple[TokenLogprob, ...], ...] = ()  # empty if no sequence requested them
    signals: tuple[Reduced, ...] = ()  # of answers that have ended; empty if no answer in the step has any


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The final event of a sequence that ran, unless `StepTokens` has told it."""

    sequence_id: str
    reason: FinishReason
    signals: Reduced = ()  # of all tokens that were drawn, if they were requested and none was lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The final event of a sequence that can't run here."""

    sequence_id: str
    message: str
    code: str = AdapterRefusedError.code  # of a ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A heartbeat with the engine's figures."""

    num_running: int = 0  # including those that have used up their allowance
    num_waiting: int = 0
    num_preempted: int = 0  # preemptions since the start, for lack of blocks
    tokens_per_s: float = 0.0  # of answers, over the last seconds
    resident: tuple[str, ...] = ()  # adapter ids on the device, the next to be evicted first
    adapter_bytes: int = 0
    num_hits: int = 0  # sequences that found their adapter on the device
    num_misses: int = 0  # sequences that had to wait for it
    num_loads: int = 0
    load_ms_median: float = 0.0  # from disk to device, over the last loads
    load_ms_p95: float = 0.0
    num_reused_tokens: int = 0  # since the start, found in the KV cache instead of being computed
    blocks_used: int = 0
    blocks_cached: int = 0  # unused blocks that hold a reusable prefix
    blocks_total: int = 0
    peak_rss_bytes: int = 0


Command = OpenEngine | Submit | Allow | Cancel | Pin | Unpin | Unload
Event = LoadStep | EngineReady | Fatal | Joined | StepTokens | Finished | Refused | Beat

_TYPES: dict[str, type[Command | Event]] = {
    cls.__name__.lower(): cls
    for cls in (
        OpenEngine,
        Submit,
        Allow,
        Cancel,
        Pin,
        Unpin,
        Unload,
        LoadStep,
        EngineReady,
        Fatal,
        Joined,
        StepTokens,
        Finished,
        Refused,
        Beat,
    )
}
_NAMES = {cls: name for name, cls in _TYPES.items()}
_FIELDS = {cls: tuple(field.name for field in fields(cls)) for cls in _NAMES}
_FIELD_TYPES: dict[str, type[Any]] = {
    "settings": BackendSettings,
    "sampling": SamplingParams,
    "adapter": AdapterSource,
    "source": AdapterSource,
    "pinned": AdapterSource,
    "profile": Profile,
    "logprobs": TokenLogprob,
}


def encode(message: Command | Event) -> bytes:
    """Encode a message as one frame; its type's name is the frame's `t`."""
    content = {name: getattr(message, name) for name in _FIELDS[type(message)]}
    return encode_frame({"t": _NAMES[type(message)], **content}, size_bytes_max=FRAME_BYTES_MAX)


def frame_decoder() -> FrameDecoder:
    """Create a decoder for one end of the socket pair."""
    return FrameDecoder(size_bytes_max=FRAME_BYTES_MAX)


def decode(plain: dict[str, Any]) -> Command | Event:
    """Build a message from a frame's map."""
    cls = _TYPES[plain["t"]]
    return cls(**{name: _field(name, value) for name, value in plain.items() if name != "t"})


def _field(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        cls = _FIELD_TYPES[name]
        return cls(**{key: _field(key, item) for key, item in value.items()})
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return tuple(_field(name, item) for item in value)
    return tuple(value) if isinstance(value, list) else value


# ---- The events of one sequence, as the daemon's readers get them.


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChunk:
    """New tokens of a sequence, and the text that may be shown now."""

    sequence_id: str
    text: str
    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()  # of `ids`, if they were requested; see also `Submit.scores_prompt`


def unfold(step: StepTokens) -> Iterator[EngineChunk | Finished]:
    """Yield the events of a step, sequence by sequence."""
    for number, sequence_id in enumerate(step.sequence_ids):
        logprobs = step.logprobs[number] if step.logprobs else ()
        yield EngineChunk(
            sequence_id=sequence_id, text=step.texts[number], ids=(step.ids[number],), logprobs=logprobs
        )
        if reason := step.reasons[number]:
            signals = step.signals[number] if step.signals else ()
            yield Finished(sequence_id=sequence_id, reason=reason, signals=signals)


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceLost:
    """The daemon's own final event of a sequence whose engines died under it."""

    sequence_id: str
