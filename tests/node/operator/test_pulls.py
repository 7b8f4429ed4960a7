"""Pulls in the daemon: progress, cancellation, failures, and the real process of a pull of a base."""

from pathlib import Path

import pytest
import trio
from support.fake_hub import FakeHub
from support.tiny import make_base

from openledger_node.errors import ConfigError, NodeError
from openledger_node.home import Home
from openledger_node.models.bases import find_base
from openledger_node.operator import pulls as pulls_module
from openledger_node.operator.pulls import Hear, Line, Pull, Pulls, base_pulls

from .conftest import run_to_the_end

MB = 10**6


class ScriptedFetch:
    """Reports the given lines, one each second, and keeps the orders."""

    def __init__(self, *lines: Line | Exception, is_endless: bool = False) -> None:
        self.lines, self.is_endless = lines, is_endless
        self.orders: list[tuple[str, bool]] = []

    async def __call__(self, pull: Pull, hear: Hear) -> None:
        self.orders.append((pull.name, pull.anyway))
        for line in self.lines:
            await trio.sleep(1)
            if isinstance(line, Exception):
                raise line
            hear(line)
        if self.is_endless:
            await trio.sleep_forever()


def downloading(done: int, total: int = 100) -> Line:
    return {"what": "downloading", "done": done * MB, "total": total * MB}


@pytest.mark.parametrize("name", ["  ", "a\nb"])
def test_what_is_no_name_is_refused(name: str) -> None:
    pulls = Pulls("base", ScriptedFetch())
    with pytest.raises(ConfigError, match="is not a name: give OWNER/NAME"):
        pulls.order(name)


async def test_a_pull_tells_size_rate_and_time_left(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls_module, "monotonic", trio.current_time)
    pulls = Pulls("base", ScriptedFetch(downloading(0), downloading(10), downloading(40), is_endless=True))
    pulls.order("acme/tiny")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulls.run)
        await trio.sleep(3.5)
        found = pulls.to_plain()
        nursery.cancel_scope.cancel()
    assert found is not None
    assert (found["done_bytes"], found["total_bytes"]) == (40 * MB, 100 * MB)
    assert (found["bytes_per_s"], found["left_s"]) == (16 * MB, 4)


async def test_a_finished_pull_names_its_base(autojump_clock: trio.abc.Clock) -> None:
    pulls = Pulls("base", ScriptedFetch(downloading(100), {"base": "acme--tiny"}))
    pulls.order(" acme/tiny ")
    found = await run_to_the_end(pulls)
    assert (found["state"], found["name"], found["base"]) == ("done", "acme/tiny", "acme--tiny")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"error": "acme/tiny is gated"}, "acme/tiny is gated"),
        (NodeError("no process"), "no process"),
        (ValueError("Expecting value"), ""),
        (downloading(1), "the download ended without a word"),
    ],
)
async def test_a_failed_pull_says_why_and_is_not_tried_again(
    autojump_clock: trio.abc.Clock, line: Line | Exception, says: str
) -> None:
    pulls = Pulls("base", ScriptedFetch(line))
    pulls.order("acme/tiny")
    found = await run_to_the_end(pulls)
    assert (found["state"], says in found["why"]) == ("failed", True)


async def test_a_second_pull_waits_for_a_cancellation(autojump_clock: trio.abc.Clock) -> None:
    fetch = ScriptedFetch(downloading(1), is_endless=True)
    pulls = Pulls("base", fetch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulls.run)
        pulls.order("acme/tiny")
        await trio.sleep(2)
        with pytest.raises(ConfigError, match="acme/tiny is being pulled: wait until that has ended, or cancel it"):
            pulls.order("acme/other")
        pulls.cancel()
        found = pulls.to_plain()
        assert found is not None
        assert found["state"] == "cancelled"
        pulls.order("acme/other", anyway=True)
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert fetch.orders == [("acme/tiny", False), ("acme/other", True)]


# ---- the real process


@pytest.mark.process
async def test_a_repository_is_pulled_in_a_process_of_its_own(home: Home, hub: FakeHub, tmp_path: Path) -> None:
    hub.files["acme/tiny"] = {file.name: file.read_bytes() for file in make_base(tmp_path / "base").iterdir()}
    pulls = base_pulls(home)
    pulls.order("acme/tiny")
    found = await run_to_the_end(pulls)
    assert (found["state"], found["base"]) == ("done", "acme--tiny"), found
    assert find_base(home, "acme--tiny").source == "acme/tiny"
    pulls.order("acme/none")
    found = await run_to_the_end(pulls)
    assert (found["state"], "the hub has no such repository, or it is private" in found["why"]) == ("failed", True)
