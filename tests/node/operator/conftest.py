from collections.abc import Iterator
from typing import Any

import pytest
import trio
from support.fake_hub import FakeHub, fake_hub

from openledger_node.operator.pulls import Pulls


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that the processes of this test ask."""
    with fake_hub() as hub:
        for name, value in hub.environment.items():
            monkeypatch.setenv(name, value)
        yield hub


async def run_to_the_end(pulls: Pulls) -> dict[str, Any]:
    """Run a daemon's pulls until the one that was ordered has ended, and return its state."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulls.run)
        while pulls.is_running:  # noqa: ASYNC110  # the daemon needs no event of its end
            await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    found = pulls.to_plain()
    assert found is not None
    return found
