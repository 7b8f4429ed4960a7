"""Amounts and sizes, as people write and read them."""

import re
from typing import Final

import typer

DECIMALS: Final = 18
UNITS: Final = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def amount(wei: int, decimals: int = DECIMALS) -> str:
    """An exact amount for people: as many digits behind the point as it has."""
    whole, rest = divmod(wei, 10**decimals)
    digits = f"{rest:0{decimals}d}".rstrip("0") if rest else ""
    return f"{whole:,}.{digits}" if digits else f"{whole:,}"


def open_amount(wei: str | int, symbol: str = "OPEN") -> str:
    """An amount for people, exact to the wei."""
    value = int(wei)
    return f"{'-' if value < 0 else ''}{amount(abs(value))} {symbol}"


def wei_of(text: str) -> str:
    """An amount that somebody typed, in wei, as JSON carries it: `12`, `0.5`; never more digits than wei have.

    Raises:
        BadParameter: it is no amount.
    """
    if re.fullmatch(r"\d{1,30}\.\d{19,}", text):
        raise typer.BadParameter(
            f"{text!r} has parts smaller than one wei: give at most {DECIMALS} digits behind the point"
        )
    if not re.fullmatch(r"\d{1,30}(\.\d{1,18})?", text):
        raise typer.BadParameter(f"{text!r} is no amount: say how many, like 12 or 0.5")
    whole, _, rest = text.partition(".")
    return str(int(whole + rest.ljust(DECIMALS, "0")))


def bytes_of(text: str) -> int:
    """A size that somebody typed: `20GB`, `512MiB`, `0`.

    Raises:
        BadParameter: it is no size.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not found or found[2] == "i":
        raise typer.BadParameter(f"{text!r} is no size: say how much, like 20GB or 512MiB")
    return int(float(found[1]) * UNITS[found[2]])


def size(size_bytes: int) -> str:
    """A size for people, in the unit that fits."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes} B"


# ---- Percentages that somebody types.

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
