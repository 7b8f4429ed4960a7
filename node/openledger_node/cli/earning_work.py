"""The lines of `earnings` about work: duty cycle, power, the models that were sold, and the range of a week."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..errors import InputError
from ..power import read_mean_power
from ..text import counted
from .daemon_client import load_settings, open_node_home
from .units import open_amount

SOURCES: Final = {"flag": "as given", "setting": "as set", "card": "as the card's driver reported"}
SOLD_SHOWN: Final = 8


def check_power(price: float | None, watts: float | None) -> None:
    """Require that a price or watts given on the command line find their other half.

    Raises:
        InputError: the other half is neither given nor set, and no driver has told any watts.
    """
    home = open_node_home()
    power = load_settings(home).power
    if price is not None and watts is None and not power.watts and read_mean_power(home) is None:
        raise InputError("--power-price needs --watts, or `openledger-node config set power.watts 220`")
    if watts is not None and price is None and not power.price_per_kwh:
        raise InputError("--watts needs --power-price, or `openledger-node config set power.price_per_kwh 0.30`")


def work_lines(found: dict[str, Any]) -> dict[str, str]:
    """Turn the work of a report into labelled lines; none for a report of money alone."""
    if "duty" not in found:
        return {}
    duty = found["duty"]
    lines = {
        "answering": f"{percent(duty['day']['share_ppm'])} of the last 24 hours, "
        f"{percent(duty['week']['share_ppm'])} of the last 7 days"
    }
    if power := found["power"]:
        lines["power"] = (
            f"{power['cost']:.2f} {power['currency'] or 'in your currency'}: {power['kwh']:.3f} kWh in the "
            f"{power['hours']:.2f} h in which the node answered, at {power['watts']:.0f} W, "
            f"{SOURCES[power['watts_from']]}; it is in no sum of OPEN"
        )
    for place, each in enumerate(found["sold"][:SOLD_SHOWN]):
        label = "sold" if place == 0 else f"sold {place + 1}"
        lines[label] = (
            f"{open_amount(each['amount_wei'])} gross for {counted(each['receipts'], 'answer')} of {model(each)}"
        )
    if (left := len(found["sold"]) - SOLD_SHOWN) > 0:
        lines["sold, rest"] = f"{counted(left, 'model')} more, in --json"
    return lines | _device_lines(found["devices"]) | _forecast_lines(found["forecast"])


def _device_lines(devices: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The answers of each device, if there is more than one; one alone has all that was sold."""
    if sum(each["device"] is not None for each in devices) < 2:
        return {}
    return {
        f"on {each['device'] or 'an unknown device'}": f"{open_amount(each['amount_wei'])} gross for "
        f"{counted(each['receipts'], 'answer')}"
        for each in devices
    }


def _forecast_lines(forecast: dict[str, Any] | None) -> dict[str, str]:
    if forecast is None:
        return {}
    if forecast["low_wei"] is None:
        missing = forecast["history_days_min"] - forecast["history_days"]
        return {"a week": f"no range yet: {counted(missing, 'whole day')} of history missing"}
    days, window = forecast["history_days"], forecast["window_days"]
    return {
        "a week": f"{_signed(forecast['low_wei'])} to {_signed(forecast['high_wei'])} net: the lowest and the "
        f"highest {window} days in a row of your last {days} days, which promise nothing"
    }


def model(each: dict[str, Any]) -> str:
    """The name of a model that was sold."""
    if each["adapter_id"] is None:
        return each["base"] or "the base"
    return each["adapter"] or f"{each['adapter_id'][:10]}…"


def percent(share_ppm: int) -> str:
    """Format a share as percent, cut after one decimal."""
    return f"{share_ppm // 1_000 / 10:.1f} %"


def _signed(wei: str) -> str:
    value = int(wei)
    return f"{'-' if value < 0 else ''}{open_amount(abs(value))}"
