"""The hours at which a node may serve."""

import pytest

from openledger_node.errors import ConfigError
from openledger_node.hours import DAYS, read_hours


def at(day: str, clock: str) -> int:
    hour, minute = clock.split(":")
    return DAYS.index(day) * 1440 + int(hour) * 60 + int(minute)


@pytest.mark.parametrize(
    ("text", "day", "clock", "is_open"),
    [
        ("", "tue", "12:00", True),
        ("22:00-07:00", "tue", "06:59", True),
        ("22:00-07:00", "tue", "07:00", False),
        ("22:00-07:00", "sun", "22:00", True),
        ("mon-fri 18:00-23:00, sat-sun", "wed", "18:00", True),
        ("mon-fri 18:00-23:00, sat-sun", "wed", "23:00", False),
        ("mon-fri 18:00-23:00, sat-sun", "sat", "04:00", True),
        ("sat-mon 10:00-11:00", "tue", "10:30", False),
        ("sun 23:00-01:00", "mon", "00:30", True),
        ("00:00-24:00", "thu", "13:00", True),
        ("09:00-09:00", "thu", "03:00", True),
    ],
)
def test_hours_say_when_a_node_serves(text: str, day: str, clock: str, is_open: bool) -> None:
    assert read_hours(text).is_open(at(day, clock)) is is_open


@pytest.mark.parametrize("text", ["25:00-03:00", "22:60-23:00", "someday", "24:30-01:00", "mon 9:00"])
def test_what_is_no_hours_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="isn't a time window: write `22:00-07:00`"):
        read_hours(text)


def test_hours_say_how_long_it_stays_so() -> None:
    hours = read_hours("22:00-07:00")
    assert hours.minutes_until_change(at("mon", "21:00")) == 60
    assert hours.minutes_until_change(at("mon", "22:00")) == 540
    assert read_hours("").minutes_until_change(0) is None
