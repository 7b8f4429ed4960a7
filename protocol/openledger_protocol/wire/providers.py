"""The `providers` stream, and provider records: a peer states at a few bootstrap nodes that it has an adapter.

A buyer that has heard of no seller of an adapter asks the bootstrap nodes nearest to the adapter's id. Each record is
signed by its peer, so a bootstrap node can withhold records but not make them up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

from ..advertisement import CIRCUIT, check_multiaddr, check_relay
from ..constants import AD_ADDRESSES_MAX, AD_RELAYS_MAX, CLOCK_SKEW_S_MAX
from ..errors import MalformedError, StaleError, UnknownVersionError, WrongNetworkError
from ..peers import (
    PEER_ID_LENGTH,
    PEER_KEY_BYTES,
    PEER_SIGNATURE_BYTES,
    check_peer_signature,
    peer_id_from_public_key,
    public_key_of,
    sign_as_peer,
)
from ..primitives import AdapterId, check_digest, check_name
from .fields import RAW_DIGEST, Field, binary, checked, listed, positive, record, text, uint
from .frames import ERROR, MessageSet, pack_map, unpack_map
from .inference import ErrorMessage

RECORD_VERSION = 1
RECORD_BYTES_MAX = 2_048
RECORD_LIFETIME_S_MAX = 3_600
POINTS_PER_ADAPTER = 3
"""Bootstrap nodes that hold the records of an adapter: two may be away."""

PUT_MAX = 128
"""Records in one `put`. They fit the frame of 1 MiB, and checking them takes about 40 ms."""

RECORDS_MAX = 32
"""Records in one answer, which are as many as a bootstrap node keeps of an adapter."""

_DOMAIN = b"openledger.provider/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRecord:
    """A peer's statement that it has an adapter, and how it is reached.

    One that ends when it is issued is a withdrawal: the peer has the adapter no more.
    """

    network: str
    adapter: AdapterId
    peer_id: str
    addresses: tuple[str, ...]  # multiaddrs, best first
    relays: tuple[str, ...]  # addresses of relays, each with the relay's id
    issued_s: int  # by the peer's clock, since 1970
    expires_s: int

    @property
    def is_withdrawal(self) -> bool:
        """True if the record takes back an earlier one."""
        return self.expires_s == self.issued_s

    @property
    def circuits(self) -> tuple[str, ...]:
        """The addresses to dial it at through its relays."""
        return tuple(f"{relay}{CIRCUIT}{self.peer_id}" for relay in self.relays)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRecord:
    """A record as sent: its bytes, the peer's key, and the signature over them."""

    body: bytes
    public_key: bytes
    signature: bytes


def sign_record(record: ProviderRecord, seed: bytes) -> bytes:
    """Encode a record, signed with the peer's key.

    Raises:
        MalformedError: over 2 KiB, a field out of bounds, or another peer's `seed`.
    """
    body = pack_map(cast(dict[str, object], _BODY.write(record)))
    _read_body(body)
    public_key = public_key_of(seed)
    _check_own_key(record, public_key)
    signature = sign_as_peer(seed, _signed_bytes(body))
    content = pack_map(_ENVELOPE.encode(SignedRecord(body=body, public_key=public_key, signature=signature)))
    if len(content) > RECORD_BYTES_MAX:
        raise MalformedError(f"a provider record of {len(content)} bytes is over its cap of {RECORD_BYTES_MAX}")
    return content


def open_record(content: bytes, *, network: str, now_s: int) -> ProviderRecord:
    """Read and check a received record. Cheap checks come first, the signature last. A withdrawal never expires.

    Raises:
        MalformedError: over 2 KiB, an invalid field, a lifetime over an hour, or another peer's key.
        UnknownVersionError: it has another version.
        WrongNetworkError: it is for another network.
        StaleError: it has expired, or is dated in the future.
        BadSignatureError: the peer did not sign it.
    """
    signed = cast(SignedRecord, _ENVELOPE.decode(unpack_map(content, size_bytes_max=RECORD_BYTES_MAX)))
    found = _read_body(signed.body)
    if found.network != network:
        raise WrongNetworkError(f"a provider record for network {found.network}, not for {network}")
    _check_own_key(found, signed.public_key)
    if found.expires_s <= now_s and not found.is_withdrawal:
        raise StaleError(f"the provider record ran out {now_s - found.expires_s} s ago", expires_s=found.expires_s)
    if found.issued_s - now_s > CLOCK_SKEW_S_MAX:
        raise StaleError(
            f"the provider record is dated {found.issued_s - now_s} s ahead: a clock is off", issued_s=found.issued_s
        )
    check_peer_signature(signed.public_key, _signed_bytes(signed.body), signed.signature)
    return found


