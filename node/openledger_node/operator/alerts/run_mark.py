"""The mark of a running node, by which the next start knows whether the last run was stopped or has crashed."""

import logging
import secrets
from pathlib import Path
from typing import Final

from ...errors import NodeError
from ...home import Home, write_private

log = logging.getLogger(__name__)

_RUN: Final = secrets.token_hex(8)
"""This process. Its number would not do, because in a container each start may have the same one."""


def has_crashed(home: Home) -> bool:
    """Return True if the run before has ended without being stopped."""
    try:
        return _mark(home).read_text(encoding="utf-8").strip() not in ("", _RUN)
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        return True


def mark_run(home: Home) -> None:
    """Mark the node as running."""
    try:
        write_private(_mark(home), f"{_RUN}\n", is_new=False)
    except (NodeError, OSError) as error:
        log.warning("the next start can't tell whether this run was stopped: %s", error)


def note_stopped(home: Home) -> None:
    """Take the mark away: the node has ended as it was told."""
    try:
        _mark(home).unlink(missing_ok=True)
    except OSError as error:
        log.warning("the next start will report a crash, since %s can't be removed: %s", _mark(home), error.strerror)


def _mark(home: Home) -> Path:
    return home.root / "running"
