"""Throw requests at the API that fit its OpenAPI description, and many that do not: `make fuzz-api`.

Schemathesis draws them. Half are mended so far that they reach the engine: the model's name, roles, and a short
answer. Nothing that is sent may be answered with a 5xx, or with a refusal that is not in OpenAI's form.
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
"""The part of all cases that goes to operations with a body."""

FAILURES_MAX = 5


@dataclass
class Report:
    """What came of it."""

    num_cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    num_answered: int = 0  # by the engine
    failures: list[dict[str, Any]] = field(default_factory=list)

    def note(self, sent: str, response: httpx.Response) -> None:
        """Count an answer, and keep one that no client may get."""
        self.num_cases += 1
        self.statuses[response.status_code] += 1
        self.num_answered += response.is_success and '"finish_reason"' in response.text
        if (why := wrong_with(response)) and len(self.failures) < FAILURES_MAX:
            self.failures.append({"why": why, "sent": sent[:2_000], "answer": response.text[:500]})


def wrong_with(response: httpx.Response) -> str:
    """Why an answer is none that a client may get; empty if it is."""
    if response.status_code >= 500:
        return f"status {response.status_code}"
    if response.status_code < 400:
        return ""
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return "a refusal in another form"
    is_whole = set(error) == {"message", "type", "param", "code"} and error["message"] and error["code"]
    return "" if is_whole else "a refusal without its parts"


def fuzz(
    client: httpx.Client, *, cases: int, seed_of_all: int, say: Callable[[str], None] = lambda _: None
) -> Report:
    """Send about so many cases, the same each time for one seed."""
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
        headers = {
            "Content-Type": "application/json"
        }  # the key is the client's: what goes without is tested elsewhere
        response = client.request(
            request["method"], request["url"], headers=headers, params=request.get("params"), content=content
        )
        report.note(str(content), response)

    try:
        send()
    except Unsatisfiable:  # what takes no input has no wrong one
        return


def mended(body: dict[str, Any]) -> dict[str, Any]:
    """A body whose model, roles and length are good, whatever else is in it."""
    better = {**body, "model": MODEL, "max_tokens": 4, "max_completion_tokens": None}
    if isinstance(messages := body.get("messages"), list):
        roles = [{**one, "role": "user"} if isinstance(one, dict) else one for one in messages[:4]]
        better["messages"] = [*roles, {"role": "user", "content": "Hello"}]
    return better


def url_of(home: OperatorHome) -> str | None:
    """Where a daemon's API is, once it would take requests."""
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
