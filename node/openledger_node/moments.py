"""Moments as JSON writes them."""

from datetime import UTC, datetime


def rfc3339(at_s: float, timespec: str = "seconds") -> str:
    """Seconds since 1970 as `2026-01-02T03:04:05Z` (RFC 3339), to the second unless `timespec` says otherwise."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
