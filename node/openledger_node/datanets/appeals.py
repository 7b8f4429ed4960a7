"""Appeals against a copy's redirect: a row that was found to copy another contributor's is claimed to be its own.

The Datanet's owner decides. An upheld appeal counts from the next version that has new rows, and for all later ones;
a published version is never changed. Appeals stay in the record of their batch, and decided ones go into versions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Digest

from ..errors import NodeError

REASON_CHARACTERS_MAX: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Appeal:
    """One appeal and its decision."""

    row: int  # counted from 1 in its batch
    digest: Digest  # of the row
    because: str
    upheld: bool | None = None  # None: nobody has decided
    reason: str = ""  # of the decision


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedAppeal:
    """A decided appeal as a version shows it to everybody who has the version."""

    digest: Digest  # of the row
    upheld: bool
    because: str
    reason: str


def file_appeal(appeals: tuple[Appeal, ...], row: int, digest: Digest, because: str) -> tuple[Appeal, ...]:
    """Add an appeal; one that waits for a decision gets the new words.

    Raises:
        NodeError: it was decided already.
        MalformedError: its reason is missing or too long.
    """
    words = check_reason(because)
    found = _find(appeals, row)
    if found is not None and found.upheld is not None:
        raise NodeError(f"the appeal for row {row} is {_outcome(found)} already ({found.reason})")
    return (*_others(appeals, row), Appeal(row=row, digest=digest, because=words))


def decide_appeal(appeals: tuple[Appeal, ...], row: int, *, upheld: bool, reason: str) -> tuple[Appeal, ...]:
    """Decide an appeal; the same decision again changes nothing.

    Raises:
        NodeError: there is no such appeal, or it was decided otherwise.
        MalformedError: the reason is missing or too long.
    """
    words = check_reason(reason)
    found = _find(appeals, row)
    if found is None:
        raise NodeError(f"nobody has appealed for row {row}: file the appeal first, without --uphold and --deny")
    if found.upheld is not None:
        if found.upheld == upheld:
            return appeals
        raise NodeError(f"the appeal for row {row} is {_outcome(found)} already, and a decision stays")
    return (*_others(appeals, row), replace(found, upheld=upheld, reason=words))


def decided(appeals: Iterable[Appeal]) -> tuple[DecidedAppeal, ...]:
    """The decided appeals among these, for a version."""
    return tuple(
        DecidedAppeal(digest=each.digest, upheld=each.upheld, because=each.because, reason=each.reason)
        for each in appeals
        if each.upheld is not None
    )


def cleared(appeals: Iterable[Appeal | DecidedAppeal]) -> frozenset[Digest]:
    """The rows that are no copies, because their appeals were upheld."""
    return frozenset(each.digest for each in appeals if each.upheld)


def check_reason(text: str) -> str:
    """Return a reason on one line.

    Raises:
        MalformedError: it is empty or too long.
    """
    words = " ".join(text.split()) if isinstance(text, str) else ""
    if not 1 <= len(words) <= REASON_CHARACTERS_MAX:
        raise MalformedError(f"a reason has 1 to {REASON_CHARACTERS_MAX} characters, not {len(words)}")
    return words


def _find(appeals: Iterable[Appeal], row: int) -> Appeal | None:
    return next((each for each in appeals if each.row == row), None)


def _others(appeals: tuple[Appeal, ...], row: int) -> tuple[Appeal, ...]:
    return tuple(each for each in appeals if each.row != row)


def _outcome(appeal: Appeal) -> str:
    return "upheld" if appeal.upheld else "denied"
