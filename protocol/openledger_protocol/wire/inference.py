"""The `infer` stream: a payer opens it, raises its voucher as the answer grows, and countersigns the receipt.

Each message is one frame. Unknown keys are ignored, so that later versions may add some. An unknown `t` is refused,
and so is an unknown key of `sampling` or `tooling`, which might change the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..attribution import Share
from ..constants import (
    ADAPTER_DATANETS_MAX,
    RECEIPTS_OPEN_MAX,
    SIGNAL_ACTIVATION_BYTES_MAX,
    SIGNAL_SKETCH_BYTES,
    WIRE_VERSION,
)
from ..errors import AttributionError, MalformedError, PeerError, ProtocolError, UnknownVersionError
from ..inference import Message, SamplingParams, Tooling
from ..payments import ChannelConfig, Receipt, SignedVoucher, Terms, Voucher, Work
from ..primitives import AdapterId, DatanetId, Digest, RequestId, Salt, Wei
from ..signals import DatanetSignals, Signals, signals_from_bytes
from .fields import (
    ADDRESS,
    BOOL,
    DIGEST,
    SIGNATURE,
    WEI,
    Field,
    binary,
    growing,
    listed,
    optional,
    read_fields,
    record,
    text,
    uint,
)
from .request_fields import TEXT_LENGTH_MAX, prompt_field, sampling_field, tooling_field

CHUNK_IDS_MAX = 4_096
SHARES_MAX = 256
SIGNALS_BYTES_MAX = 2 * SIGNAL_SKETCH_BYTES + SIGNAL_ACTIVATION_BYTES_MAX
ERROR_LENGTH_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Award:
    """The agreement before the stream: base, prices and the maximum number of tokens."""

    base: Digest
    terms: Terms
    tokens_max: int  # of the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Salts:
    """The payer's 32 random bytes for each commitment of the receipt."""

    prompt: Salt
    output: Salt
    fingerprint: Salt


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReceipt:
    """A receipt with its node's signature."""

    receipt: Receipt
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """The payer's first message: its request, and the channel that pays."""

    id: RequestId
    award: Award
    adapter: AdapterId  # zero: the base alone
    messages: tuple[Message, ...] | str  # a conversation, or a raw text to continue
    sampling: SamplingParams
    channel_config: ChannelConfig
    voucher: SignedVoucher
    salts: Salts
    prefix: str  # the part of the answer that an earlier node delivered
    last_receipt: SignedReceipt | None = None  # the channel's newest one that the payer has
    tooling: Tooling | None = None
    tokens_paid: int | None = None  # of the answer, see `VoucherMessage`


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherMessage:
    """The payer raises the ceiling, so that the answer continues.

    A lane's ceiling covers all its streams together. `tokens_paid` is the part of the payment that is for this
    stream, so that a node never spends on it what was paid for another one. None: the ceiling is the only limit.
    """

    voucher: SignedVoucher
    tokens_paid: int | None = None  # of the answer so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of the answer."""

    text: str
    ids: tuple[int, ...]  # generated since the last chunk, also those with text held back
    tokens: int  # generated so far
    cumulative: Wei  # the lane's total charge if the answer ended here


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptMessage:
    """The node's final message: the receipt, its signature, and the contributors' shares."""

    receipt: Receipt
    signature: bytes
    shares: tuple[Share, ...]
    signals: DatanetSignals = ()  # that the receipt commits to, once, with the answer; none for a rule of texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Countersign:
    """The payer agrees to a receipt."""

    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMessage:
    """The reason why a side ends the stream, or what it needs to continue."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Keeps the stream alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskReceipts:
    """The payer's first message in place of `Open`: it asks for receipts of answers that broke off before theirs."""

    channel_config: ChannelConfig
    ids: tuple[RequestId, ...]  # of the requests
    asked_at_s: int
    signature: bytes  # of the channel's authorizer, see `ask_digest`


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingReceipts:
    """The node's last message after `AskReceipts`: the requests that it made no receipt for, and makes none."""

    ids: tuple[RequestId, ...]


InferenceMessage = (
    Open | VoucherMessage | Chunk | ReceiptMessage | Countersign | ErrorMessage | Ping | AskReceipts | MissingReceipts
)


def encode(message: InferenceMessage) -> dict[str, object]:
    """Encode a message as the map of its frame."""
    name = _NAMES[type(message)]
    plain = _MESSAGES[name].write(message)
    assert isinstance(plain, dict)
    return {"v": WIRE_VERSION, "t": name, **plain}


def decode(frame: Mapping[str, Any]) -> InferenceMessage:
    """Decode the map of a frame.

    Raises:
        UnknownVersionError: it has another major version.
        MalformedError: an unknown `t`; or it names the field that is missing or invalid.
    """
    version, name = frame.get("v"), frame.get("t")
    if type(version) is not int or version != WIRE_VERSION:
        raise UnknownVersionError(f"a message of version {repr(version)[:80]}; here version {WIRE_VERSION} is spoken")
    if not isinstance(name, str) or name not in _MESSAGES:
        raise MalformedError(f"a message has no t {repr(name)[:80]}")
    try:
        return cast(InferenceMessage, _MESSAGES[name].read(dict(frame)))
    except MalformedError as error:
        raise MalformedError(f"{name}: {error.message}") from error


