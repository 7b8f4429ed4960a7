"""Requests to the API that fit its OpenAPI description, and many that do not: sixty, or thousands."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from support.processes.nodes import Node
from support.tiers import depth

CASES = depth(light=60, deep=5_000)


SEED = 7
MODEL = "fake"
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
BODIES = 0.9
"""The share of cases for operations with a body."""

FAILURES_MAX = 5

ANSWERED = ('"finish_reason"', '"stop_reason"', '"response.created"', '"object":"response"')
"""Texts in the answers of the engine, one for each dialect."""


@dataclass
class Report:
    """Counts and failures."""

    num_cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    num_answered: int = 0  # by the engine
    failures: list[dict[str, Any]] = field(default_factory=list)

    def note(self, sent: str, response: httpx.Response) -> None:
        """Count an answer, and record it if no client should get it."""
        self.num_cases += 1
        self.statuses[response.status_code] += 1
        self.num_answered += response.is_success and any(mark in response.text for mark in ANSWERED)
        if (why := wrong_with(response)) and len(self.failures) < FAILURES_MAX:
            self.failures.append({"why": why, "sent": sent[:2_000], "answer": response.text[:500]})


def wrong_with(response: httpx.Response) -> str:
    """The reason for which no client should get an answer; empty if it is fine."""
    if response.status_code >= 500:
        return f"status {response.status_code}"
    if response.status_code < 400:
        return ""
    try:
        content = response.json()
        error, is_anthropic = content["error"], content.get("type") == "error"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "an error in another format"
    fields, code = ({"type", "message"}, "type") if is_anthropic else ({"message", "type", "param", "code"}, "code")
    is_whole = set(error) == fields and error["message"] and error[code]
    return "" if is_whole else "an error with missing fields"


def fuzz(client: httpx.Client, *, cases: int) -> Report:
    """Send about this number of cases, the same ones each time."""
    report = Report()
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").raise_for_status().json())
    operations = [found.ok() for found in schema.get_all_operations()]
    with_body = [one for one in operations if one.body]
    without = len(operations) - len(with_body)
    for operation in operations:
        share = BODIES / len(with_body) if operation in with_body else (1 - BODIES) / without
        for mode in MODES:
            throw(client, operation, mode, max(1, round(cases * share / len(MODES))), report)
    return report


def throw(client: httpx.Client, operation: Any, mode: Any, cases: int, report: Report) -> None:
    @seed(SEED)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        if report.num_cases % 2 and isinstance(case.body, dict):
            case.body = mended(case.body)
        request = case.as_transport_kwargs(base_url=str(client.base_url))
        content = json.dumps(request["json"]) if "json" in request else request.get("data")
        headers = {"Content-Type": "application/json"}  # always with the client's key; other tests leave it out
        response = client.request(
            request["method"], request["url"], headers=headers, params=request.get("params"), content=content
        )
        report.note(str(content), response)

    try:
        send()
    except Unsatisfiable:  # an operation without input has no invalid input
        return


def mended(body: dict[str, Any]) -> dict[str, Any]:
    """Replace model, roles and length of a body by valid ones, and keep everything else."""
    better = {**body, "model": MODEL, "max_tokens": 4, "max_completion_tokens": None, "max_output_tokens": 4}
    if isinstance(messages := body.get("messages"), list):
        a_users = {"role": "user", "tool_calls": None, "tool_call_id": None}
        roles = [{**one, **a_users} if isinstance(one, dict) else one for one in messages[:4]]
        better["messages"] = [*roles, {"role": "user", "content": "Hello"}]
    return better


def test_nothing_that_is_drawn_from_the_description_makes_the_api_fail(node: Node) -> None:
    with node.client() as client:
        report = fuzz(client, cases=CASES)
    assert report.failures == []
    assert report.num_cases > CASES * 0.8
    assert report.num_answered > CASES // 20, "some reach the engine"
    assert set(report.statuses) <= {200, 400, 404}
    assert httpx.get(f"{node.url}/readyz").is_success
