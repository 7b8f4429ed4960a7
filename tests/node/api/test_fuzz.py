"""Sixty requests drawn from the API's own description, and five thousand in `make test-deep`."""

import httpx
from node.api import api_fuzz
from support.processes.nodes import Node
from support.tiers import depth

CASES = depth(light=60, deep=5_000)


def test_nothing_that_is_drawn_from_the_description_makes_the_api_fail(node: Node) -> None:
    with node.client() as client:
        report = api_fuzz.fuzz(client, cases=CASES, seed_of_all=api_fuzz.SEED)
    assert report.failures == []
    assert report.num_cases > CASES * 0.8
    assert report.num_answered > CASES // 20, "some reach the engine"
    assert set(report.statuses) <= {200, 400, 404}
    assert httpx.get(f"{node.url}/readyz").is_success
