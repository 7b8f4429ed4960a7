"""A hundred requests drawn from the API's own description; `make fuzz-api` throws twenty thousand."""

from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import httpx
import pytest
from support.depth import depth
from support.processes.nodes import ROOT, Node

CASES = depth(light=100, deep=5_000)


def load_fuzz() -> Any:
    spec = spec_from_file_location("fuzz_api", ROOT / "scripts" / "fuzz_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz_api = load_fuzz()


def test_nothing_that_is_drawn_from_the_description_makes_the_api_fail(node: Node) -> None:
    with node.client() as client:
        report = fuzz_api.fuzz(client, cases=CASES, seed_of_all=fuzz_api.SEED)
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
    assert fuzz_api.wrong_with(response) == why
