"""Why a node stands aside, and the file that keeps what its owner said; a verb reads it in no time."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..home import Home, write_private
from ..text import rfc3339

SCHEMA = "openledger.pause/1"

By = Literal["owner", "hours", "busy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Why the node stands aside."""

    by: By
    why: str
    since_s: float  # since 1970
    until_s: float | None = None  # None: until it is told, or until it is quiet

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        until = None if self.until_s is None else rfc3339(self.until_s)
        return {"since": rfc3339(self.since_s), "why": self.why, "until": until, "by": self.by}


def read_pause(home: Home) -> Pause | None:
    """The pause that its owner has asked for, if there is one; a file that can't be read is one."""
    try:
        kept = json.loads(home.paused.read_text(encoding="utf-8"))
        return Pause(by="owner", why=str(kept["why"]), since_s=float(kept["since_s"]), until_s=kept["until_s"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        why = f"{home.paused} can't be read: `openledger-node resume` removes it"
        return Pause(by="owner", why=why, since_s=0.0)


def kept_pause(home: Home, now_s: Callable[[], float] = time.time) -> Pause | None:
    """The pause in which the next start would begin."""
    pause = read_pause(home)
    return pause if pause and (pause.until_s is None or pause.until_s > now_s()) else None


def keep_pause(home: Home, pause: Pause) -> None:
    """Keep it for the next start."""
    kept = {"schema": SCHEMA, "why": pause.why, "since_s": pause.since_s, "until_s": pause.until_s}
    write_private(home.paused, json.dumps(kept) + "\n", is_new=False)


def forget_pause(home: Home) -> None:
    """Start as usual the next time."""
    home.paused.unlink(missing_ok=True)
