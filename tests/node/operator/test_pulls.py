"""Pulls of bases and adapters in the daemon: progress, cancellation, failures, and the real process."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from support.fake_hub import FakeHub, fake_hub
from support.plain_adapter import write_adapter
from support.tiny import make_base

from openledger_node.errors import ConfigError, NodeError
from openledger_node.home import Home
from openledger_node.models.adapter_hub import STALE_S, discard_stale_partials
from openledger_node.models.adapters import find_adapter
from openledger_node.models.bases import FAKE_BASE, Base, find_base, folder_digest, write_base_json
from openledger_node.models.library import list_adapters
from openledger_node.operator import pulls as pulls_module
from openledger_node.operator.pulls import Hear, Line, Pull, Pulls, adapter_pulls, base_pulls
from openledger_protocol.errors import UnknownModelError

MB = 10**6


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


async def test_a_pull_tells_its_progress(autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch) -> None:
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


# ---- adapters, from peers with progress and from the hub in a process


FOUND = {"adapter": "lake@11111111", "digest": "0x11", "bytes": 30, "from_peer": "12D3Koo", "missing_versions": {}}


class Peers:
    """Peers that send the adapter `lake` in three parts, a second each; a thread tells them."""

    async def __call__(self, name: str, show: Callable[[int, int], None]) -> dict[str, Any]:
        if name != "lake":
            raise UnknownModelError(f"no peer offers {name!r}")
        for done in (0, 10, 20, 30):
            await trio.to_thread.run_sync(show, done, 30)
            await trio.sleep(1)
        return FOUND


async def test_a_pull_from_peers_tells_progress_and_result(home: Home, autojump_clock: trio.abc.Clock) -> None:
    pulls = adapter_pulls(home, FAKE_BASE, Peers())
    pulls.order("lake")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulls.run)
        await trio.sleep(2.5)
        found = pulls.to_plain()
        assert found is not None
        assert (found["state"], found["what"], found["done_bytes"]) == ("running", "downloading", 20)
        assert (found["total_bytes"], "adapter" in found) == (30, False)
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    found = pulls.to_plain()
    assert found is not None
    assert (found["state"], found["adapter"], found["received_bytes"]) == ("done", "lake@11111111", 30)
    assert (found["from_peer"], found["made_for"]) == ("12D3Koo", None)


@pytest.mark.parametrize("cancels", [True, False], ids=["cancelled", "the daemon stops"])
async def test_a_cancelled_pull_from_the_hub_leaves_no_parts_and_a_stopped_one_keeps_them(
    home: Home, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.abc.Clock, cancels: bool
) -> None:
    folder = home.adapters / ".hub-acme--lake"

    async def fetch(*_: Any) -> None:
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors.incomplete").write_bytes(b"half")
        await trio.sleep_forever()

    monkeypatch.setattr("openledger_node.operator.pulls.fetch_in_child", fetch)
    pulls = adapter_pulls(home, FAKE_BASE, Peers())
    pulls.order("acme/lake@main")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulls.run)
        await trio.sleep(1)
        if cancels:
            pulls.cancel()
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert folder.exists() is not cancels


def test_a_start_deletes_the_downloads_that_nobody_went_on_with(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, folders = 1_000_000.0, {}
    for name, written_s in {"old": now_s - STALE_S - 1, "fresh": now_s - STALE_S + 60}.items():
        folders[name] = home.adapters / f".hub-acme--{name}"
        (folders[name] / ".cache").mkdir(parents=True)
        part = folders[name] / ".cache/part.incomplete"
        part.write_bytes(b"half")
        for each, at_s in ((part, written_s), (part.parent, 0), (folders[name], 0)):
            os.utime(each, (at_s, at_s))
    (home.adapters / "lake@11111111").mkdir()
    assert discard_stale_partials(home, now_s=now_s) == 1
    assert sorted(each.name for each in home.adapters.iterdir()) == [".hub-acme--fresh", "lake@11111111"]

    def gone(folder: Path) -> float:
        """It ends while it is looked at."""
        raise FileNotFoundError(folder)

    monkeypatch.setattr("openledger_node.models.adapter_hub._written_s", gone)
    assert discard_stale_partials(home, now_s=1e12) == 0


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


@pytest.mark.process
@pytest.mark.parametrize(
    ("named", "made_for"),
    [("other/Tiny", None), ("acme/large", "acme/large")],
    ids=["the same by another owner", "another base"],
)
async def test_an_adapter_of_the_hub_is_checked_and_added(
    home: Home, hub: FakeHub, tmp_path: Path, named: str, made_for: str | None
) -> None:
    base = tiny_base(home)
    folder = write_adapter(base.folder, tmp_path / "lake", seed=1, targets=("q_proj",))
    config = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": named}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    hub.files["acme/lake"] = {file.name: file.read_bytes() for file in folder.iterdir()} | {"run.py": b"import os"}
    pulls = adapter_pulls(home, base, Peers())
    pulls.order("acme/lake")
    found = await run_to_the_end(pulls)
    assert found["state"] == "done", found
    assert (found["made_for"], found["from_peer"]) == (made_for, None)
    assert find_adapter(list_adapters(home), "lake").full_name == found["adapter"]
    assert "run.py" not in hub.fetched
    assert [each.name for each in home.adapters.iterdir()] == [found["adapter"]]


@pytest.mark.process
async def test_a_refused_adapter_of_the_hub_leaves_nothing(home: Home, hub: FakeHub, tmp_path: Path) -> None:
    base = tiny_base(home)
    wide = make_base(tmp_path / "wide", hidden_size=64, head_dim=16)
    folder = write_adapter(wide, tmp_path / "lake", seed=1, targets=("q_proj",))
    hub.files["acme/lake"] = {file.name: file.read_bytes() for file in folder.iterdir()}
    hub.files["acme/base"] = {"config.json": b"{}"}
    hub.claimed["acme/huge"] = {"adapter_config.json": 1, "adapter_model.safetensors": 3 << 30}
    hub.files["acme/huge"] = {}
    pulls = adapter_pulls(home, base, Peers())
    for name, why in [
        ("acme/lake", "64"),
        ("acme/base", "acme/base has no adapter_config.json and no adapter_model.safetensors"),
        ("acme/huge", "acme/huge has 3.2 GB, and an adapter may have 2.1 GB"),
        ("acme/a b", "'a b' can't be in the name of a repository"),
    ]:
        pulls.order(name)
        found = await run_to_the_end(pulls)
        assert (found["state"], why in found["why"]) == ("failed", True), found
    assert not list(home.adapters.iterdir())


def tiny_base(home: Home) -> Base:
    folder = make_base(home.models / "tiny")
    write_base_json(folder, name="tiny", digest=folder_digest(folder), source="acme/tiny")
    return find_base(home, "tiny")