def nearest_points(adapter: AdapterId, points: Iterable[str], count: int = POINTS_PER_ADAPTER) -> tuple[str, ...]:
    """The peer ids of the bootstrap nodes that hold an adapter's records, nearest first.

    Each adapter has an order of its own, so a bootstrap node that comes or goes moves only what it holds.
    Source: rendezvous hashing (Thaler and Ravishankar, 1998).
    """
    raw = bytes.fromhex(check_digest(adapter).removeprefix("0x"))
    return tuple(sorted(set(points), key=lambda point: sha256(raw + point.encode()).digest())[:count])


# ---- the stream


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRecords:
    """Keep these signed records of the opener's own."""

    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecords:
    """The number of records that are kept of those that were put."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRecords:
    """Send at most this many records of an adapter."""

    adapter: AdapterId
    count_max: int = RECORDS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Signed records of one adapter, as their peers put them."""

    records: tuple[bytes, ...]


ProvidersMessage = PutRecords | StoredRecords | GetRecords | Records | ErrorMessage

_CONTENT = binary(RECORD_BYTES_MAX, length_min=1)
_MESSAGES = MessageSet(
    {
        "put": (PutRecords, record(PutRecords, records=listed(_CONTENT, length_max=PUT_MAX, length_min=1))),
        "stored": (StoredRecords, record(StoredRecords, count=uint(16))),
        "get": (GetRecords, record(GetRecords, adapter=RAW_DIGEST, count_max=positive(16))),
        "records": (Records, record(Records, records=listed(_CONTENT, length_max=RECORDS_MAX))),
        "error": (ErrorMessage, ERROR),
    }
)


def encode(message: ProvidersMessage) -> dict[str, object]:
    """Encode a message as the map of its frame."""
    return _MESSAGES.encode(message)


def decode(frame: Mapping[str, Any]) -> ProvidersMessage:
    """Decode the map of a frame.

    Raises:
        UnknownVersionError: it has another major version.
        MalformedError: an unknown `t`; or it names the field that is missing or invalid.
    """
    return cast(ProvidersMessage, _MESSAGES.decode(frame))


# ---- helpers


def _signed_bytes(body: bytes) -> bytes:
    return _DOMAIN + sha256(body).digest()


def _read_body(body: bytes) -> ProviderRecord:
    fields = unpack_map(body)
    version = fields.get("v")
    if type(version) is not int or version != RECORD_VERSION:
        raise UnknownVersionError(f"a provider record of version {repr(version)[:80]}, not {RECORD_VERSION}")
    try:
        found = cast(ProviderRecord, _BODY.read(fields))
    except MalformedError as error:
        raise MalformedError(f"provider record: {error.message}") from error
    lifetime_s = found.expires_s - found.issued_s
    if not 0 <= lifetime_s <= RECORD_LIFETIME_S_MAX:
        raise MalformedError(f"a provider record is good for 0 to {RECORD_LIFETIME_S_MAX} s, not for {lifetime_s}")
    return found


def _check_own_key(found: ProviderRecord, public_key: bytes) -> None:
    if peer_id_from_public_key(public_key) != found.peer_id:
        raise MalformedError(f"the provider record of {found.peer_id} comes with another peer's key")


def _body() -> Field:
    fields = record(
        ProviderRecord,
        network=checked(check_name),
        adapter=RAW_DIGEST,
        peer_id=text(PEER_ID_LENGTH),  # that of the key, which is compared with it
        addresses=listed(checked(check_multiaddr), length_max=AD_ADDRESSES_MAX),
        relays=listed(checked(check_relay), length_max=AD_RELAYS_MAX),
        issued_s=uint(64),
        expires_s=uint(64),
    )
    return Field(lambda one: {"v": RECORD_VERSION, **cast(dict[str, object], fields.write(one))}, fields.read)


_BODY = _body()
_ENVELOPE = MessageSet(
    {
        "provider": (
            SignedRecord,
            record(
                SignedRecord,
                body=binary(RECORD_BYTES_MAX),
                public_key=binary(PEER_KEY_BYTES, length_min=PEER_KEY_BYTES),
                signature=binary(PEER_SIGNATURE_BYTES, length_min=PEER_SIGNATURE_BYTES),
            ),
        )
    }
)
