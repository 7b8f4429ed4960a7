"""A hundred requests drawn from the API's own description, and five thousand in `make test-deep`."""

import httpx
import pytest
from support import api_fuzz
from support.processes.nodes import Node
from support.tiers import depth

CASES = depth(light=100, deep=5_000)


def test_nothing_that_is_drawn_from_the_description_makes_the_api_fail(node: Node) -> None:
    with node.client() as client:
        report = api_fuzz.fuzz(client, cases=CASES, seed_of_all=api_fuzz.SEED)
    assert report.failures == []
    assert report.num_cases > CASES * 0.8
    assert report.num_answered > CASES // 20, "some reach the engine"
    assert set(report.statuses) <= {200, 400, 404}
    assert httpx.get(f"{node.url}/readyz").is_success


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (httpx.Response(500), "status 500"),
        (httpx.Response(503, json={"error": {}}), "status 503"),
        (httpx.Response(400, text="no"), "an error in another format"),
        (httpx.Response(404, json={"detail": "Not Found"}), "an error in another format"),
        (httpx.Response(400, json={"error": {"message": "x", "type": "y"}}), "an error with missing fields"),
        (httpx.Response(400, json={"error": {"message": "x", "type": "y", "param": None, "code": "z"}}), ""),
        (httpx.Response(400, json={"type": "error", "error": {"type": "x", "message": "y"}}), ""),
        (httpx.Response(400, json={"type": "error", "error": {"message": "y"}}), "an error with missing fields"),
        (httpx.Response(200, text="anything"), ""),
    ],
)
def test_what_counts_as_a_failure(response: httpx.Response, why: str) -> None:
    assert api_fuzz.wrong_with(response) == why
