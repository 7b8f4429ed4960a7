"""A Bloom filter: a set of ids in a few hundred bytes, with false positives but no false negatives.

A requester calls a peer whose filter may hold the adapter; a false positive costs one call.
Source: Bloom 1970; two hashes for all by Kirsch and Mitzenmacher 2006.
"""

import hashlib
from collections.abc import Collection

from .constants import BLOOM_BYTES_MAX
from .errors import MalformedError

_DOMAIN = b"openledger.bloom/1"
_BITS_PER_ID = 10  # with seven hashes: one false positive in 120
_HASHES_MAX = 7
_BYTES_MIN = 8  # in fewer bits, the positions of one id would be too similar

ONES_PERCENT_MAX = 60
"""A fuller filter promises nearly everything, so it is refused. The best one has half of its bits set."""

IDS_MAX = 3_500
"""More ids would fill the largest filter beyond that."""


def make_filter(ids: Collection[str]) -> bytes:
    """Make a filter over 32-byte ids, given as 0x-hex: the number of hashes in its first byte, then its bits.

    Empty for no ids. Over 408 ids it stays at 512 bytes, with more and more false positives. It holds the first 3,500
    ids, or fewer if these would still fill it too much.
    """
    held = list(dict.fromkeys(ids))[:IDS_MAX]
    if not held:
        return b""
    size_bytes = max(_BYTES_MIN, min(BLOOM_BYTES_MAX - 1, (len(held) * _BITS_PER_ID + 7) // 8))
    while _is_too_full(bits := _bits_of(held, size_bytes)):
        if size_bytes < BLOOM_BYTES_MAX - 1:
            size_bytes += 1
        else:
            held.pop()
    return bytes([_num_hashes(8 * size_bytes, len(held))]) + bits


def may_hold(content: bytes, id: str) -> bool:
    """True if an id may be in a filter; False is certain.

    Raises:
        MalformedError: as in `check_filter`.
    """
    check_filter(content)
    if not content:
        return False
    bits = content[1:]
    return all(bits[place // 8] >> place % 8 & 1 for place in _places(id, content[0], 8 * len(bits)))


def check_filter(content: bytes) -> bytes:
    """Return `content` if it is a filter.

    Raises:
        MalformedError: it has over 512 bytes, no bits, not 1 to 7 hashes, or over 60 percent of its bits set.
    """
    if not isinstance(content, bytes) or len(content) > BLOOM_BYTES_MAX:
        raise MalformedError(f"a filter has at most {BLOOM_BYTES_MAX} bytes")
    if content and (len(content) < 2 or not 1 <= content[0] <= _HASHES_MAX):
        raise MalformedError(f"a filter begins with 1 to {_HASHES_MAX} hashes, and has bits behind that")
    if _is_too_full(content[1:]):
        raise MalformedError(f"a filter has at most {ONES_PERCENT_MAX} percent of its bits set")
    return content


def _bits_of(ids: Collection[str], size_bytes: int) -> bytes:
    num_hashes = _num_hashes(8 * size_bytes, len(ids))
    bits = bytearray(size_bytes)
    for id in ids:
        for place in _places(id, num_hashes, 8 * size_bytes):
            bits[place // 8] |= 1 << place % 8
    return bytes(bits)


def _is_too_full(bits: bytes) -> bool:
    return 100 * int.from_bytes(bits, "big").bit_count() > ONES_PERCENT_MAX * 8 * len(bits)


def _num_hashes(num_bits: int, count: int) -> int:
    # The best number is ln 2 × bits per id, rounded; more hashes would only fill a full filter faster.
    return max(1, min(_HASHES_MAX, (num_bits * 693 + count * 500) // (count * 1_000)))


def _places(id: str, num_hashes: int, num_bits: int) -> list[int]:
    drawn = hashlib.sha256(_DOMAIN + bytes.fromhex(id.removeprefix("0x"))).digest()
    # NOTE: the step is odd because the number of bits is even; otherwise it may return to its start too early.
    first, step = int.from_bytes(drawn[:8], "big"), int.from_bytes(drawn[8:16], "big") | 1
    return [(first + number * step) % num_bits for number in range(num_hashes)]
