"""Prepaid keys at a running node: every dialect is charged and says so, and exhausted credit is refused with 402."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIStatusError, OpenAI
from support.processes.nodes import Node, command_json, running_node

from openledger_node.access.keys import ApiKeyRing
from openledger_node.api.costs import COST_HEADER
from openledger_node.home import Home

HELLO = [{"role": "user", "content": "hello"}]
PRICES = {
    "OPENLEDGER_GATEWAY_ENABLED": "true",
    "OPENLEDGER_GATEWAY_PRICE_IN_WEI": "1000",
    "OPENLEDGER_GATEWAY_PRICE_OUT_WEI": "4000",
}
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
ROUTES = [
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4}),
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4, **STREAMED}),
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4, "n": 3}),
    ("/v1/completions", {"prompt": "hello", "max_tokens": 4}),
    ("/v1/responses", {"input": "hello", "max_output_tokens": 16}),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 4}),
    ("/v1/responses", {"input": "hello", "max_output_tokens": 16, "stream": True}),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 4, "stream": True}),
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4, "n": 3, **STREAMED}),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root: Path = tmp_path_factory.mktemp("gateway")
    with running_node(Home(root), "--backend", "fake", **PRICES) as node:
        yield node


def sell(node: Node, name: str, amount: str = "1") -> str:
    secret: str = command_json(node.home, "gateway", "add", name, amount)["secret"]
    return secret


def settled(node: Node, name: str) -> dict[str, Any]:
    """What the command says, once the last answer is charged."""
    while True:
        found = command_json(node.home, "gateway", "show", name)
        if all(each["charged_wei"] is not None for each in found["charges"]):
            return dict(found)


def told_wei(answer: httpx.Response, *, is_streamed: bool) -> str:
    """The cost that an answer tells, wherever its dialect has the usage."""
    if not is_streamed:
        told: str = answer.json()["usage"]["cost_wei"]
        assert answer.headers[COST_HEADER] == told
        return told
    assert COST_HEADER not in answer.headers
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    usages = [event.get("usage") or event.get("response", {}).get("usage") for event in events]
    (told,) = [usage["cost_wei"] for usage in usages if usage and "cost_wei" in usage]
    return told


@pytest.mark.parametrize(("path", "body"), ROUTES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_dialect_is_charged_by_its_tokens(node: Node, path: str, body: dict[str, Any]) -> None:
    name = f"k{ROUTES.index((path, body))}"
    headers = {"Authorization": f"Bearer {sell(node, name)}"}
    answer = httpx.post(f"{node.url}{path}", json={"model": "fake", **body}, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    found = settled(node, name)
    charged = [int(each["charged_wei"]) for each in found["charges"]]
    assert len(charged) == body.get("n", 1)
    assert int(found["balance_wei"]) == 10**18 - sum(charged)
    assert all(0 < wei <= int(each["held_wei"]) for wei, each in zip(charged, found["charges"], strict=True))
    assert told_wei(answer, is_streamed=body.get("stream", False)) == str(sum(charged))
    if not body.get("stream") and path == "/v1/completions":
        usage = answer.json()["usage"]
        assert sum(charged) == usage["prompt_tokens"] + 4 * usage["completion_tokens"]


def test_openais_package_gets_402_with_the_way_to_pay(node: Node) -> None:
    client = OpenAI(base_url=f"{node.url}/v1", api_key=sell(node, "poor", "0.000000000000000001"), max_retries=0)
    with pytest.raises(APIStatusError) as refused:
        client.chat.completions.create(model="fake", messages=HELLO, max_tokens=100)  # type: ignore[arg-type]
    assert refused.value.status_code == 402
    assert refused.value.code == "payment_required"
    assert "gateway credit poor" in refused.value.message
    assert settled(node, "poor")["charges"] == []


def test_credit_counts_at_once_and_a_key_without_it_lists_models(node: Node) -> None:
    secret = sell(node, "later", "0.000000000000000001")
    headers = {"Authorization": f"Bearer {secret}"}
    body = {"model": "fake", "prompt": "hello", "max_tokens": 4}
    assert httpx.get(f"{node.url}/v1/models", headers=headers).status_code == 200
    assert httpx.post(f"{node.url}/v1/completions", json=body, headers=headers).status_code == 402
    command_json(node.home, "gateway", "credit", "later", "1")
    assert httpx.post(f"{node.url}/v1/completions", json=body, headers=headers).status_code == 200


def test_a_prepaid_key_sees_its_prices_and_the_owner_sees_none(node: Node) -> None:
    headers = {"Authorization": f"Bearer {sell(node, 'reader')}"}
    (listed,) = httpx.get(f"{node.url}/v1/models", headers=headers).json()["data"]
    assert listed["price"] == {"unit": "wei per 1,000 tokens", "prompt_wei": "1000", "completion_wei": "4000"}
    assert listed["location"] == "here"
    assert httpx.get(f"{node.url}/v1/models/fake", headers=headers).json()["price"] == listed["price"]
    (owners,) = httpx.get(f"{node.url}/v1/models", headers={"Authorization": f"Bearer {node.key}"}).json()["data"]
    assert "price" not in owners


def test_a_refused_request_holds_nothing(node: Node) -> None:
    headers = {"Authorization": f"Bearer {sell(node, 'wrong')}"}
    body = {"model": "no-such-model", "prompt": "hello", "max_tokens": 4}
    assert httpx.post(f"{node.url}/v1/completions", json=body, headers=headers).status_code in (404, 503)
    found = settled(node, "wrong")
    assert (found["balance_wei"], found["charges"]) == (str(10**18), [])


def test_a_prepaid_key_is_refused_while_the_gateway_is_off_and_keeps_its_credit(tmp_path: Path) -> None:
    home = Home(tmp_path)
    secret = command_json(home, "gateway", "add", "bob", "1")["secret"]
    with running_node(home, "--backend", "fake") as node:
        headers = {"Authorization": f"Bearer {secret}"}
        body = {"model": "fake", "prompt": "hello", "max_tokens": 4}
        answer = httpx.post(f"{node.url}/v1/completions", json=body, headers=headers)
        assert answer.status_code == 403
        assert "enabled = true" in answer.json()["error"]["message"]
    assert command_json(home, "gateway", "show", "bob")["balance_wei"] == str(10**18)
    assert ApiKeyRing(home).named("bob").is_prepaid


def test_income_and_key_are_shown_wherever_the_owner_looks(node: Node) -> None:
    headers = {"Authorization": f"Bearer {sell(node, 'shown')}"}
    body = {"model": "fake", "prompt": "hello", "max_tokens": 4}
    answer = httpx.post(f"{node.url}/v1/completions", json=body, headers=headers, timeout=60)
    (charge,) = settled(node, "shown")["charges"]
    (job,) = [job for job in command_json(node.home, "jobs")["jobs"] if job["request_id"] == charge["request_id"]]
    assert job["key"] == "shown"
    listed = command_json(node.home, "gateway", "list")
    while (status := command_json(node.home, "status"))["gateway"]["charged_wei"] != listed["charged_wei"]:
        pass  # its sums are read again after a moment
    balances = {each["key"]: each["balance_wei"] for each in listed["keys"]}
    keys = {each["name"]: each for each in command_json(node.home, "keys", "list")["keys"]}
    assert {name: keys[name]["balance_wei"] for name in balances} == balances
    assert int(status["gateway"]["charged_wei"]) == sum(10**18 - int(balance) for balance in _whole(node, balances))
    owner = {"Authorization": f"Bearer {node.key}"}
    lines = httpx.get(f"{node.url}/metrics", headers=owner).text.splitlines()
    assert 'openledger_key_requests_total{key="shown"} 1' in lines
    tokens = answer.json()["usage"]["total_tokens"]
    assert f'openledger_key_tokens_total{{key="shown"}} {tokens}' in lines
    assert f'openledger_key_charged_open_total{{key="shown"}} {int(charge["charged_wei"]) / 10**18!r}' in lines


def _whole(node: Node, balances: dict[str, str]) -> list[str]:
    """The balances as if each key had been given one OPEN."""
    given = {name: settled(node, name)["credits"] for name in balances}
    return [
        str(int(balance) - sum(int(each["amount_wei"]) for each in given[name]) + 10**18)
        for name, balance in balances.items()
    ]


def test_owners_answer_from_this_machine_costs_nothing(node: Node) -> None:
    owner = {"Authorization": f"Bearer {node.key}"}
    body = {"model": "fake", "prompt": "hello", "max_tokens": 4}
    answer = httpx.post(f"{node.url}/v1/completions", json=body, headers=owner, timeout=60)
    assert answer.json()["usage"]["cost_wei"] == answer.headers[COST_HEADER] == "0"
