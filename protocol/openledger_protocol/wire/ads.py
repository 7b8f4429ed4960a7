"""The gossip topics of advertisements, and the `ads` stream, on which a peer is asked for what it has heard.

Each advertisement is signed by its own node, so it does not matter which peer passes it on.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

from ..constants import AD_BYTES_MAX
from ..errors import MalformedError
from ..peers import check_peer_id
from ..primitives import Digest
from .fields import RAW_DIGEST, Field, binary, checked, growing, listed, positive, record, uint
from .frames import ERROR, MessageSet, wire_name
from .inference import ErrorMessage

ADS_VERSION = 2

# ---- topics: one per base, or one per shard of a base with many sellers

PREFIX_DIGITS = 8
"""Hex digits of a base in its topic. Bases that share them share a topic, and each node ignores the other's."""

SHARD_BITS_MAX = 8

_PREFIX = re.compile(f"[0-9a-f]{{{PREFIX_DIGITS}}}")
_NAME = re.compile(r"ads/([0-9a-f]{8})(?:\.([1-8])\.(0|[1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True)
class AdsTopic:
    """A topic's base by its first digits, and the part of the base's sellers that publish there."""

    prefix: str  # 8 hex digits in lower case
    bits: int = 0  # 0: all sellers
    index: int = 0


def ads_protocol(network: str) -> str:
    """The name of the `ads` stream.

    Raises:
        MalformedError: the network's id is not a name.
    """
    return wire_name(network, "ads", ADS_VERSION)


def ads_topic(network: str, base: Digest, bits: int = 0, index: int = 0) -> str:
    """The topic on which the sellers of a base advertise; with `bits`, those of one of its 2^bits shards.

    Raises:
        MalformedError: the network's id is not a name, or there is no such shard.
    """
    prefix = base.removeprefix("0x")[:PREFIX_DIGITS]
    if not _PREFIX.fullmatch(prefix) or not 0 <= bits <= SHARD_BITS_MAX or not 0 <= index < 1 << bits:
        raise MalformedError(f"base {base!r} has no topic for shard {index} of {bits} bits")
    shard = f".{bits}.{index}" if bits else ""
    return wire_name(network, f"ads/{prefix}{shard}", ADS_VERSION)


def parse_ads_topic(network: str, topic: str) -> AdsTopic | None:
    """Read the name of a topic; None if it is no topic for advertisements of this network."""
    begin, end = wire_name(network, "", ADS_VERSION).rsplit("/", 1)
    if not topic.startswith(begin) or not topic.endswith(f"/{end}"):
        return None
    found = _NAME.fullmatch(topic[len(begin) : -len(end) - 1])
    if not found:
        return None
    bits, index = int(found[2] or 0), int(found[3] or 0)
    return AdsTopic(found[1], bits, index) if index < 1 << bits else None


def shard_of(peer_id: str, bits: int) -> int:
    """A peer's shard, by the first bits of its hash: each shard splits into two of the next depth."""
    return int.from_bytes(sha256(peer_id.encode()).digest()[:2], "big") >> (16 - bits)


# ---- digests: what a node has heard, so that it is told only what it lacks

NUM_BUCKETS, BUCKET_BYTES = 256, 4
DIGEST_BYTES = NUM_BUCKETS * BUCKET_BYTES


def bucket_of(peer_id: str) -> int:
    """The bucket of a digest that a peer's advertisement falls into, whatever its sequence."""
    return sha256(peer_id.encode()).digest()[-1]


def digest_of(held: Iterable[tuple[str, int]]) -> bytes:
    """Digest of the advertisements that a node has, each by its peer id and `seq`: 256 buckets of 4 bytes.

    A bucket is the XOR of the first 4 bytes of SHA-256 of `<peer id> <seq>`. Without advertisements it is empty.
    """
    buckets = [0] * NUM_BUCKETS
    is_empty = True
    for peer_id, seq in held:
        buckets[bucket_of(peer_id)] ^= int.from_bytes(
            sha256(f"{peer_id} {seq}".encode()).digest()[:BUCKET_BYTES], "big"
        )
        is_empty = False
    return b"" if is_empty else b"".join(each.to_bytes(BUCKET_BYTES, "big") for each in buckets)


def differing(one: bytes, other: bytes) -> frozenset[int]:
    """The buckets in which two digests differ."""
    zero = bytes(DIGEST_BYTES)
    one, other = one or zero, other or zero
    places = ((number, number * BUCKET_BYTES) for number in range(NUM_BUCKETS))
    return frozenset(number for number, at in places if one[at : at + BUCKET_BYTES] != other[at : at + BUCKET_BYTES])


# ---- messages

ADS_MAX = 320
"""The most advertisements in one answer, whose frame has at most 1 MiB."""

BASES_MAX = 64
"""The most bases in one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAds:
    """A request for advertisements of a base in buckets that differ from `digest`, or for that of one peer.

    An answer has at most `count_max`, so the next request on the stream continues at the bucket of its last one.
    """

    base: Digest
    digest: bytes = b""  # empty: the asker has none
    bucket_min: int = 0
    count_max: int = ADS_MAX
    peer_id: str = ""  # if not empty: only this peer's, of whatever base


@dataclass(frozen=True, slots=True, kw_only=True)
class Ads:
    """Signed advertisements as received, in the order of their buckets."""

    ads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBases:
    """A request for the bases that the network offers."""

    count_max: int = BASES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedBase:
    """A base, the number of its sellers as far as the answering peer knows, and the advertisement of one."""

    base: Digest
    num_sellers: int
    ad: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """Bases with live sellers; those that the answering peer follows come first."""

    bases: tuple[OfferedBase, ...]


AdsMessage = GetAds | Ads | GetBases | Bases | ErrorMessage


def _read_digest(value: Any) -> bytes:
    if type(value) is not bytes or len(value) not in (0, DIGEST_BYTES):
        raise MalformedError(f"must be 0 or {DIGEST_BYTES} bytes")
    return value


_KNOWN = record(OfferedBase, base=RAW_DIGEST, num_sellers=uint(32), ad=binary(AD_BYTES_MAX, length_min=1))
_MESSAGES = MessageSet(
    {
        "get": (
            GetAds,
            growing(
                GetAds,
                {"peer_id": checked(check_peer_id)},
                base=RAW_DIGEST,
                digest=Field(bytes, _read_digest),
                bucket_min=uint(8),
                count_max=positive(16),
            ),
        ),
        "ads": (Ads, record(Ads, ads=listed(binary(AD_BYTES_MAX), length_max=ADS_MAX))),
        "get_bases": (GetBases, record(GetBases, count_max=positive(16))),
        "bases": (Bases, record(Bases, bases=listed(_KNOWN, length_max=BASES_MAX))),
        "error": (ErrorMessage, ERROR),
    }
)


def encode(message: AdsMessage) -> dict[str, object]:
    """Encode a message as the map of its frame."""
    return _MESSAGES.encode(message)


def decode(frame: Mapping[str, Any]) -> AdsMessage:
    """Decode the map of a frame.

    Raises:
        UnknownVersionError: it has another major version.
        MalformedError: an unknown `t`; or it names the field that is missing or invalid.
    """
    return cast(AdsMessage, _MESSAGES.decode(frame))
