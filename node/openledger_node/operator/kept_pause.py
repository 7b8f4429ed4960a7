"""The reason of a pause, and the file that keeps the operator's pause across restarts."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import explain_disk
from ..home import Home, write_private
from ..text import rfc3339

SCHEMA = "openledger.pause/1"

By = Literal["owner", "hours", "busy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause and its reason."""

    by: By
    why: str
    since_s: float  # since 1970
    until_s: float | None = None  # None: until `resume`, or until the machine is quiet
    not_kept: str | None = None  # the reason why a restart would end it; None: it is on the disk, or needs not be

    def to_plain(self) -> dict[str, Any]:
        """The pause for JSON."""
        until = None if self.until_s is None else rfc3339(self.until_s)
        why = f"{self.why}. A restart would end this pause: {self.not_kept}" if self.not_kept else self.why
        return {
            "since": rfc3339(self.since_s),
            "why": why,
            "until": until,
            "by": self.by,
            "not_kept": self.not_kept,
        }


def read_pause(home: Home) -> Pause | None:
    """The pause that the operator has ordered, if any; an unreadable file counts as one."""
    try:
        kept = json.loads(home.paused.read_text(encoding="utf-8"))
        pause = Pause(by="owner", why=str(kept["why"]), since_s=float(kept["since_s"]), until_s=kept["until_s"])
        pause.to_plain()  # a moment without a date can't be shown
        return pause
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        why = f"{home.paused} can't be read: `openledger-node resume` removes it"
        return Pause(by="owner", why=why, since_s=0.0)


def kept_pause(home: Home, now_s: Callable[[], float] = time.time) -> Pause | None:
    """The pause in which the next start would begin, if any."""
    pause = read_pause(home)
    return pause if pause and (pause.until_s is None or pause.until_s > now_s()) else None


def keep_pause(home: Home, pause: Pause) -> None:
    """Keep a pause for the next start.

    Raises:
        DiskError: the disk is full or read-only.
    """
    kept = {"schema": SCHEMA, "why": pause.why, "since_s": pause.since_s, "until_s": pause.until_s}
    write_private(home.paused, json.dumps(kept) + "\n", is_new=False)


def forget_pause(home: Home) -> None:
    """Drop the kept pause, so that the next start serves.

    Raises:
        NodeError: the file can't be removed.
    """
    try:
        home.paused.unlink(missing_ok=True)
    except OSError as error:
        raise explain_disk(error, home.root) from error
