"""Earnings by day of UTC: each day's part of the totals, so that the parts sum to them exactly."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

from openledger_protocol.errors import MalformedError

from ..text import rfc3339

DAY_S: Final = 86_400
COIN_WEI: Final = 10**18
DAYS_MAX: Final = 3_660
"""Ten years. A longer list is a mistake in `since`, and would only cost memory."""

Timed = tuple[float, int]
"""A moment in seconds since 1970, and an amount in wei."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayParts:
    """Amounts with their moments, to be divided by day."""

    settled: Sequence[Timed]
    claimed: Sequence[Timed]
    gas: Sequence[Timed]  # in the chain's own coin
    coin_price_wei: int
    charged: Sequence[Timed] = ()  # to prepaid keys, which is no part of the net
    x402: Sequence[Timed] = ()  # to x402 payers, which is none either


def first_midnight(since_s: float, *, now_s: float) -> float:
    """The first midnight at or after a moment, so that only whole days count; today's if there is none."""
    today = now_s // DAY_S
    return float(min(-(-since_s // DAY_S), today) * DAY_S)


def earning_days(parts: DayParts, *, since_s: float, now_s: float) -> list[dict[str, Any]]:
    """List every day since then, empty ones too; without `since_s`, from the first amount.

    An amount of unknown time belongs to the first day. A chain's clock may be ahead, and then it belongs to today.
    Gas in OPEN is the difference of rounded-down sums, because rounded-down parts would not sum to the total.

    Raises:
        MalformedError: there would be more than `DAYS_MAX` days.
    """
    today = int(now_s // DAY_S)
    amounts = (parts.settled, parts.claimed, parts.gas, parts.charged, parts.x402)
    known = (at_s for each in amounts for at_s, _ in each if at_s)
    first = min(int((since_s or min(known, default=now_s)) // DAY_S), today)
    num_days = today - first + 1
    if num_days > DAYS_MAX:
        raise MalformedError(f"{num_days:,} days are more than {DAYS_MAX:,}: choose a later time with --since")

    def by_day(amounts: Iterable[Timed]) -> list[int]:
        found = [0] * num_days
        for at_s, wei in amounts:
            found[min(max(int(at_s // DAY_S) - first, 0), num_days - 1)] += wei
        return found

    settled, claimed, gas = by_day(parts.settled), by_day(parts.claimed), by_day(parts.gas)
    charged, x402 = by_day(parts.charged), by_day(parts.x402)
    spent = [wei * parts.coin_price_wei // COIN_WEI for wei in accumulate(gas, initial=0)]
    gas_open = [after - before for before, after in pairwise(spent)]
    net = [sum(day) for day in zip(settled, claimed, (-wei for wei in gas_open), strict=True)]
    columns = (settled, claimed, gas, gas_open, net, accumulate(net), charged, x402)
    names = (
        "settled_wei",
        "claimed_wei",
        "gas_wei",
        "gas_open_wei",
        "net_wei",
        "total_wei",
        "charged_wei",
        "x402_wei",
    )
    return [
        {"day": rfc3339((first + place) * DAY_S)[:10], **dict(zip(names, map(str, day), strict=True))}
        for place, day in enumerate(zip(*columns, strict=True))
    ]
