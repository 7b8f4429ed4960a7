"""Text helpers. Text from peers, adapters and models may contain terminal commands, so it is made safe to show."""

import logging
import re
from datetime import UTC, datetime
from types import TracebackType

from openledger_protocol.errors import MalformedError

CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
"""Characters that control a terminal, reorder text or hide. Joiners and wide spaces are not among them."""

Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def shown(text: str) -> str:
    """Escape all control characters of a text except tabs and line breaks."""
    return CONTROL_CHARACTERS.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def on_one_line(text: str) -> str:
    """Escape all control characters and line breaks, so that a text can't look like two lines."""
    return shown(text).replace("\n", "\\n")


class SafeFormatter(logging.Formatter):
    """Formats every log message as one line, whatever it quotes; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the message as one line."""
        return on_one_line(super().formatMessage(record))

    def formatException(self, raised: Raised) -> str:
        """Format the traceback below the message."""
        return shown(super().formatException(raised))


# ---- Counts


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: `1 receipt`, `2 receipts`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


# ---- Sizes


def size_text(size_bytes: int) -> str:
    """Format a size in the largest unit that fits: `20.0 GB` are 20 · 10^9 bytes."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes} B"


# ---- Amounts

OPEN_DECIMALS = 18


def open_text(wei: int) -> str:
    """Format wei as an exact amount of OPEN, such as `0.0025 OPEN`."""
    whole, rest = divmod(wei, 10**OPEN_DECIMALS)
    digits = f"{rest:0{OPEN_DECIMALS}d}".rstrip("0")
    return f"{whole:,}.{digits} OPEN" if digits else f"{whole:,} OPEN"


# ---- Times

DURATION_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration_text(seconds: int) -> str:
    """Format a length of time exactly, such as `3 d`, `1 h 30 min` or `0 s`."""
    parts = []
    for unit, length in DURATION_UNITS:
        count, seconds = divmod(seconds, length)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts) or "0 s"


def rfc3339(at_s: float, timespec: str = "seconds") -> str:
    """Format seconds since 1970 as `2026-01-02T03:04:05Z` (RFC 3339), with the precision of `timespec`."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


# ---- Moments that are typed

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
DURATION_S_MAX = 10 * 365 * 86_400
"""The longest time that can be ordered; a much later moment has no date."""

MOMENT_S_MAX = 9_223_372_036
"""The last second whose nanoseconds fit into 64 bits, in the year 2262; the ledger compares times in nanoseconds."""


def since_of(text: object, *, now_s: float) -> float:
    """Convert `30d`, `12h`, `2026-01-31` or RFC 3339 into seconds since 1970; 0 without a text.

    A moment before 1970 is 0, and one after `MOMENT_S_MAX` is that.

    Raises:
        MalformedError: the text is none of these.
    """
    if text in (None, ""):
        return 0.0
    if isinstance(text, str) and (found := re.fullmatch(r"(\d{1,6})([smhdw])", text)):
        return max(0.0, now_s - int(found[1]) * UNITS_S[found[2]])
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise MalformedError(f"{text!r} is not a time: write `30d`, `12h` or `2026-01-31`") from error
    at_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return min(max(at_s, 0.0), MOMENT_S_MAX)
