"""The process of one pull: it prints its progress as lines of JSON.

It ends as soon as its stdin is closed, so that no download goes on without its daemon.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ..contained import why_failed
from ..models.fetch import Progress

INTERVAL_S: Final = 0.2


def run_child(pull: Callable[[], None]) -> None:
    """Run a pull, which tells its result; a failure is told in its place."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        pull()
    except Exception as error:  # the daemon shows the reason of any failure, and this process ends
        tell({"error": str(why_failed(error))})


def tell(line: dict[str, Any]) -> None:
    """Print one line of the report."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class ChildReport:
    """Prints each stage, and its progress a few times a second."""

    def __init__(self) -> None:
        self._what, self._said_at_s = "", 0.0

    def __call__(self, stage: Progress) -> None:
        """Print a stage, unless the last line about it is fresh."""
        now_s = time.monotonic()
        if stage.what == self._what and now_s - self._said_at_s < INTERVAL_S and stage.done < stage.total:
            return
        self._what, self._said_at_s = stage.what, now_s
        tell({"what": stage.what, "done": stage.done, "total": stage.total})


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)