def error_message(error: ProtocolError) -> ErrorMessage:
    """Make the message that tells an error to the other side."""
    return ErrorMessage(code=error.code, message=error.message[:ERROR_LENGTH_MAX], retryable=error.retryable)


def error_from_message(message: ErrorMessage) -> ProtocolError:
    """The error in the other side's message, of its own class if the code is known."""
    cls = {cls.code: cls for cls in ProtocolError.__subclasses__()}.get(message.code)
    if cls is None:
        return PeerError(message.message, code=message.code, retryable=message.retryable)
    return cls(message.message)


def _signed_voucher() -> Field:
    fields = {"channel_id": DIGEST, "adapter_id": DIGEST, "max_claimable_wei": WEI}
    voucher = record(Voucher, **fields)

    def write(signed: SignedVoucher) -> dict[str, object]:
        plain = voucher.write(signed.voucher)
        assert isinstance(plain, dict)
        return {**plain, "signature": signed.signature}

    def read(value: Any) -> SignedVoucher:
        signature = read_fields(value, {"signature": SIGNATURE})["signature"]
        return SignedVoucher(voucher=voucher.read(value), signature=signature)

    return Field(write, read)


def _signals() -> Field:
    """One Datanet's id with the answer's signals beside its statistics."""
    fields = {"datanet_id": DIGEST, "vectors": binary(SIGNALS_BYTES_MAX)}

    def write(pair: tuple[DatanetId, Signals]) -> dict[str, object]:
        return {"datanet_id": pair[0], "vectors": pair[1].to_bytes()}

    def read(value: Any) -> tuple[DatanetId, Signals]:
        found = read_fields(value, fields)
        try:
            return DatanetId(found["datanet_id"]), signals_from_bytes(found["vectors"])
        except AttributionError as error:
            raise MalformedError(error.message) from error

    return Field(write, read)


_VOUCHER = _signed_voucher()
_TERMS = record(Terms, price_in_wei=WEI, price_out_wei=WEI)
_CONFIG = record(
    ChannelConfig, payer=ADDRESS, authorizer=ADDRESS, node=ADDRESS, withdraw_delay_s=uint(64), salt=DIGEST
)
_SHARE = record(Share, datanet_id=DIGEST, account=ADDRESS, ppm=uint(32))
_WORK = record(
    Work,
    request_id=DIGEST,
    profile_hash=DIGEST,
    index_root=DIGEST,
    tokens_in=uint(32),
    tokens_out=uint(32),
    prompt_commit=DIGEST,
    output_commit=DIGEST,
    retrieval_hash=DIGEST,
    signals_hash=DIGEST,
    fingerprint=DIGEST,
)
_RECEIPT = record(
    Receipt,
    channel_id=DIGEST,
    seq=uint(64),
    issued_at_s=uint(64),
    adapter_id=DIGEST,
    amount_wei=WEI,
    cumulative_wei=WEI,
    algo_id=uint(32),
    shares_hash=DIGEST,
    work=_WORK,
)
_OPEN = growing(
    Open,
    {"tooling": tooling_field(), "tokens_paid": uint(32)},
    id=DIGEST,
    award=record(Award, base=DIGEST, terms=_TERMS, tokens_max=uint(32)),
    adapter=DIGEST,
    messages=prompt_field(),
    sampling=sampling_field(),
    channel_config=_CONFIG,
    voucher=_VOUCHER,
    salts=record(Salts, prompt=DIGEST, output=DIGEST, fingerprint=DIGEST),
    prefix=text(TEXT_LENGTH_MAX),
    last_receipt=optional(record(SignedReceipt, receipt=_RECEIPT, signature=SIGNATURE)),
)
_CHUNK = record(
    Chunk,
    text=text(TEXT_LENGTH_MAX),
    ids=listed(uint(32), length_max=CHUNK_IDS_MAX),
    tokens=uint(32),
    cumulative=WEI,
)

_MESSAGES: dict[str, Field] = {
    "open": _OPEN,
    "voucher": growing(VoucherMessage, {"tokens_paid": uint(32)}, voucher=_VOUCHER),
    "chunk": _CHUNK,
    "receipt": growing(
        ReceiptMessage,
        {"signals": listed(_signals(), length_max=ADAPTER_DATANETS_MAX)},
        receipt=_RECEIPT,
        signature=SIGNATURE,
        shares=listed(_SHARE, length_max=SHARES_MAX),
    ),
    "countersign": record(Countersign, signature=SIGNATURE),
    "error": record(ErrorMessage, code=text(ERROR_LENGTH_MAX), message=text(ERROR_LENGTH_MAX), retryable=BOOL),
    "ping": record(Ping),
    "ask": record(
        AskReceipts,
        channel_config=_CONFIG,
        ids=listed(DIGEST, length_min=1, length_max=RECEIPTS_OPEN_MAX),
        asked_at_s=uint(64),
        signature=SIGNATURE,
    ),
    "missing": record(MissingReceipts, ids=listed(DIGEST, length_max=RECEIPTS_OPEN_MAX)),
}
_NAMES: dict[type[InferenceMessage], str] = {
    Open: "open",
    VoucherMessage: "voucher",
    Chunk: "chunk",
    ReceiptMessage: "receipt",
    Countersign: "countersign",
    ErrorMessage: "error",
    Ping: "ping",
    AskReceipts: "ask",
    MissingReceipts: "missing",
}
