"""Named keys at a running node: what they reach, how many at once, their end, and the listener beyond loopback."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AuthenticationError, OpenAI
from support.processes.nodes import Node, running_node, wait_for

from openledger_node.access.keys import ApiKeyRing
from openledger_node.api.public import FAILED_MAX, FailedKeys
from openledger_node.home import Home

ORIGIN = "https://chat.example.org"
HELLO = [{"role": "user", "content": "hello"}]


@dataclass
class Shared:
    """A node that listens on a second address, and its keys."""

    node: Node
    ring: ApiKeyRing
    public: str
    client: httpx.Client

    def key(self, name: str, *, at_once: int = 4) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.ring.add(name, now_s=1, at_once=at_once)}"}

    def refusal(self, headers: dict[str, str]) -> httpx.Response | None:
        """The refusal of a list of models, if it is refused."""
        answer = self.client.get("/v1/models", headers=headers)
        return None if answer.is_success else answer

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str], *, base: str = "") -> httpx.Response:
        return httpx.post(f"{base or self.node.url}{path}", json=body, headers=headers, timeout=60)


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    root: Path = tmp_path_factory.mktemp("keys")
    home = Home(root)
    ring = ApiKeyRing(home)
    ring.add("first", now_s=1, at_once=4)
    address = f"127.0.0.2:{free_port('127.0.0.2')}"
    variables = {"OPENLEDGER_API_LISTEN": address, "OPENLEDGER_API_ORIGINS": ORIGIN}
    with running_node(home, "--backend", "fake", **variables) as node, httpx.Client(base_url=node.url) as client:
        yield Shared(node=node, ring=ring, public=f"http://{address}", client=client)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": HELLO, "max_tokens": 4, **fields}


ROUTES = [
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4}),
    ("/v1/completions", {"prompt": "hello", "max_tokens": 4}),
    ("/v1/responses", {"input": "hello", "max_output_tokens": 16}),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 4}),
]


def model_of(shared: Shared) -> str:
    with shared.node.client() as client:
        name: str = client.get("/v1/models").json()["data"][0]["id"]
        return name


def test_every_dialect_takes_a_named_key(shared: Shared) -> None:
    headers, model = shared.key("dialects"), model_of(shared)
    for path, body in ROUTES:
        for stream in (False, True):
            answer = shared.post(path, {"model": model, "stream": stream, **body}, headers)
            assert answer.status_code == 200, answer.text


def test_a_key_has_no_more_requests_at_once_than_it_may(shared: Shared) -> None:
    headers, address = shared.key("one", at_once=1), httpx.URL(shared.node.url)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {address.host}\r\nAuthorization: {headers['Authorization']}\r\n"
    with socket.create_connection((address.host, address.port or 0)) as first:
        first.sendall(f"{head}Content-Length: 9\r\n\r\n".encode())  # runs until its body has come
        refused = wait_for(lambda: shared.refusal(headers))
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert "may have 1 requests at once" in refused.json()["error"]["message"]
        assert refused.headers["retry-after"] == "1"
        assert shared.refusal(shared.key("other", at_once=1)) is None
        first.sendall(b" " * 9)
    assert wait_for(lambda: shared.refusal(headers) is None)


def test_a_named_key_reaches_only_the_api_and_a_revoked_one_nothing(shared: Shared) -> None:
    secret = shared.ring.add("gone", now_s=1, at_once=4)
    headers = {"Authorization": f"Bearer {secret}"}
    for path in ("/metrics", "/openapi.json", "/operator/status", "/"):
        here = httpx.get(shared.node.url + path, headers=headers).status_code
        assert here in ((200,) if path == "/" else (401, 403)), path
        assert httpx.get(shared.public + path, headers=headers).status_code == 404
    client = OpenAI(api_key=secret, base_url=f"{shared.public}/v1")
    assert client.models.list().data
    shared.ring.revoke("gone")
    with pytest.raises(AuthenticationError, match="the owner of this node gives you one"):
        client.models.list()


def test_answer_that_runs_when_its_key_is_revoked_ends_normally(shared: Shared) -> None:
    headers = shared.key("leaving")
    body = chat(model=model_of(shared), stream=True, max_tokens=200)
    url = f"{shared.node.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        shared.ring.revoke("leaving")
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert httpx.get(f"{shared.node.url}/v1/models", headers=headers).status_code == 401


def test_each_listener_takes_its_own_keys_and_names_alone(shared: Shared) -> None:
    for headers in ({}, shared.node.headers, {"Cookie": "openledger=1"}):
        assert httpx.get(f"{shared.public}/v1/models", headers=headers).status_code == 401
    assert httpx.get(f"{shared.node.url}/v1/models", headers=shared.node.headers).status_code == 200
    rebound = {**shared.key("rebind"), "Host": "evil.example:80"}
    assert httpx.get(f"{shared.node.url}/v1/models", headers=rebound).status_code == 403
    assert httpx.get(f"{shared.public}/v1/models", headers=rebound).status_code == 200


def test_page_of_another_origin_is_refused(shared: Shared) -> None:
    for origin in ("null", f"{ORIGIN}.evil", "http://chat.example.org", ""):
        for method in ("GET", "OPTIONS"):
            answer = httpx.request(method, f"{shared.public}/v1/models", headers={"Origin": origin})
            assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (403, False), origin


def test_listed_origin_may_ask_and_reads_refusals_too(shared: Shared) -> None:
    url, origin = f"{shared.public}/v1/models", {"Origin": ORIGIN}
    preflight = httpx.options(url, headers={**origin, "Access-Control-Request-Method": "POST"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "Authorization, Content-Type, x-api-key"
    asks = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "anthropic-version"}
    assert httpx.options(url, headers=asks).headers["access-control-allow-headers"] == "anthropic-version"
    for answer in (preflight, httpx.get(url, headers=origin), httpx.get(url, headers=origin | shared.key("page"))):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers


def test_wrong_keys_of_one_address_are_told_to_wait_and_a_right_one_passes(shared: Shared) -> None:
    headers = shared.key("right")
    wrong = {"Authorization": "Bearer olk-wrong"}
    with httpx.Client(base_url=shared.public) as client:
        codes = [client.get("/v1/models", headers=wrong).status_code for _ in range(FAILED_MAX + 10)]
        assert codes[-1] == 429
        assert set(codes) <= {401, 429}
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_wrong_keys_are_counted_anew_after_a_minute() -> None:
    now = [0.0]
    failed = FailedKeys(lambda: now[0])
    assert [failed.is_over("10.0.0.1") for _ in range(FAILED_MAX + 1)][-2:] == [False, True]
    assert failed.is_over("2001:db8::1") is False
    now[0] = 61.0
    assert failed.is_over("10.0.0.1") is False
