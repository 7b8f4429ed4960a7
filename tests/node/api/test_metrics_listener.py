"""Metrics over plain HTTP: what is answered, and what gets nothing."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock

from openledger_node.api.bootstrap_metrics import BOOTSTRAP_METRICS, bootstrap_metrics
from openledger_node.api.exposition import PREFIX
from openledger_node.api.metrics_listener import ANSWER_S, CONNECTIONS_MAX, HEAD_BYTES_MAX, serve_metrics
from openledger_node.errors import NetworkError
from openledger_node.listeners import ListenAddress
from openledger_node.p2p.bootstrap_view import BootstrapReach
from openledger_node.p2p.tally import Counted, Level, Reason, TrafficTally

FREE = ListenAddress("127.0.0.1", 0)


@asynccontextmanager
async def listener(text: str = "a 1\n") -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_metrics, FREE, lambda: text)
        nursery.cancel_scope.cancel()


async def answer(port: int, request: bytes) -> str:
    """All that comes until the other side hangs up."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        return b"".join([chunk async for chunk in stream]).decode()


async def test_a_scrape_gets_the_metrics_and_its_length() -> None:
    async with listener() as port:
        got = await answer(port, b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        head, _, body = got.partition("\r\n\r\n")
        assert head.splitlines()[0] == "HTTP/1.1 200 OK"
        assert {"Content-Type: text/plain; version=0.0.4; charset=utf-8", "Content-Length: 4"} <= set(
            head.splitlines()
        )
        assert body == "a 1\n"
        assert (await answer(port, b"HEAD /metrics HTTP/1.0\r\n\r\n")).endswith(
            "Content-Length: 4\r\nConnection: close\r\n\r\n"
        )


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /metricsx HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"hello\r\n\r\n", ""),
        (b"GET /metrics HTTP/2\r\n\r\n", ""),
        (b"\xff\xfe\x00\r\n\r\n", ""),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", ""),
    ],
)
async def test_anything_else_gets_an_error_or_nothing(request_bytes: bytes, status: str) -> None:
    async with listener() as port:
        try:
            got = await answer(port, request_bytes)
        except trio.BrokenResourceError:  # it hung up before it had read all
            got = ""
        assert got.split(" ")[1:2] == ([status] if status else [])
        assert (await answer(port, b"GET /metrics HTTP/1.1\r\n\r\n")).endswith("a 1\n")


async def test_figures_that_cannot_be_read_do_not_end_the_node() -> None:
    def read() -> str:
        raise OSError(24, "Too many open files")

    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_metrics, FREE, read)
        for _ in range(2):
            assert (await answer(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 500 ")
        nursery.cancel_scope.cancel()


async def test_a_client_that_says_nothing_is_hung_up_on(autojump_clock: MockClock) -> None:
    async with listener() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with trio.fail_after(ANSWER_S + 5):
            assert await stream.receive_some(1) == b""


async def test_idle_connections_are_few_and_keep_no_scraper_out() -> None:
    async with listener() as port, AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(ANSWER_S - 1))
        idle = [
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            for _ in range(CONNECTIONS_MAX + 3)
        ]
        for stream in idle[:3]:
            assert await stream.receive_some(1) == b"", "the oldest make room"
        assert (await answer(port, b"GET /metrics HTTP/1.1\r\n\r\n")).endswith("a 1\n")
        await idle[-1].send_all(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await idle[-1].receive_some(4_096)).startswith(b"HTTP/1.1 200 OK")


async def test_a_taken_port_is_told_with_the_option() -> None:
    async with listener() as port:
        with pytest.raises(NetworkError, match="--metrics none"):
            await serve_metrics(ListenAddress("127.0.0.1", port), lambda: "")


def view(is_reached: bool | None) -> SimpleNamespace:
    tally = TrafficTally()
    for level in Level:
        tally.watch(level, partial(dict, inbound=4) if level is Level.CONNECTIONS else lambda: {"": 2})
    tally.count(Counted.RELAYED_BYTES, num=10**9)
    tally.refuse(Reason.FLOOD)
    reach = BootstrapReach(is_reached, "")
    return SimpleNamespace(tally=tally, uptime_s=1.0, reach=lambda: reach, num_visitors=lambda: 1)


def test_every_family_of_a_bootstrap_node_is_read_and_all_reasons_begin_at_zero() -> None:
    lines = bootstrap_metrics(view(True)).splitlines()  # type: ignore[arg-type]
    assert {line.split(" ")[2] for line in lines if line.startswith("# TYPE")} == {
        BOOTSTRAP_METRICS.prefix + family.name for family in BOOTSTRAP_METRICS.families
    }
    refusals = {line for line in lines if line.startswith(f"{PREFIX}bootstrap_refusals_total")}
    assert len(refusals) == len(Reason)
    assert f'{PREFIX}bootstrap_refusals_total{{reason="flood"}} 1' in refusals
    assert f"{PREFIX}bootstrap_relayed_bytes_total 1000000000" in lines
    assert f"{PREFIX}bootstrap_reached 1" in lines
    assert "bootstrap_reached " not in bootstrap_metrics(view(None)), "nobody has shown it"  # type: ignore[arg-type]
