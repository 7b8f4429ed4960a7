"""Distinct types for strings and integers that must not be mixed up, with their checks."""

import re
from functools import lru_cache
from typing import NewType

from eth_hash.auto import keccak

from .constants import NAME_LENGTH_MAX
from .errors import MalformedError

Digest = NewType("Digest", str)
"""A SHA-256 or keccak digest: 0x and 64 lower-case hex digits."""

AdapterId = NewType("AdapterId", str)
"""The digest of an adapter's canonical manifest."""

RequestId = NewType("RequestId", str)
"""A request's 32 random bytes, as 0x-hex: the same on every hop and in the receipt."""

Address = NewType("Address", str)
"""An account of the chain: 0x and 40 hex digits, in the mixed case that carries its checksum (EIP-55)."""

ChannelId = NewType("ChannelId", str)
"""The EIP-712 digest of a channel's config, as 0x-hex."""

DatanetId = NewType("DatanetId", str)
"""A Datanet's id in its registry: the hash of its creator and name, as 0x-hex."""

Salt = NewType("Salt", str)
"""32 random bytes, as 0x-hex, that make a commitment unguessable or a channel's id unique."""

Generation = NewType("Generation", str)
"""32 random bytes, as 0x-hex, that a node's ledger draws anew whenever it may have lost rows."""

Wei = NewType("Wei", int)
"""An amount of OPEN, or of the chain's own coin, in units of 10^-18: an integer, never a float."""

ZERO_ADDRESS = Address("0x" + "0" * 40)
ZERO_WEI = Wei(0)
ZERO_DIGEST = Digest("0x" + "0" * 64)
BASE_ONLY = AdapterId(ZERO_DIGEST)
"""The adapter id of a request that the base alone answers."""

UINT128_MAX = 2**128 - 1
WEI_DIGITS_MAX = len(str(UINT128_MAX))

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_DIGEST = re.compile(r"0x[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_digest(text: str) -> Digest:
    """Return `text` as a digest.

    Raises:
        MalformedError: it is not 0x and 64 lower-case hex digits.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise MalformedError(f"not a digest: {repr(text)[:80]}", text=text)
    return Digest(text)


@lru_cache(maxsize=4_096)  # each advertisement of a node holds the same two, and keccak takes most of the time
def checksum_address(raw: bytes) -> Address:
    """Write 20 bytes as an address with its checksum in the letters' case.

    Source: EIP-55.
    """
    digits = raw.hex()
    nibbles = keccak(digits.encode()).hex()
    return Address("0x" + "".join(d.upper() if n >= "8" else d for d, n in zip(digits, nibbles, strict=False)))


def check_address(text: str) -> Address:
    """Return `text` as an address; one in a single case has no checksum and is given one.

    Raises:
        MalformedError: it is not 0x and 40 hex digits, or its checksum is wrong, as after a typing error.
    """
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
        raise MalformedError(f"not an address: {repr(text)[:80]}", text=text)
    address = checksum_address(bytes.fromhex(text[2:]))
    if text not in (address, address.lower(), "0x" + address[2:].upper()):
        raise MalformedError(f"the address {text} has a wrong checksum: was it mistyped?", text=text)
    return address


def check_wei(amount: object) -> Wei:
    """Return `amount` as wei.

    Raises:
        MalformedError: it is not an integer from 0 to 2^128 - 1.
    """
    if type(amount) is not int or not 0 <= amount <= UINT128_MAX:
        raise MalformedError(f"not an amount of wei: {repr(amount)[:80]}")
    return Wei(amount)


def wei_from_text(text: object, *, name: str = "an amount") -> Wei:
    """Read wei from the decimal text that JSON and settings carry: JSON numbers lose digits beyond 2^53.

    Raises:
        MalformedError: it is no decimal text, or above 2^128 - 1; the message calls the amount `name`.
    """
    if not isinstance(text, str) or not text.isdecimal() or len(text) > WEI_DIGITS_MAX:
        raise MalformedError(f"{name} is a decimal text of wei, not {repr(text)[:80]}")
    return check_wei(int(text))


def check_text(text: str) -> str:
    """Return `text` if UTF-8 can encode it: JSON may contain half of a surrogate pair, which is not a character.

    Raises:
        MalformedError: it can't.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MalformedError("a text holds half a surrogate pair, which is no character") from error
    return text


def check_name(text: str) -> str:
    """Return `text` as the name of a base, an adapter or a contributor.

    `:` joins base and adapter, and `@` joins name and id, so neither may be part of a name.

    Raises:
        MalformedError: it is empty, too long or has a character other than letters, digits, `.`, `_`, `-`.
    """
    if not isinstance(text, str) or len(text) > NAME_LENGTH_MAX or not _NAME.fullmatch(text):
        raise MalformedError(
            f"not a name: {repr(text)[:80]} (1 to {NAME_LENGTH_MAX} letters, digits, '.', '_' or '-')", text=text
        )
    return text
