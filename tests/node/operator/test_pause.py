"""A node that stands aside: for its owner, out of its hours, and for others; and how it goes on."""

import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio

from openledger_node.config import LimitsConfig
from openledger_node.errors import ConfigError, DiskError
from openledger_node.home import Home
from openledger_node.hours import DAYS, read_hours
from openledger_node.operator.kept_pause import read_pause
from openledger_node.operator.pause import BRIEF_S, QUIET_S, Grace, Pauses

GAME = "game (process 7) uses 3.2 GB of the GPU"
MONDAY_NOON = time.struct_time((2026, 11, 23, 12, 0, 0, 0, 327, 0))


@dataclass
class Serving:
    """Answers that run, as the desk sees them."""

    paused: str | None = None
    idle: trio.Event = field(default_factory=trio.Event)

    async def wait_idle(self) -> None:
        await self.idle.wait()


@dataclass
class Engine:
    """Whether the engine holds memory."""

    is_resting: bool = False

    def rest(self) -> None:
        self.is_resting = True

    def wake(self) -> None:
        self.is_resting = False


@dataclass
class Node:
    home: Home
    serving: Serving = field(default_factory=Serving)
    engine: Engine = field(default_factory=Engine)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    seen: str | None = None  # on the GPU, of others
    local: time.struct_time = MONDAY_NOON
    now_s: float = 1_000_000.0

    def look(self) -> str | None:
        return self.seen

    def desk(self) -> Pauses:
        return Pauses(
            self.home,
            self.serving,  # type: ignore[arg-type]
            self.engine,  # type: ignore[arg-type]
            limits=self,  # type: ignore[arg-type]
            drain_s=30.0,
            look=self.look,
            now_s=lambda: self.now_s,
            local=lambda _: self.local,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Pauses]:
        desk = self.desk()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.run)
            await trio.sleep(0.1)
            yield desk
            nursery.cancel_scope.cancel()


@pytest.fixture
def node(home: Home) -> Node:
    made = Node(home)
    made.serving.idle.set()
    return made


async def until(is_reached: Callable[[], bool], within_s: float) -> None:
    with trio.fail_after(within_s):
        while not is_reached():  # noqa: ASYNC110  # nothing tells when
            await trio.sleep(0.01)


async def test_a_pause_takes_no_request_at_once_and_gives_memory_back(node: Node, autojump_clock: object) -> None:
    async with node.running() as desk:
        pause = desk.pause()
        assert node.serving.paused == pause.why
        await until(lambda: node.engine.is_resting, 0.1)
        desk.resume()
        assert node.serving.paused is None
        assert not node.engine.is_resting


async def test_an_engine_resumed_at_the_last_moment_stays_awake(node: Node, autojump_clock: object) -> None:
    node.serving.idle = trio.Event()
    async with node.running() as desk:
        desk.pause(grace="drain")
        await trio.sleep(1)
        node.serving.idle.set()
        desk.resume()  # before the pause has seen that nothing runs any more
        await trio.sleep(1)
        assert not node.engine.is_resting


@pytest.mark.parametrize(("grace", "grace_s"), [("none", 0.0), ("brief", BRIEF_S), ("drain", 30.0)])
async def test_what_runs_has_its_grace_and_no_more(
    node: Node, autojump_clock: object, grace: Grace, grace_s: float
) -> None:
    node.serving.idle = trio.Event()
    async with node.running() as desk:
        began_s = trio.current_time()
        desk.pause(grace=grace)
        await until(lambda: node.engine.is_resting, 31)
        assert trio.current_time() - began_s == pytest.approx(grace_s, abs=0.1)


async def test_a_waiting_pause_ends_in_three_ways(node: Node, autojump_clock: object) -> None:
    node.serving.idle = trio.Event()
    async with node.running() as desk:
        desk.pause(grace="drain")
        await trio.sleep(5)
        desk.resume()
        await trio.sleep(60)
        assert not node.engine.is_resting
        desk.pause(grace="drain")
        await trio.sleep(5)
        desk.pause(grace="none")
        await until(lambda: node.engine.is_resting, 0.1)
        desk.resume()
        desk.pause(grace="drain")
        await trio.sleep(20)
        assert not node.engine.is_resting
        node.serving.idle.set()
        await until(lambda: node.engine.is_resting, 0.1)


async def test_a_look_for_other_programs_that_hangs_holds_up_no_pause(node: Node) -> None:
    """nvidia-smi takes seconds while a card is busy, which is when its owner wants it back."""
    node.limits = replace(node.limits, pause_when_busy=True)
    looks, is_over = threading.Event(), threading.Event()

    def hang() -> str | None:
        looks.set()
        is_over.wait(10)
        return None

    node.look = hang  # type: ignore[method-assign]
    try:
        async with node.running() as desk:
            await until(looks.is_set, 5)
            desk.pause()
            await until(lambda: node.engine.is_resting, 5)
            is_over.set()
    finally:
        is_over.set()


