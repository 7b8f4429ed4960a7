"""Results of checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .scene import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check; `fix` is empty if nothing is wrong."""

    section: str
    check: str
    is_ok: bool | None  # None: undecided, the check does not apply, or with a `fix` it is a warning
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A result without the name of its check; it passes if `fix` is empty."""

    found: str
    fix: str = ""
    is_known: bool = True
    is_passing: bool = False  # what is wrong may be over in a moment, so it is only a warning


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its time limit."""

    section: str
    name: str
    look: "Callable[[Scene], Verdict]"  # may raise NodeError or ProtocolError, whose message becomes the fix
    within_s: float = 5.0
    is_told: bool = False  # a running daemon makes it for `doctor`, which would load what the daemon has loaded


def unknown(why: str) -> Verdict:
    """A result that is undecided or does not apply, which is no problem."""
    return Verdict(why, is_known=False)
