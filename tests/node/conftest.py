"""The clock of a file whose tests all jump in time: `pytestmark = pytest.mark.usefixtures("autojump_clock")`."""

from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

import pytest
import trio


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give pytest-trio the clock of such a test: it looks for one in the arguments alone."""
    if isinstance(item, pytest.Function) and iscoroutinefunction(item.obj) and "autojump_clock" in item.fixturenames:
        item.add_marker(pytest.mark.trio(run=partial(_run_on_its_clock, item)))


def _run_on_its_clock(item: pytest.Function, main: Callable[..., Any], **options: Any) -> Any:
    return trio.run(main, **{**options, "clock": item.funcargs["autojump_clock"]})
