"""The outbox's steps that last, each between two points where a crash is tried."""

from collections.abc import Callable
from typing import Final, ParamSpec

STEPS: Final = (
    "refuse",
    "reserve",
    "store",
    "send",
    "mark_sent",
    "mark_mined",
    "finish",
    "unmine",
    "release",
    "reopen",
)
FAIL_POINTS: Final = tuple(f"{when}_{step}" for step in STEPS for when in ("before", "after"))

FailPoint = Callable[[str], None]
"""Is told each point as it is passed; a test's ends the process there."""

P = ParamSpec("P")


def pass_by(name: str) -> None:
    """Do nothing: the fail point of every day."""


class Steps:
    """Takes steps, and knows whether any was taken."""

    def __init__(self, fail_point: FailPoint) -> None:
        self.pass_point = fail_point
        self.has_moved = False

    def take(self, step: str, write: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Write what lasts."""
        self.pass_point(f"before_{step}")
        write(*args, **kwargs)
        self.pass_point(f"after_{step}")
        self.has_moved = True
