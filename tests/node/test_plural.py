"""A number with its noun, and a length of time."""

import pytest

from openledger_node.text import counted, duration_text


@pytest.mark.parametrize(("number", "said"), [(0, "0 shares"), (1, "1 share"), (1234, "1,234 shares")])
def test_one_of_something_has_no_s(number: int, said: str) -> None:
    assert counted(number, "share") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (3_600, "1 h"),
        (259_200, "3 d"),
        (93_784, "1 d 2 h 3 min 4 s"),
        (86_460, "1 d 1 min"),
    ],
)
def test_a_length_of_time_is_exact(seconds: int, said: str) -> None:
    assert duration_text(seconds) == said
