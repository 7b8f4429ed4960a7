"""The range that seven days brought lately, from the node's own history. It is no promise about the next ones."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

WINDOW_DAYS: Final = 7
HISTORY_DAYS_MIN: Final = 14
LOOK_BACK: Final = "31d"
"""Thirty whole days and today, which is not over and counts in no window."""


def weekly_range(days: Sequence[Mapping[str, Any]], *, num_history: int) -> dict[str, Any]:
    """The lowest, the median and the highest net of seven days in a row, in wei, for JSON.

    Args:
        days: The rows of `earnings --by day`, the oldest first and today last.
        num_history: The number of whole days since the first request; days before it count in no window.
    """
    whole = days[:-1][-num_history:] if num_history > 0 else []
    found: dict[str, Any] = {
        "history_days": len(whole),
        "history_days_min": HISTORY_DAYS_MIN,
        "window_days": WINDOW_DAYS,
        "windows": 0,
        "low_wei": None,
        "median_wei": None,
        "high_wei": None,
    }
    if len(whole) < HISTORY_DAYS_MIN:
        return found
    net = [int(day["net_wei"]) for day in whole]
    sums = sorted(sum(net[begin : begin + WINDOW_DAYS]) for begin in range(len(net) - WINDOW_DAYS + 1))
    return {
        **found,
        "windows": len(sums),
        "low_wei": str(sums[0]),
        "median_wei": str(sums[(len(sums) - 1) // 2]),
        "high_wei": str(sums[-1]),
    }
