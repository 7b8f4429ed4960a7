"""What one check saw, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .scene import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check saw; `fix` is empty where nothing is wrong."""

    section: str
    check: str
    is_ok: bool | None  # None: it can't be told just now, or does not apply
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict before it has its name."""

    found: str
    fix: str = ""
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """One look, and for how long it may go on."""

    section: str
    name: str
    look: "Callable[[Scene], Verdict]"  # may raise what the node itself would
    within_s: float = 5.0


def unknown(why: str) -> Verdict:
    """It can't be told, or does not apply; that is no problem."""
    return Verdict(why, is_known=False)
