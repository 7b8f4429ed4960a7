"""Figures: what is counted, how it is written, and that nothing of a request is in them but its size."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.processes.nodes import Node

from openledger_node.api.exposition import PREFIX, Distribution, Family, MetricTable, Sample
from openledger_node.api.metrics import NODE_METRICS
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
