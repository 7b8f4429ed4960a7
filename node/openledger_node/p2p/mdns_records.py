"""Messages of multicast DNS, as far as peers need them to find each other: a question, and an answer with addresses.

The form is that of libp2p's mDNS: a PTR record names an instance of the service, and the TXT record of the instance
has an entry `dnsaddr=<multiaddr>` for each address. Source: libp2p/specs, discovery/mdns.md; RFC 1035, RFC 6762.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

MESSAGE_BYTES_MAX, READ_BYTES_MAX = 1_400, 4_096
"""The most bytes of a message that is written, which fits into one packet of a LAN, and of one that is read."""

ADDRESSES_MAX = 8
"""The most addresses in one message."""

RECORDS_MAX = 32
ENTRY, ENTRY_BYTES_MAX = b"dnsaddr=", 255
LABEL_BYTES_MAX, NAME_BYTES_MAX = 63, 255
TTL_S = 120
PTR, TXT, ANY = 12, 16, 255
IN, CACHE_FLUSH = 1, 0x8000
RESPONSE = 0x8400  # an answer by the owner of the records
POINTER = 0xC0

_HEADER, _QUESTION, _RECORD = struct.Struct("!6H"), struct.Struct("!2H"), struct.Struct("!2HIH")


class BadMessageError(ValueError):
    """A message that is no DNS, or too large to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The parts of a message that concern one service."""

    is_question: bool
    addresses: tuple[str, ...]  # unchecked


def service_of(network: str) -> str:
    """The name of a network's service: 15 characters at most are allowed, so it has a hash of the network's id."""
    return f"_ol-{sha256(network.encode()).hexdigest()[:8]}._udp.local"


def write_question(service: str) -> bytes:
    """Ask for the instances of a service."""
    return _HEADER.pack(0, 0, 1, 0, 0, 0) + _name(service) + _QUESTION.pack(PTR, IN)


def write_answer(service: str, instance: str, addresses: Sequence[str]) -> bytes:
    """Name one instance of a service with its addresses; those that don't fit are left out."""
    full = _name(f"{instance}.{service}")
    entries = b""
    for address in addresses[:ADDRESSES_MAX]:
        entry = ENTRY + address.encode()
        if len(entry) <= ENTRY_BYTES_MAX and len(entries) + len(entry) < MESSAGE_BYTES_MAX // 2:
            entries += bytes([len(entry)]) + entry
    pointer = _name(service) + _RECORD.pack(PTR, IN, TTL_S, len(full)) + full
    texts = full + _RECORD.pack(TXT, IN | CACHE_FLUSH, TTL_S, len(entries)) + entries
    return _HEADER.pack(0, RESPONSE, 0, 1, 0, 1) + pointer + texts


def read(content: bytes, service: str) -> Heard:
    """Read a message of anybody.

    Raises:
        BadMessageError: it is no DNS, or too large.
    """
    if len(content) > READ_BYTES_MAX:
        raise BadMessageError(f"a message of {len(content)} bytes")
    try:
        return _read(content, service)
    except (struct.error, IndexError) as error:
        raise BadMessageError("it ends too early") from error


def _read(content: bytes, service: str) -> Heard:
    _, flags, num_questions, *counts = _HEADER.unpack_from(content)
    if num_questions + sum(counts) > RECORDS_MAX:
        raise BadMessageError("too many records")
    place, is_question = _HEADER.size, False
    for _ in range(num_questions):
        name, place = _read_name(content, place)
        kind, _ = _QUESTION.unpack_from(content, place)
        place += _QUESTION.size
        is_question |= name == service and kind in (PTR, ANY)
    found: list[str] = []
    for _ in range(sum(counts)):
        name, place = _read_name(content, place)
        kind, _, ttl_s, size = _RECORD.unpack_from(content, place)
        place += _RECORD.size
        if place + size > len(content):
            raise BadMessageError("it ends too early")
        if kind == TXT and ttl_s and name.partition(".")[2] == service:
            found += _entries(content[place : place + size])
        place += size
    is_answer = bool(flags & 0x8000)
    return Heard(
        is_question=is_question and not is_answer, addresses=tuple(found[:ADDRESSES_MAX] if is_answer else ())
    )


def _entries(content: bytes) -> Iterator[str]:
    place = 0
    while place < len(content):
        size = content[place]
        entry = content[place + 1 : place + 1 + size]
        place += 1 + size
        if entry.startswith(ENTRY) and entry.isascii():
            yield entry[len(ENTRY) :].decode()


def _name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def _read_name(content: bytes, place: int) -> tuple[str, int]:
    """A name in lower case, and the place behind it; a pointer leads to an earlier place, so there is no circle."""
    labels: list[bytes] = []
    end, earliest, num_bytes = 0, place, 0
    while size := content[place]:
        if size >= POINTER:
            target = (size & ~POINTER) << 8 | content[place + 1]
            end = end or place + 2
            if target >= earliest:
                raise BadMessageError("a name that points forward")
            place = earliest = target
            continue
        if size > LABEL_BYTES_MAX or (num_bytes := num_bytes + size + 1) > NAME_BYTES_MAX:
            raise BadMessageError("a name that is too long")
        labels.append(content[place + 1 : place + 1 + size])
        place += 1 + size
    return b".".join(labels).decode("latin-1").lower(), end or place + 1
