"""Earnings by day of UTC: each day's part of the totals, so that the parts sum to them exactly."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    income: Mapping[str, Sequence[Timed]] = field(default_factory=dict)  # in the net, beside this node's own part
    costs: Mapping[str, Sequence[Timed]] = field(default_factory=dict)  # in the net, as amounts to subtract

    @property
    def amounts(self) -> tuple[Sequence[Timed], ...]:
        """All amounts."""
        beside = (*self.income.values(), *self.costs.values())
        return (self.settled, self.claimed, self.gas, *beside)


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
    known = (at_s for each in parts.amounts for at_s, _ in each if at_s)
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
    income = {name: by_day(amounts) for name, amounts in parts.income.items()}
    costs = {name: by_day(amounts) for name, amounts in parts.costs.items()}
    spent = [wei * parts.coin_price_wei // COIN_WEI for wei in accumulate(gas, initial=0)]
    gas_open = [after - before for before, after in pairwise(spent)]
    plus, minus = [settled, claimed, *income.values()], [gas_open, *costs.values()]
    net = [sum(day[0]) - sum(day[1]) for day in zip(zip(*plus, strict=True), zip(*minus, strict=True), strict=True)]
    columns = {
        "settled_wei": settled,
        "claimed_wei": claimed,
        **income,
        **costs,
        "gas_wei": gas,
        "gas_open_wei": gas_open,
        "net_wei": net,
        "total_wei": list(accumulate(net)),
    }
    return [
        {
            "day": rfc3339((first + place) * DAY_S)[:10],
            **{name: str(amounts[place]) for name, amounts in columns.items()},
        }
        for place in range(num_days)
    ]
