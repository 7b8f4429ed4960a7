"""The stream of events: what differs is said, once, to everybody who keeps up."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
import trio
from starlette.exceptions import HTTPException
from trio.testing import MockClock, wait_all_tasks_blocked

from openledger_node.api.events import BUFFERED_MAX, POINT_EVERY_S, POINTS_MAX, READERS_MAX, EventStream, Topic

TOPICS = (Topic(name="state", method="GET", path="/status", every_s=0.5),)


class Node:
    """What the routes say."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | None = {"state": "idle", "uptime_s": 0.0}
        self.asked = 0

    async def ask(self, _: Topic) -> Any:
        self.asked += 1
        return self.status


async def next_of(events: AsyncGenerator[str]) -> str:
    with trio.fail_after(60):
        return await anext(events)


async def run(node: Node, nursery: trio.Nursery, stopping: trio.Event | None = None) -> EventStream:
    stream = EventStream(node.ask, topics=TOPICS)
    nursery.start_soon(stream.run, (trio.Event() if stopping is None else stopping).wait)
    await wait_all_tasks_blocked()
    return stream


async def test_a_change_is_told_and_what_stays_is_not(autojump_clock: MockClock) -> None:
    node = Node()
    async with trio.open_nursery() as nursery:
        async with aclosing(await (await run(node, nursery)).read()) as events:
            assert '"points"' in await next_of(events)
            assert '"idle"' in await next_of(events)
            node.status = {"state": "serving", "uptime_s": 7.0}
            at_s = trio.current_time()
            assert '"serving"' in await next_of(events)
            assert trio.current_time() - at_s <= 1.0, "within a second"
            node.status = {"state": "serving", "uptime_s": 8.0}
            assert (await next_of(events)).startswith(("event: alive", "event: engine"))
        nursery.cancel_scope.cancel()


async def test_a_page_that_comes_later_hears_at_once_how_it_is(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        stream = await run(Node(), nursery)
        async with aclosing(await stream.read()) as first:
            heard = await next_of(first) + await next_of(first)
            assert '"idle"' in heard
            async with aclosing(await stream.read()) as second:
                assert '"idle"' in await next_of(second)
        nursery.cancel_scope.cancel()


async def test_without_a_page_only_the_engines_points_are_kept_for_an_hour(autojump_clock: MockClock) -> None:
    node = Node()
    async with trio.open_nursery() as nursery:
        stream = await run(node, nursery)
        await trio.sleep(3 * POINT_EVERY_S - 1)
        assert node.asked == 3
        await trio.sleep(POINT_EVERY_S * (POINTS_MAX + 5))
        assert len(stream.points) == POINTS_MAX
        nursery.cancel_scope.cancel()


async def test_a_reader_that_stops_reading_is_dropped_and_the_others_are_not(autojump_clock: MockClock) -> None:
    node = Node()
    async with trio.open_nursery() as nursery:
        stream = await run(node, nursery)
        async with aclosing(await stream.read()) as slow, aclosing(await stream.read()) as quick:
            await next_of(slow)
            for turn in range(BUFFERED_MAX + 2):
                node.status = {"state": f"turn {turn}"}
                while f"turn {turn}" not in await next_of(quick):
                    pass
            left = [event async for event in slow]
        assert len(left) <= BUFFERED_MAX
        nursery.cancel_scope.cancel()


async def test_the_end_of_the_node_ends_every_stream(autojump_clock: MockClock) -> None:
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        stream = await run(Node(), nursery, stopping)
        async with aclosing(await stream.read()) as events:
            stopping.set()
            assert [event async for event in events] != []


async def test_only_so_many_pages_follow(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        stream = await run(Node(), nursery)
        readers = [await stream.read() for _ in range(READERS_MAX)]
        with pytest.raises(HTTPException):
            await stream.read()
        for reader in readers:
            await next_of(reader)
            await reader.aclose()
        async with aclosing(await stream.read()) as late:
            await next_of(late)
        nursery.cancel_scope.cancel()
