"""Power and temperature of a card: a stand-in driver, a broken one, a slow one, and none."""

import threading
from pathlib import Path

import pytest

from openledger_node.operator import card_watch
from openledger_node.operator.card_watch import NOTHING, OLD_S, VISIBLE, CardReading, CardWatch, read_card

READING = CardReading(power_w=212.4, temperature_c=61.0)


def stand_in(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ('echo "212.42, 61"', READING),
        ('echo "212.42, 61"; echo "9.00, 30"', READING),
        ('echo "[N/A], 61"', CardReading(temperature_c=61.0)),
        ('echo "nan, inf"', NOTHING),
        ('echo "no devices were found"; exit 6', NOTHING),
        ("exec true", NOTHING),
        ("exec sleep 5", NOTHING),
    ],
)
def test_the_driver_of_an_nvidia_card_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: CardReading
) -> None:
    monkeypatch.setattr(card_watch, "TIMEOUT_S", 0.2 if "sleep" in script else 5.0)
    stand_in(tmp_path, script, monkeypatch)
    assert read_card() == found


@pytest.mark.parametrize(
    ("visible", "asked"),
    [
        (None, "0"),
        ("", "0"),
        ("2", "2"),
        (" 3 ,1", "3"),
        ("GPU-8f6c1b2a-0000-4000-8000-0123456789ab,0", "GPU-8f6c1b2a-0000-4000-8000-0123456789ab"),
        ("-1", "0"),
        ("all", "0"),
    ],
)
def test_the_card_that_cuda_shows_the_engine_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, asked: str
) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    stand_in(tmp_path, f'case "$*" in *" --id={asked}") echo "212.42, 61";; esac', monkeypatch)
    assert read_card() == READING


def test_linux_tells_the_figures_of_an_amd_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_watch, "CARDS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_card() == NOTHING
    sensors = tmp_path / "card0" / "device" / "hwmon" / "hwmon3"
    sensors.mkdir(parents=True)
    (tmp_path / "card0" / "device" / "vendor").write_text("0x1002\n")
    assert read_card() == NOTHING
    (sensors / "power1_average").write_text("212400000\n")
    (sensors / "temp1_input").write_text("61000\n")
    assert read_card() == READING


def test_a_slow_driver_delays_nobody_and_is_asked_once_at_a_time() -> None:
    answers, asked, now_s = threading.Event(), [], [0.0]

    def read() -> CardReading:
        asked.append(now_s[0])
        answers.wait(10)
        return READING

    watch = CardWatch(read, elapsed_s=lambda: now_s[0])
    assert watch.newest() == NOTHING
    now_s[0] = 30.0
    assert watch.newest() == NOTHING
    answers.set()
    watch.join()
    assert watch.newest() == READING
    watch.join()
    now_s[0] = 35.0
    assert watch.newest() == READING
    assert asked == [0.0, 30.0]


def test_an_old_reading_is_not_shown() -> None:
    now_s = [0.0]
    watch = CardWatch(lambda: READING, elapsed_s=lambda: now_s[0])
    watch.newest()
    watch.join()
    assert watch.newest() == READING
    now_s[0] = OLD_S + 1
    assert watch.newest() == NOTHING
    watch.join()
