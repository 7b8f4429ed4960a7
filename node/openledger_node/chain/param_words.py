"""Values of Params in words, and the values that people type."""

import re
from collections.abc import Mapping
from typing import Final

from openledger_protocol.epoch import Params
from openledger_protocol.errors import MalformedError
from openledger_protocol.governance import ALGORITHMS, Bound, ParamBounds, ParamSpec, Unit, changed_params, value_of

from .refusals import open_text

PPM_PER_PERCENT: Final = 10_000
WEI_DIGITS, PERCENT_DIGITS = 18, 4
WANTED: Final[Mapping[Unit, str]] = {
    "wei": "an amount in OPEN, such as 100 or 0.5",
    "ppm": "a percentage such as 4%, or parts per million such as 40000",
    "rule": f"a rule's number or name, such as 7 or {ALGORITHMS[7]}",
    "number": "a whole number",
}
_DECIMAL = re.compile(r"(\d{1,30})(?:\.(\d{1,18}))?")


def param_text(spec: ParamSpec, value: int) -> str:
    """Format a value with its unit, such as `5 %`, `100 OPEN` or `rule 7 (poa-v3)`."""
    match spec.unit:
        case "ppm":
            return f"{value / PPM_PER_PERCENT:g} %"
        case "wei":
            return open_text(value)
        case "rule":
            return f"rule {value} ({ALGORITHMS.get(value, 'not defined')})"
        case "number":
            return f"{value:,}"


def bound_text(spec: ParamSpec, bounds: ParamBounds) -> str:
    """Format the values that a vote may choose from."""
    bound = bounds.of(spec)
    if bound is None:
        return ", ".join(map(str, ALGORITHMS))
    return range_text(spec, bound)


def range_text(spec: ParamSpec, bound: Bound) -> str:
    """Format the least and the greatest value, such as `50 OPEN to 200 OPEN`."""
    return f"{param_text(spec, bound[0])} to {param_text(spec, bound[1])}"


def change_texts(before: Params, after: Params) -> list[str]:
    """Format the values that differ, such as `minStake: 100 OPEN → 150 OPEN`."""
    return [
        f"{spec.key}: {param_text(spec, value_of(before, spec))} → {param_text(spec, value_of(after, spec))}"
        for spec in changed_params(before, after)
    ]


def typed_param(spec: ParamSpec, text: str) -> int:
    """Parse a typed value: OPEN, a percentage such as `4%` or parts per million, a whole number, or a rule's name.

    Raises:
        MalformedError: it is none of them.
    """
    if spec.unit == "wei":
        return _scaled(spec, text.removesuffix("OPEN").strip(), WEI_DIGITS)
    if spec.unit == "rule" and text in ALGORITHMS.values():
        return next(number for number, name in ALGORITHMS.items() if name == text)
    if spec.unit == "ppm" and text.endswith("%"):
        return _scaled(spec, text[:-1].strip(), PERCENT_DIGITS)
    if re.fullmatch(r"\d{1,30}", plain := text.replace(",", "")):
        return int(plain)
    raise MalformedError(f"{spec.key} can't be {text[:40]!r}: give {WANTED[spec.unit]}")


def _scaled(spec: ParamSpec, text: str, digits: int) -> int:
    found = _DECIMAL.fullmatch(text)
    if not found or len(found[2] or "") > digits:
        raise MalformedError(f"{spec.key} can't be {text[:40]!r}: give {WANTED[spec.unit]}")
    return int(found[1] + (found[2] or "").ljust(digits, "0"))