async def test_a_pause_outlives_the_daemon_until_it_is_resumed(node: Node, autojump_clock: object) -> None:
    async with node.running() as desk:
        desk.pause()
    again = Node(node.home).desk()
    assert again.current is not None
    again.start()
    assert again._engine.is_resting  # type: ignore[attr-defined]
    again.resume()
    assert Node(node.home).desk().current is None


async def test_a_pause_until_a_moment_ends_by_itself(node: Node, autojump_clock: object) -> None:
    async with node.running() as desk:
        desk.pause(until_s=node.now_s + 60)
        await until(lambda: node.engine.is_resting, 10)
        node.now_s += 61
        await until(lambda: not node.engine.is_resting, 2)
    assert read_pause(node.home) is None


async def test_a_game_pauses_the_node_until_a_while_after_its_end(node: Node, autojump_clock: object) -> None:
    node.serving.idle = trio.Event()  # whatever runs
    async with node.running() as desk:
        node.seen = GAME
        await trio.sleep(10)
        assert desk.current is None, "its owner has not asked for that"
        node.limits = replace(node.limits, pause_when_busy=True)
        await until(lambda: desk.current is not None, 2)
        assert desk.current is not None
        assert (desk.current.by, desk.current.why) == (
            "busy",
            "this node is paused while game (process 7) uses 3.2 GB of the GPU",
        )
        await until(lambda: node.engine.is_resting, 1)
        node.seen = None
        await trio.sleep(QUIET_S - 10)
        assert desk.current is not None
        node.seen = GAME  # its return begins the quiet anew
        await trio.sleep(2)
        node.seen = None
        await trio.sleep(QUIET_S - 10)
        assert desk.current is not None
        await until(lambda: desk.current is None, 15)
        assert not node.engine.is_resting


async def test_a_resume_overrules_a_game_until_the_next_one(node: Node, autojump_clock: object) -> None:
    node.limits = replace(node.limits, pause_when_busy=True)
    node.seen = GAME
    async with node.running() as desk:
        await until(lambda: desk.current is not None, 2)
        desk.resume()
        await trio.sleep(10)
        assert desk.current is None
        node.seen = None
        await trio.sleep(QUIET_S + 5)
        node.seen = GAME
        await until(lambda: desk.current is not None, 2)


async def test_an_owner_overrules_the_hours_until_they_change(node: Node, autojump_clock: object) -> None:
    node.limits = replace(node.limits, hours="13:00-14:00")
    async with node.running() as desk:
        assert desk.current is not None
        assert (desk.current.by, desk.current.until_s) == ("hours", 1_000_000 // 60 * 60 + 3_600)
        desk.resume()
        await trio.sleep(5)
        assert desk.current is None
        node.local = time.struct_time((2026, 11, 23, 13, 30, 0, 0, 327, 0))
        await trio.sleep(5)
        node.local = time.struct_time((2026, 11, 23, 14, 0, 0, 0, 327, 0))
        await until(lambda: desk.current is not None, 2)


def test_a_pause_file_that_cannot_be_read_is_a_pause(home: Home) -> None:
    home.paused.write_text("{")
    found = read_pause(home)
    assert found is not None
    assert "`openledger-node resume` removes it" in found.why


async def test_a_node_with_a_full_disk_is_paused_at_once_and_the_pause_is_kept_once_there_is_room(
    node: Node, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node.running() as desk:
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", _disk_full)
            pause = desk.pause()
            assert node.serving.paused == pause.why
            assert "is full: free some space" in pause.to_plain()["why"]
            await trio.sleep(5)
            assert desk.current is not None
            assert desk.current.not_kept is not None
            assert read_pause(node.home) is None
        await until(lambda: read_pause(node.home) is not None, 2)
        assert desk.current.not_kept is None
        assert "restart" not in desk.current.to_plain()["why"]


async def test_a_resume_that_can_not_forget_its_pause_says_that_the_next_start_is_paused(
    node: Node, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node.running() as desk:
        desk.pause()
        monkeypatch.setattr(Path, "unlink", _disk_full)
        with pytest.raises(DiskError):
            desk.resume()
        assert node.serving.paused is None
        desk.pause(until_s=node.now_s + 10)
        node.now_s += 11
        await until(lambda: desk.current is None, 2)  # one whose time is over ends, and ends no node


def _disk_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# ---- the hours at which a node may serve


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
