"""The work behind the earnings: time of answering, cost of power, models sold, and the range of a week."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import BASE_ONLY, AdapterId

from ..config import load_config
from ..home import Home
from ..ledger.activity import Activity, Sold, added
from ..power import PowerConfig, read_mean_power
from ..settlement.session import NetworkSession
from ..text import since_of
from .earning_days import DAY_S, first_midnight

NS: Final = 10**9
PPM: Final = 1_000_000
SPANS: Final = {"day": DAY_S, "week": 7 * DAY_S}

WINDOW_DAYS: Final = 7
HISTORY_DAYS_MIN: Final = 14
LOOK_BACK: Final = "31d"
"""Thirty whole days and today, which is not over and counts in no window."""

ReportEarnings = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def work_report(
    home: Home, session: NetworkSession, earnings: ReportEarnings, given: Mapping[str, Any], *, now_s: float
) -> dict[str, Any]:
    """Report work since `given["since"]`, or all; the range of a week too if `given["forecast"]`.

    By day, the work is that of the same whole days as the earnings.

    The amounts of `sold` and of `devices` are gross. Both sum to the receipts that the node has issued since then.

    Raises:
        MalformedError: an argument is invalid.
        ChainError: the chain can't be asked.
    """
    since_s, activity = since_of(given.get("since"), now_s=now_s), session.ledger.activity
    if given.get("by") == "day":
        since_s = first_midnight(since_s, now_s=now_s)
    busy_ns = activity.busy_ns(since_ns=int(since_s * NS), until_ns=int(now_s * NS))
    sold = activity.sold(session.accounts.wallet, since_s=since_s)
    return {
        "duty": duty_to_plain(activity, now_s=now_s),
        "power": power_to_plain(home, given, busy_ns=busy_ns),
        "sold": [sold_to_plain(each) for each in _by_model(sold)],
        "devices": devices_to_plain(sold),
        "sold_wei": str(sum(each.amount_wei for each in sold)),
        "forecast": _forecast(activity, earnings, now_s) if given.get("forecast") else None,
    }


def duty_to_plain(activity: Activity, *, now_s: float) -> dict[str, Any]:
    """The time of the last day and week in which the node answered, for JSON; the share is rounded down."""
    busy = {
        name: activity.busy_ns(since_ns=int((now_s - span_s) * NS), until_ns=int(now_s * NS))
        for name, span_s in SPANS.items()
    }
    return {
        name: {"busy_s": round(busy[name] / NS, 3), "share_ppm": busy[name] * PPM // (span_s * NS)}
        for name, span_s in SPANS.items()
    }


def power_to_plain(home: Home, given: Mapping[str, Any], *, busy_ns: int) -> dict[str, Any] | None:
    """The cost of power in the owner's currency for JSON; None if its price or the watts are not known.

    Given values override the settings, and these override the mean that the card's driver reported.

    Raises:
        MalformedError: a figure is no number, or below zero.
    """
    config = load_config(home.config_file)[0].power
    price = _figure(given, "power_price")
    price = config.price_per_kwh if price is None else price
    watts, source = _watts(home, _figure(given, "watts"), config)
    if not price or not watts:
        return None
    hours = busy_ns / NS / 3_600
    kwh = hours * watts / 1_000
    return {
        "hours": round(hours, 6),
        "watts": watts,
        "watts_from": source,
        "kwh": round(kwh, 6),
        "price_per_kwh": price,
        "currency": config.currency or None,
        "cost": round(kwh * price, 6),
    }


def _by_model(sold: Sequence[Sold]) -> list[Sold]:
    """The receipts of each model on all devices, those that brought most first."""
    found: dict[tuple[str | None, AdapterId], Sold] = {}
    for each in sold:
        key = each.base, each.adapter_id
        found[key] = added(found[key], each) if key in found else each
    return sorted(found.values(), key=lambda each: -each.amount_wei)


def devices_to_plain(sold: Sequence[Sold]) -> list[dict[str, Any]]:
    """The receipts of each device for JSON, those that brought most first; null is a device that is not known."""
    found: dict[str | None, Sold] = {}
    for each in sold:
        found[each.device] = added(found[each.device], each) if each.device in found else each
    return [
        {
            "device": each.device,
            "receipts": each.num_receipts,
            "tokens_out": each.tokens_out,
            "amount_wei": str(each.amount_wei),
        }
        for each in sorted(found.values(), key=lambda each: -each.amount_wei)
    ]


def sold_to_plain(sold: Sold) -> dict[str, Any]:
    """The receipts of one model for JSON."""
    return {
        "base": sold.base,
        "adapter_id": None if sold.adapter_id == BASE_ONLY else sold.adapter_id,
        "adapter": sold.adapter_name,
        "receipts": sold.num_receipts,
        "tokens_out": sold.tokens_out,
        "amount_wei": str(sold.amount_wei),
    }


def _watts(home: Home, given: float | None, config: PowerConfig) -> tuple[float | None, str | None]:
    if given is not None:
        return given, "flag"
    if config.watts:
        return config.watts, "setting"
    mean = read_mean_power(home)
    return (mean.watts, "card") if mean else (None, None)


def _figure(given: Mapping[str, Any], name: str) -> float | None:
    if given.get(name) is None:
        return None
    try:
        value = float(given[name])
    except (TypeError, ValueError) as error:
        raise MalformedError(f"{name} is a number") from error
    if not 0 <= value < 1e9:
        raise MalformedError(f"{name} is {value}: write a number from 0 on")
    return value


def _forecast(activity: Activity, earnings: ReportEarnings, now_s: float) -> dict[str, Any]:
    first_ns = activity.first_job_ns()
    # The day of the first request was no whole one.
    num_history = 0 if first_ns is None else int(now_s // DAY_S) - int(first_ns // (DAY_S * NS)) - 1
    days = earnings({"since": LOOK_BACK, "by": "day"})["days"]
    return weekly_range(days, num_history=num_history)


def weekly_range(days: Sequence[Mapping[str, Any]], *, num_history: int) -> dict[str, Any]:
    """The lowest, the median and the highest net of seven days in a row, in wei, for JSON.

    Args:
        days: The rows of `earnings --by day`, the oldest first and today last.
        num_history: The number of whole days since the first request; days before it count in no window.
    """
    whole = days[:-1][-num_history:] if num_history > 0 else []
    found: dict[str, Any] = {
        "history_days": len(whole),
        "history_days_min": HISTORY_DAYS_MIN,
        "window_days": WINDOW_DAYS,
        "windows": 0,
        "low_wei": None,
        "median_wei": None,
        "high_wei": None,
    }
    if len(whole) < HISTORY_DAYS_MIN:
        return found
    net = [int(day["net_wei"]) for day in whole]
    sums = sorted(sum(net[begin : begin + WINDOW_DAYS]) for begin in range(len(net) - WINDOW_DAYS + 1))
    return {
        **found,
        "windows": len(sums),
        "low_wei": str(sums[0]),
        "median_wei": str(sums[(len(sums) - 1) // 2]),
        "high_wei": str(sums[-1]),
    }
