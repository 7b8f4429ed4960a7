"""Send requests to the API that fit its OpenAPI description, and many that do not: `make fuzz-api`.

Schemathesis generates them. Half get a valid model, valid roles and a short answer, so that they reach the engine. No
answer may be a 5xx status, or an error that is neither in OpenAI's format nor in Anthropic's.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import OperatorHome, closing_all, wait_for
from openledger_node.home import Home as NodeHome

CASES, SEED = 20_000, 7
MODEL = "fake"
SETTINGS = {"OPENLEDGER_INFERENCE_BACKEND": "fake", "OPENLEDGER_INFERENCE_BASE": MODEL, "OPENLEDGER_API_PORT": "0"}
SETTINGS |= {"OPENLEDGER_NODE_NETWORK": "local"}
START_TIMEOUT_S, ANSWER_TIMEOUT_S = 60.0, 30.0
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


def fuzz(
    client: httpx.Client, *, cases: int, seed_of_all: int, say: Callable[[str], None] = lambda _: None
) -> Report:
    """Send about this number of cases; a seed always gives the same ones."""
    report = Report()
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").raise_for_status().json())
    operations = [found.ok() for found in schema.get_all_operations()]
    with_body = [one for one in operations if one.body]
    for operation in operations:
        share = (
            BODIES / len(with_body) if operation in with_body else (1 - BODIES) / (len(operations) - len(with_body))
        )
        for mode in MODES:
            throw(client, operation, mode, max(1, round(cases * share / len(MODES))), seed_of_all, report)
        say(f"{operation.label}: {report.num_cases} in all, {len(report.failures)} failures")
    return report


def throw(client: httpx.Client, operation: Any, mode: Any, cases: int, seed_of_all: int, report: Report) -> None:
    @seed(seed_of_all)
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


def url_of(home: OperatorHome) -> str | None:
    """The URL of a daemon's API, once it accepts requests."""
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(NodeHome(home.root).socket))) as client:
            status = client.get("http://node/status").json()
    except httpx.HTTPError:
        return None
    return status["api"]["url"] if status["state"] == "idle" else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seed", type=int, default=SEED)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, closing_all() as opened:
        home = OperatorHome("fuzzed", Path(folder) / "home", SETTINGS)
        opened.append(home)
        home.start_daemon()
        url = wait_for("the daemon is up", lambda: url_of(home), timeout_s=START_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {load_api_key(NodeHome(home.root))}"}
        with httpx.Client(base_url=url, headers=headers, timeout=ANSWER_TIMEOUT_S) as client:
            report = fuzz(
                client, cases=words.cases, seed_of_all=words.seed, say=lambda line: print(line, file=sys.stderr)
            )
            is_up = client.get("/readyz").is_success
    print(
        json.dumps(
            {
                "cases": report.num_cases,
                "answered_by_the_engine": report.num_answered,
                "statuses": dict(sorted(report.statuses.items())),
                "failures": report.failures,
                "is_ready_after_it": is_up,
            },
            indent=1,
        )
    )
    return 1 if report.failures or not is_up else 0


if __name__ == "__main__":
    sys.exit(main())
