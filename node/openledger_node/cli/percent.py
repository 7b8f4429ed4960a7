"""Percentages that somebody types."""

import re

import typer

DIGITS_BEHIND: int = 4
"""A percentage is in steps of one part per million."""


def ppm_of(text: str) -> int:
    """A percentage in parts per million, exactly: `10`, `2.5`.

    Raises:
        BadParameter: it is none.
    """
    if not re.fullmatch(rf"\d{{1,3}}(\.\d{{1,{DIGITS_BEHIND}}})?", text) or float(text) > 100:
        raise typer.BadParameter(f"{text!r} is no percentage: say 10 or 2.5")
    whole, _, rest = text.partition(".")
    return int(whole + rest.ljust(DIGITS_BEHIND, "0"))
