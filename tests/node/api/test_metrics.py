"""Figures: what is counted and how it is written, and the listener that answers with them and with nothing else."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import SimpleNamespace

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from support.processes.nodes import Node
from trio.testing import MockClock

from openledger_node.api.bootstrap_metrics import BOOTSTRAP_METRICS, bootstrap_metrics
from openledger_node.api.exposition import PREFIX, Distribution, Family, MetricTable, Sample
from openledger_node.api.metrics import NODE_METRICS
from openledger_node.api.metrics_listener import ANSWER_S, CONNECTIONS_MAX, HEAD_BYTES_MAX, serve_metrics
from openledger_node.errors import NetworkError
from openledger_node.listeners import ListenAddress
from openledger_node.p2p.bootstrap_view import BootstrapReach
from openledger_node.p2p.tally import Counted, Level, Reason, TrafficTally
from openledger_node.serving.measures import Histogram, Measures, Served

CANARY = "canary-91c2-of-a-prompt"


def figures(node: Node) -> dict[str, float]:
    """Each series' value by its name and labels."""
    text = httpx.get(f"{node.url}/metrics", headers=node.headers).text
    return {
        sample.name + "".join(f"|{value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ask(node: Node, content: str = CANARY, **more: object) -> httpx.Response:
    body = {"model": "fake", "messages": [{"role": "user", "content": content}], "max_tokens": 9, **more}
    return httpx.post(f"{node.url}/v1/chat/completions", headers=node.headers, json=body)


def test_an_answer_moves_the_figures_that_it_should_and_all_are_declared(node: Node) -> None:
    declared = {PREFIX + family.name: family for family in NODE_METRICS.families}
    scrape = httpx.get(f"{node.url}/metrics", headers=node.headers)
    assert scrape.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    kinds = [line.split()[2:] for line in scrape.text.splitlines() if line.startswith("# TYPE ")]
    assert all(declared[name].kind == kind for name, kind in kinds)
    before = figures(node)
    answer = ask(node, "on and on...").json()
    after = figures(node)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["openledger_requests_total|local|length"] == 1
    assert grown["openledger_tokens_total|completion|local"] == answer["usage"]["completion_tokens"]
    assert grown["openledger_tokens_total|prompt|local"] == answer["usage"]["prompt_tokens"]
    assert grown["openledger_http_requests_total|200|/v1/chat/completions"] == 1
    for name in ("ttft", "tpot", "request"):
        assert grown[f"openledger_{name}_seconds_count"] == grown[f"openledger_{name}_seconds_bucket|+Inf"] == 1
    assert after["openledger_ready"] == after["openledger_engine_up"] == 1
    assert after["openledger_http_requests_in_flight"] == 1  # the one that asks


def test_refusals_are_counted_by_route_and_never_by_path(node: Node) -> None:
    httpx.get(f"{node.url}/{CANARY}", headers=node.headers)
    httpx.get(f"{node.url}/v1/models/{CANARY}", headers=node.headers)
    httpx.get(f"{node.url}/v1/models")
    ask(node, model=CANARY)
    found = figures(node)
    assert found["openledger_http_requests_total|404|/v1/models/{name}"] >= 1
    assert found["openledger_http_requests_total|401|none"] >= 1
    assert found["openledger_http_requests_total|404|/v1/chat/completions"] >= 1
    assert CANARY not in "".join(found)


def test_a_histogram_counts_a_bound_as_under_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value_s in (0.5, 1.0, 1.5, 2.5, 99.0):
        histogram.observe(value_s)
    assert histogram.cumulative() == [(1.0, 2), (2.0, 3), (float("inf"), 5)]
    assert (histogram.count, histogram.sum_s) == (5, 104.5)


@pytest.mark.parametrize(("tokens_out", "pace"), [(1, 0), (2, 1)])
def test_a_single_token_has_no_pace(tokens_out: int, pace: int) -> None:
    measures = Measures()
    times = {"received_ns": 0, "first_token_ns": 10**9, "ended_ns": 3 * 10**9}
    measures.note(Served(origin="sold", outcome="stop", tokens_in=3, tokens_out=tokens_out, **times))
    assert (measures.ttft.sum_s, measures.request.sum_s, measures.tpot.count) == (1.0, 3.0, pace)


def test_text_is_written_as_prometheus_reads_it() -> None:
    families = [
        Family(name="a_total", kind="counter", help="One\nline \\ here.", labels=("x",)),
        Family(name="b_seconds", kind="histogram", help="B."),
        Family(name="c", kind="gauge", help="Has no figure."),
    ]
    readings = [
        Sample(family="a_total", value=2.5, labels={"x": 'say "hi"\n\\'}),
        Distribution(family="b_seconds", buckets=[(0.5, 1), (float("inf"), 3)], sum=4.25),
    ]
    assert MetricTable(tuple(families)).text(readings).splitlines() == [
        "# HELP openledger_a_total One\\nline \\\\ here.",
        "# TYPE openledger_a_total counter",
        'openledger_a_total{x="say \\"hi\\"\\n\\\\"} 2.5',
        "# HELP openledger_b_seconds B.",
        "# TYPE openledger_b_seconds histogram",
        'openledger_b_seconds_bucket{le="0.5"} 1',
        'openledger_b_seconds_bucket{le="+Inf"} 3',
        "openledger_b_seconds_sum 4.25",
        "openledger_b_seconds_count 3",
    ]


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
        status, *headers = head.splitlines()
        assert (status, body) == ("HTTP/1.1 200 OK", "a 1\n")
        assert {"Content-Type: text/plain; version=0.0.4; charset=utf-8", "Content-Length: 4"} <= {*headers}
        alone = await answer(port, b"HEAD /metrics HTTP/1.0\r\n\r\n")
        assert alone.endswith("Content-Length: 4\r\nConnection: close\r\n\r\n")


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
        opened = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(CONNECTIONS_MAX + 3)]
        idle = [await stack.enter_async_context(stream) for stream in opened]
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
