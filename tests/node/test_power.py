"""The mean power of answering: over the newest samples, kept across restarts, and never a reason to fail."""

import pytest

from openledger_node import power
from openledger_node.config import load_config
from openledger_node.errors import ConfigError, DiskError
from openledger_node.home import Home
from openledger_node.power import SAMPLES_MAX, PowerMeter, read_currency, read_mean_power


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_mean_is_that_of_answering_and_outlives_the_daemon(home: Home) -> None:
    clock = Clock()
    meter = PowerMeter(home, elapsed_s=clock)
    for watts in (100.0, None, 200.0):
        meter.note(watts)
        meter.note(9_999.0 if watts else None)  # within ten seconds of a sample, another one counts for nothing
        clock.now_s += 61.0
    found = read_mean_power(home)
    assert found is not None
    assert (found.watts, found.samples) == (150.0, 2)
    PowerMeter(home, elapsed_s=clock).note(300.0)
    assert (mean := read_mean_power(home)) is not None
    assert (mean.watts, mean.samples) == (200.0, 3)


def test_the_mean_follows_the_newest_hour(home: Home) -> None:
    clock = Clock()
    meter = PowerMeter(home, elapsed_s=clock)
    for watts in [100.0] * SAMPLES_MAX + [200.0] * 8 * SAMPLES_MAX:
        meter.note(watts)
        clock.now_s += 61.0 if watts == 200.0 else 10.0
    found = read_mean_power(home)
    assert found is not None
    assert found.samples == SAMPLES_MAX
    assert found.watts > 199


@pytest.mark.parametrize("text", ["", "{", '{"watts": -5, "samples": 2}', '{"watts": "x", "samples": 1}', "[]"])
def test_a_damaged_file_counts_as_none(home: Home, text: str) -> None:
    home.cache.mkdir(parents=True)
    (home.cache / power.FILE).write_text(text)
    assert read_mean_power(home) is None


def test_a_full_disk_ends_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DiskError(28, "the disk is full")

    monkeypatch.setattr(power, "write_private", refuse)
    PowerMeter(home).note(100.0)
    assert read_mean_power(home) is None


@pytest.mark.parametrize("text", ["ninechars", "a\nb", "\x1b[2J", "\u202eEUR"])
def test_a_currency_is_a_short_printable_word(text: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a currency"):
        read_currency(text)
    assert read_currency("EUR") == "EUR"


def test_the_settings_are_off_by_default_and_bounded(home: Home) -> None:
    config = load_config(home.config_file, environment={})[0].power
    assert (config.price_per_kwh, config.currency, config.watts) == (0.0, "", 0.0)
    home.config_file.write_text("[power]\nprice_per_kwh = -0.3\n")
    with pytest.raises(ConfigError, match="the least is 0"):
        load_config(home.config_file, environment={})
