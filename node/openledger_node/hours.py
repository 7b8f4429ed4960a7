"""The hours of the week in which a node may serve, as `[limits] hours` has them."""

import re
from dataclasses import dataclass

from .errors import ConfigError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES

_DAY = "|".join(DAYS)
_SPAN = re.compile(
    rf"(?:(?P<first>{_DAY})(?:-(?P<last>{_DAY}))?)?\s*"
    r"(?:(?P<from_h>\d{1,2}):(?P<from_m>\d{2})-(?P<to_h>\d{1,2}):(?P<to_m>\d{2}))?"
)


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of the week in minutes since Monday, 00:00; no span means always."""

    spans: tuple[tuple[int, int], ...] = ()

    def is_open(self, minute: int) -> bool:
        """Return True if the node may serve in this minute of the week."""
        return not self.spans or any((minute - begin) % WEEK_MINUTES < length for begin, length in self.spans)

    def minutes_until_change(self, minute: int) -> int | None:
        """Minutes until `is_open` changes; None if it never does."""
        is_open = self.is_open(minute)
        ahead = (step for step in range(1, WEEK_MINUTES + 1) if self.is_open(minute + step) != is_open)
        return next(ahead, None)


def read_hours(text: str) -> Hours:
    """Read `22:00-07:00`, `mon-fri 18:00-23:00, sat-sun`; a span that ends before it begins ends on the next day.

    Raises:
        ConfigError: the text is not in this form.
    """
    spans = [span for part in text.lower().split(",") if part.strip() for span in _spans(part.strip())]
    return Hours(tuple(spans))


def _spans(part: str) -> list[tuple[int, int]]:
    found = _SPAN.fullmatch(part)
    if not found or not part:
        raise _unreadable(part)
    begin, end = 0, DAY_MINUTES
    if found["from_h"]:
        begin, end = _minute(part, found["from_h"], found["from_m"]), _minute(part, found["to_h"], found["to_m"])
    length = (end - begin) % DAY_MINUTES or DAY_MINUTES
    first = DAYS.index(found["first"]) if found["first"] else 0
    last = DAYS.index(found["last"]) if found["last"] else (first if found["first"] else 6)
    return [(DAY_MINUTES * ((first + day) % 7) + begin, length) for day in range((last - first) % 7 + 1)]


def _minute(part: str, hour: str, minute: str) -> int:
    if not (int(hour) < 24 or (hour == "24" and minute == "00")) or int(minute) > 59:
        raise _unreadable(part)
    return int(hour) * 60 + int(minute)


def _unreadable(part: str) -> ConfigError:
    return ConfigError(f"{part!r} isn't a time window: write `22:00-07:00`, or `mon-fri 18:00-23:00, sat-sun`")
