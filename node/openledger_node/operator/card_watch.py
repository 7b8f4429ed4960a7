"""Power and temperature of the graphics card, read in a thread of its own, so that a slow driver delays nobody."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..card import CARDS, NVIDIA_SMI, VENDORS

EVERY_S: Final = 10.0
OLD_S: Final = 40.0
"""A reading older than this is not shown: its driver no longer answers."""

TIMEOUT_S: Final = 5.0
QUERY: Final = ("--query-gpu=power.draw,temperature.gpu", "--format=csv,noheader,nounits")

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
CARD_ID: Final = re.compile(r"\d{1,3}|GPU-[0-9a-fA-F-]{1,40}", re.ASCII)
"""A card's number or UUID, as both CUDA and nvidia-smi take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardReading:
    """Figures of the engine's card; None where its driver does not tell."""

    power_w: float | None = None
    temperature_c: float | None = None


NOTHING: Final = CardReading()


class CardWatch:
    """Keeps the newest reading. At most one reader runs, and it starts when a reading is wanted and old."""

    def __init__(
        self, read: Callable[[], CardReading] | None = None, *, elapsed_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read or read_card
        self._elapsed_s = elapsed_s
        self._newest, self._newest_at_s = NOTHING, float("-inf")
        self._asked_at_s = float("-inf")
        self._thread: threading.Thread | None = None

    def newest(self) -> CardReading:
        """The newest reading, at once; an empty one before the first, and if the newest is too old."""
        now_s = self._elapsed_s()
        newest = self._newest if now_s - self._newest_at_s <= OLD_S else NOTHING
        is_busy = self._thread is not None and self._thread.is_alive()
        if not is_busy and now_s - self._asked_at_s >= EVERY_S:
            self._asked_at_s = now_s
            self._thread = threading.Thread(target=self._look, name="card-watch", daemon=True)
            self._thread.start()
        return newest

    def _look(self) -> None:
        reading = self._read()
        self._newest, self._newest_at_s = reading, self._elapsed_s()

    def join(self) -> None:
        """Wait for the reader, if one runs."""
        if self._thread:
            self._thread.join(2 * TIMEOUT_S)


def read_card() -> CardReading:
    """Ask the driver of the engine's card; empty without a card, or if its driver does not answer."""
    if (program := shutil.which(NVIDIA_SMI)) is not None:
        return _read_nvidia(program)
    return _read_amd(CARDS)


def _read_nvidia(program: str) -> CardReading:
    try:
        command = [program, *QUERY, f"--id={_card_id()}"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return NOTHING
    power, _, temperature = run.stdout.partition("\n")[0].partition(",")
    return CardReading(power_w=_figure(power), temperature_c=_figure(temperature))


def _card_id() -> str:
    """The first card that CUDA shows the engine."""
    first = os.environ.get(VISIBLE, "").partition(",")[0].strip()
    return first if CARD_ID.fullmatch(first) else "0"


def _read_amd(cards: Path) -> CardReading:
    """The sensors that Linux has beside each card: microwatts, and thousandths of a degree."""
    for card in sorted(cards.glob("card*")):
        if VENDORS.get(_text(card / "device" / "vendor")) != "amd":
            continue
        for sensors in sorted((card / "device" / "hwmon").glob("hwmon*")):
            power = _figure(_text(sensors / "power1_average") or _text(sensors / "power1_input"), 1e6)
            temperature = _figure(_text(sensors / "temp1_input"), 1e3)
            return CardReading(power_w=power, temperature_c=temperature)
    return NOTHING


def _figure(text: str, scale: float = 1.0) -> float | None:
    """A figure of a driver; None for `[N/A]` and what is no positive number."""
    try:
        value = float(text) / scale
    except ValueError:
        return None
    return round(value, 1) if 0 < value < 100_000 else None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
