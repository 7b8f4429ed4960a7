"""A number with its noun."""

import pytest

from openledger_node.text import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 shares"), (1, "1 share"), (1234, "1,234 shares")])
def test_one_of_something_has_no_s(number: int, said: str) -> None:
    assert counted(number, "share") == said
