"""Names for the strings and integers that must not be mixed up, and their checks."""

import re
from typing import NewType

from .constants import NAME_LENGTH_MAX
from .errors import MalformedError

Digest = NewType("Digest", str)
"""A SHA-256 or keccak digest: 0x and 64 lower-case hex digits."""

AdapterId = NewType("AdapterId", str)
"""The digest of an adapter's canonical manifest."""

RequestId = NewType("RequestId", str)
"""A request's 32 random bytes, as 0x-hex: the same on every hop and in the receipt."""

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


def check_text(text: str) -> str:
    """Return `text` if it can be written down: JSON may smuggle in half of a surrogate pair, which is no character.

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

    `:` joins base and adapter and `@` joins name and id, so neither may be part of a name.

    Raises:
        MalformedError: it is empty, too long or holds another character than letters, digits, `.`, `_`, `-`.
    """
    if not isinstance(text, str) or len(text) > NAME_LENGTH_MAX or not _NAME.fullmatch(text):
        raise MalformedError(
            f"not a name: {repr(text)[:80]} (1 to {NAME_LENGTH_MAX} letters, digits, '.', '_' or '-')", text=text
        )
    return text
