"""Power of the machine: the owner's currency, and the mean that the card's driver reported during answers."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .errors import ConfigError
from .home import Home, write_private
from .setting import setting
from .text import on_one_line

CURRENCY_MAX: Final = 8
SAMPLES_MAX: Final = 360
"""Samples that the mean remembers: an hour of answering."""

NOTE_EVERY_S, WRITE_EVERY_S = 10.0, 60.0
FILE: Final = "power.json"

log = logging.getLogger(__name__)


def read_currency(text: str) -> str:
    """Check the name of a currency.

    Raises:
        ConfigError: it is too long, or can't be printed on one line.
    """
    if len(text) > CURRENCY_MAX or on_one_line(text) != text or not text.isprintable():
        raise ConfigError(
            f"{text!r} is not the name of a currency: write up to {CURRENCY_MAX} characters, such as EUR"
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerConfig:
    """The price of electricity, for `earnings`. It is in your own currency, and no sum of OPEN contains it."""

    price_per_kwh: float = setting(
        0.0, "Price of one kWh in your currency; 0: power is not counted.", low=0.0, high=1_000_000.0
    )
    currency: str = setting("", "Name of your currency, such as EUR, of at most 8 characters.", read=read_currency)
    watts: float = setting(
        0.0,
        "Watts that this machine draws more while it answers; 0 takes the mean that the card's driver has told.",
        low=0.0,
        high=100_000.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanPower:
    """The mean power of the card while the node answered."""

    watts: float
    samples: int


def read_mean_power(home: Home) -> MeanPower | None:
    """The mean that the last daemon has written; None if no driver has told any."""
    try:
        kept = json.loads((home.cache / FILE).read_text(encoding="utf-8"))
        found = MeanPower(watts=float(kept["watts"]), samples=int(kept["samples"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if 0 < found.watts < 100_000 and found.samples > 0 else None


class PowerMeter:
    """Averages the card's power over the last hour of answering, and keeps the mean across restarts."""

    def __init__(self, home: Home, *, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._elapsed_s = elapsed_s
        self._mean = read_mean_power(home)
        self._note_at_s = self._write_at_s = float("-inf")

    def note(self, busy_watts: float | None) -> None:
        """Take a sample while the node answers; None while it does not, or where no driver tells. Blocks."""
        now = self._elapsed_s()
        if busy_watts is None or now < self._note_at_s:
            return
        self._note_at_s = now + NOTE_EVERY_S
        before = self._mean or MeanPower(watts=busy_watts, samples=0)
        samples = min(before.samples + 1, SAMPLES_MAX)
        self._mean = MeanPower(watts=before.watts + (busy_watts - before.watts) / samples, samples=samples)
        if now >= self._write_at_s:
            self._write_at_s = now + WRITE_EVERY_S
            self._write(self._mean)

    def _write(self, mean: MeanPower) -> None:
        try:
            text = json.dumps({"watts": round(mean.watts, 1), "samples": mean.samples})
            write_private(self._home.cache / FILE, f"{text}\n", is_new=False)
        except OSError as error:  # the mean is a convenience, and a full disk has louder alarms
            log.debug("the mean power is not kept: %s", error)
