"""Amounts, sizes, percentages and times as people write and read them."""

import re
from datetime import datetime, timedelta
from typing import Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import UINT128_MAX, Address, check_address

from ..errors import InputError
from ..text import DURATION_S_MAX, UNITS_S, since_of, size_text

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


size: Final = size_text


def amount(wei: int, decimals: int = DECIMALS) -> str:
    """Format an exact amount, without trailing zeros."""
    whole, rest = divmod(wei, 10**decimals)
    digits = f"{rest:0{decimals}d}".rstrip("0") if rest else ""
    return f"{whole:,}.{digits}" if digits else f"{whole:,}"


def rounded_amount(wei: int) -> str:
    """Format an amount for a table, to a millionth; the exact one is in the JSON."""
    millionths = (wei + 10 ** (DECIMALS - 6) // 2) // 10 ** (DECIMALS - 6)
    return "<0.000001" if wei and not millionths else amount(millionths, 6)


def open_amount(wei: str | int, symbol: str = "OPEN") -> str:
    """Format an amount with its symbol, exact to the wei."""
    value = int(wei)
    return f"{'-' if value < 0 else ''}{amount(abs(value))} {symbol}"


def wei_of(text: str) -> str:
    """Parse a typed amount such as `12` or `0.5` into wei, as a decimal string for JSON.

    Raises:
        InputError: the text is not an amount, has more decimals than wei, or is too large for the contracts.
    """
    if re.fullmatch(r"\d{1,30}\.\d{19,}", text):
        raise InputError(f"{text!r} is finer than one wei: give at most {DECIMALS} digits after the point")
    if not re.fullmatch(r"\d{1,30}(\.\d{1,18})?", text):
        raise InputError(f"{text!r} is not an amount: give a number such as 12 or 0.5")
    whole, _, rest = text.partition(".")
    wei = int(whole + rest.ljust(DECIMALS, "0"))
    if wei > UINT128_MAX:
        raise InputError(f"{text!r} is more than a contract can count: give a smaller amount")
    return str(wei)


def bytes_of(text: str) -> int:
    """Parse a typed size such as `20GB`, `512MiB` or `0` into bytes.

    Raises:
        InputError: the text is not a size.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not found or found[2] == "i":
        raise InputError(f"{text!r} is not a size: give one such as 20GB or 512MiB")
    return int(float(found[1]) * UNITS[found[2]])


# ---- Times


def seconds_of(text: str) -> int:
    """Parse a typed duration such as `30s`, `10m`, `2h` or `7d`.

    Raises:
        InputError: the text is not a duration, or is one that nobody means.
    """
    found = re.fullmatch(r"(\d{1,9})\s*([smhdw])", text.strip())
    if not found:
        raise InputError(f"{text!r} is not a duration: give one such as 30s, 10m, 2h or 7d")
    duration_s = int(found[1]) * UNITS_S[found[2]]
    if not 0 < duration_s <= DURATION_S_MAX:
        raise InputError(f"{text!r} is not between a second and ten years: give one such as 30s, 10m, 2h or 7d")
    return duration_s


def seconds_until(text: str, now: datetime) -> float:
    """Return the seconds until a typed time of day such as `18:00`, today or tomorrow.

    Raises:
        InputError: the text is not a time of day.
    """
    found = re.fullmatch(r"(\d{1,2}):(\d{2})", text.strip())
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise InputError(f"{text!r} is not a time of day: give one such as 18:00")
    at = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
    later = at if at > now else at + timedelta(days=1)
    return later.timestamp() - now.timestamp()  # their difference would not know of a change of the clocks


def local_time(moment: str) -> str:
    """Format a moment of RFC 3339 on this machine's clock: the time, and the day if it is not today."""
    at = datetime.fromisoformat(moment).astimezone()
    return f"{at:%H:%M}" if at.date() == datetime.now().date() else f"{at:%Y-%m-%d %H:%M}"


def check_since(text: str | None) -> str | None:
    """Return a typed moment such as `30d`, `12h` or `2026-01-31` as it is.

    Raises:
        InputError: the text is not a moment.
    """
    try:
        since_of(text, now_s=0.0)
    except MalformedError as error:
        raise InputError(str(error)) from error
    return text


# ---- Addresses


def address_of(text: str) -> Address:
    """Parse a typed address.

    Raises:
        InputError: the text is not an address.
    """
    try:
        return check_address(text)
    except MalformedError as error:
        raise InputError(str(error)) from error


# ---- Percentages

DIGITS_BEHIND: int = 4
"""A percentage is in steps of one part per million."""


def ppm_of(text: str) -> int:
    """Parse a typed percentage such as `10` or `2.5` into parts per million, exactly.

    Raises:
        InputError: the text is not a percentage.
    """
    if not re.fullmatch(rf"\d{{1,3}}(\.\d{{1,{DIGITS_BEHIND}}})?", text) or float(text) > 100:
        raise InputError(f"{text!r} is not a percentage: give a number such as 10 or 2.5")
    whole, _, rest = text.partition(".")
    return int(whole + rest.ljust(DIGITS_BEHIND, "0"))


def pairs_of(texts: list[str] | None, wanted: str) -> dict[str, str]:
    """Split texts such as `KEY=VALUE`.

    Raises:
        InputError: a text has no `=`, or a key comes twice.
    """
    found: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals and value):
            raise InputError(f"{text!r} is not {wanted}")
        if key in found:
            raise InputError(f"{key} is given twice: give it once")
        found[key] = value
    return found
