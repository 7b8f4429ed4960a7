"""Texts of strangers, made safe to show: peers, adapters and models write what a terminal would obey."""

import logging
import re
from datetime import UTC, datetime
from types import TracebackType

CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
"""Characters that do something to a terminal or to the order of what is read, or that hide; joiners and wide spaces
do not."""

Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def shown(text: str) -> str:
    """Make a text safe to print: only its tabs and line breaks do anything."""
    return CONTROL_CHARACTERS.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def on_one_line(text: str) -> str:
    """The same, and it can't look like two lines."""
    return shown(text).replace("\n", "\\n")


class SafeFormatter(logging.Formatter):
    """A line of a log is one line, whatever the message quotes; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line itself."""
        return on_one_line(super().formatMessage(record))

    def formatException(self, raised: Raised) -> str:
        """What went wrong, below it."""
        return shown(super().formatException(raised))


# ---- A number with its noun, as people say it.


def counted(number: int, noun: str) -> str:
    """`1 receipt`, `2 receipts`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


# ---- Moments as JSON writes them.


def rfc3339(at_s: float, timespec: str = "seconds") -> str:
    """Seconds since 1970 as `2026-01-02T03:04:05Z` (RFC 3339), to the second unless `timespec` says otherwise."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
