"""The gate of a batch: numbers that are published with it, each with its limit and verdict, for whoever approves it.

A number over its limit refuses nothing. It says where to look.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any, Final, Literal

from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import check_digest

from .appeals import Appeal
from .copy_notes import CopyNote, note_from_json
from .languages import UNKNOWN, language_of
from .rejections import RejectedRow
from .screening import acting_characters, personal_data, secrets_in

Verdict = Literal["ok", "look", "unmeasured"]

LONG_CHARACTERS: Final = 8_192
"""About 2,048 tokens of English, over which the default training leaves a row out."""

LONG_ROWS, DUPLICATES, COPIES, OTHER_LANGUAGE = 100, 10, 100, 10
"""One row in this many may be so."""

LANGUAGES_NAMED: Final = 4
LANGUAGE_SAMPLE: Final = 2_000
"""Rows of the Datanet that say what its language is."""

BASE_LOSS: Final = (0.2, 5.0)
"""Usual band of a base's loss on completions, in nats per token; text that the base knows by heart is below it.

With the demo base, facts with invented names have 3.4 and random letters 5.6."""

NOT_MEASURED: Final = "`openledger-node datanet check` measures it with a base of this machine"
NO_TRIAL: Final = "`openledger-node datanet check` measures it with --trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateNumber:
    """One number of a batch."""

    name: str
    value: float | None
    unit: str
    verdict: Verdict
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchGate:
    """The numbers of a batch, its copies, and the appeals against them."""

    numbers: tuple[GateNumber, ...] = ()
    copies: tuple[CopyNote, ...] = ()  # the first ones
    taken: tuple[CopyNote, ...] = ()  # rows approved earlier that copy it, because it is proven to be older
    appeals: tuple[Appeal, ...] = ()
    approved_before: int = 0  # batches of the Datanet with which its rows were compared
    rejected: tuple[RejectedRow, ...] = ()  # rows that no version contains, by their numbers
    rejected_because: str = ""  # of the whole batch; empty: it was not rejected


def measure_rows(
    rows: Sequence[Row], earlier: Sequence[Row], *, duplicates: int, of_others: int
) -> tuple[GateNumber, ...]:
    """Measure everything that needs no model; `duplicates` and `of_others` are counts of near-duplicates."""
    texts = [f"{row.prompt}\n{row.completion}" for row in rows]
    found = Counter[str]()
    for text in texts:
        found["format"] += acting_characters(text) is not None
        found["secrets"] += bool(secrets_in(text))
        found["personal"] += bool(personal_data(text))
        found["long"] += len(text) > LONG_CHARACTERS
    total = len(rows)
    return (
        _at_most("format", found["format"], 0, "rows with invisible characters"),
        _language(texts, earlier),
        _at_most(
            "length",
            found["long"],
            total // LONG_ROWS,
            f"rows over {LONG_CHARACTERS} characters",
            f"half of the rows have at most {int(median(map(len, texts)))} characters",
        ),
        _at_most("duplicates", duplicates - of_others, total // DUPLICATES, "rows that repeat their contributor"),
        _at_most("copies", of_others, total // COPIES, "rows that copy another contributor"),
        _at_most("secrets", found["secrets"], 0, "rows with keys or tokens"),
        _at_most("personal data", found["personal"], 0, "rows", "names of people and postal addresses are not found"),
    )


def policy_number(breaches: int, note: str) -> GateNumber:
    """The count of rows that break the Datanet's policy."""
    return _at_most("policy", breaches, 0, "rows that break the policy", note)


def base_number(loss: float | None, *, rows: int = 0, why: str = NOT_MEASURED) -> GateNumber:
    """The loss of the base on the completions, in nats per token; None if it was not measured."""
    low, high = BASE_LOSS
    verdict: Verdict = "unmeasured" if loss is None else "ok" if low <= loss <= high else "look"
    note = why if loss is None else f"over {rows} rows"
    return GateNumber(
        name="base loss", value=_rounded(loss), unit="nats per token", verdict=verdict, low=low, high=high, note=note
    )


def trial_number(before: float | None, after: float | None, *, rows: int = 0) -> GateNumber:
    """The loss on held-out rows after a short training on the others; it must be below the base's."""
    if before is None or after is None:
        return GateNumber(name="trial loss", value=None, unit="nats per token", verdict="unmeasured", note=NO_TRIAL)
    return GateNumber(
        name="trial loss",
        value=_rounded(after),
        unit="nats per token",
        verdict="ok" if after < before else "look",
        high=_rounded(before),
        note=f"of {rows} held-out rows; the limit is the loss of the base",
    )


def with_number(numbers: Iterable[GateNumber], new: GateNumber) -> tuple[GateNumber, ...]:
    """Replace the number of this name, or add it."""
    held = tuple(numbers)
    if all(each.name != new.name for each in held):
        return (*held, new)
    return tuple(new if each.name == new.name else each for each in held)


def gate_from_json(content: object) -> BatchGate:
    """Read the gate of a batch from `datanet.json`.

    Raises:
        MalformedError: it is not as `store` writes it.
    """
    later: dict[str, object] = {"taken": [], "rejected": [], "rejected_because": ""}  # files from before lack them
    found = checked_fields(BatchGate, {**later, **content} if isinstance(content, dict) else content)
    appeals = tuple(Appeal(**checked_fields(Appeal, each)) for each in found["appeals"])
    for appeal in appeals:
        check_digest(appeal.digest)
    return BatchGate(
        numbers=tuple(GateNumber(**checked_fields(GateNumber, each)) for each in found["numbers"]),
        copies=tuple(map(note_from_json, found["copies"])),
        taken=tuple(map(note_from_json, found["taken"])),
        appeals=appeals,
        approved_before=int(found["approved_before"]),
        rejected=tuple(RejectedRow(**checked_fields(RejectedRow, each)) for each in found["rejected"]),
        rejected_because=str(found["rejected_because"]),
    )


def checked_fields(cls: type[Any], content: object) -> dict[str, Any]:
    """Return the fields of a stored object of a class.

    Raises:
        MalformedError: it has other fields.
    """
    names = {each.name for each in fields(cls)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"it must have the fields {', '.join(sorted(names))}")
    return content


def _at_most(name: str, value: int, high: int, unit: str, note: str = "") -> GateNumber:
    return GateNumber(
        name=name, value=value, unit=unit, verdict="ok" if value <= high else "look", high=high, note=note
    )


def _language(texts: Sequence[str], earlier: Sequence[Row]) -> GateNumber:
    found = Counter(map(language_of, texts))
    step = max(1, len(earlier) // LANGUAGE_SAMPLE)
    before = Counter(language_of(f"{row.prompt}\n{row.completion}") for row in earlier[::step])
    main = _main_language(before) or _main_language(found)
    others = sum(count for name, count in found.items() if name not in (main, UNKNOWN)) if main else 0
    shares = ", ".join(f"{name} {100 * count // len(texts)} %" for name, count in found.most_common(LANGUAGES_NAMED))
    unit = f"rows that are not in {main}" if main else "rows in another language"
    return _at_most("language", others, len(texts) // OTHER_LANGUAGE, unit, shares)


def _main_language(found: "Counter[str]") -> str | None:
    known = {name: count for name, count in found.items() if name != UNKNOWN}
    return max(known, key=lambda name: (known[name], name)) if known else None


def _rounded(loss: float | None) -> float | None:
    return None if loss is None else round(loss, 4)
