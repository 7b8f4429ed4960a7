"""Every route there is, by every way in: what the guard lets through is listed here, and it is nothing else."""

import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from support.apis import BODY_BYTES_MAX, HOST, KEY, PORT, Api, open_api

from openledger_node.api import guard
from openledger_node.api.errors import is_anthropic
from openledger_node.api.guard import OPEN_PATHS
from openledger_node.api.page import TOKEN_HEADER

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO")
WRONG_KEYS: list[dict[str, str]] = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": f"Bearer {KEY[:-1]}"},
    {"Authorization": f"Bearer {KEY}x"},
    {"Authorization": f"Bearer  {KEY}"},
    {"Authorization": f"Bearer {KEY.upper()}"},
    {"Authorization": KEY},
    {"X-Api-Key": KEY},
    {"Cookie": f"openledger-{PORT}={KEY}"},
]
METHOD_REFUSED = {False: ("code", "method_not_allowed"), True: ("type", "invalid_request_error")}
"""A field of the refusal in OpenAI's form, and in Anthropic's."""


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with open_api() as opened:
        yield opened


@pytest.fixture
async def client(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client() as opened:
        yield opened


def is_open(method: str, path: str, api: Api) -> bool:
    """The page's empty shell, the way in, and three words to a supervisor."""
    return method in ("GET", "HEAD") and path in OPEN_PATHS | api.app._open_paths


async def test_a_node_that_loads_its_base_says_how_far_it_is() -> None:
    async with open_api(load_step="loading the base, 40 %") as api, api.client() as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "loading": "loading the base, 40 %"})


async def test_the_walk_sees_the_api_the_page_and_the_operators_routes(api: Api) -> None:
    walked = {path for _, path in api.routes()}
    assert walked >= {"/v1/chat/completions", "/v1/models/fake", "/v1/messages", "/metrics", "/openapi.json"}
    assert walked >= {"/", "/open", "/session", "/app.js", "/operator/status", "/operator/money/stake"}
    assert len(walked) > 40


async def test_nothing_but_health_and_the_shell_is_open(api: Api, client: httpx.AsyncClient) -> None:
    for method, path in api.routes():
        for headers in WRONG_KEYS:
            if not is_open(method, path, api) and not (is_anthropic(path) and "X-Api-Key" in headers):
                response = await client.request(method, path, headers=headers)
                assert response.status_code == 401, (method, path, headers)
                assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_what_is_open_says_nothing_of_the_node(api: Api, client: httpx.AsyncClient) -> None:
    for method, path in api.routes():
        if is_open(method, path, api):
            response = await client.request(method, path)
            assert response.status_code in (200, 403)  # /open without a code
            assert KEY not in response.text
    assert api.app._open_paths - OPEN_PATHS <= {path for _, path in api.routes()}


async def test_methods_that_no_route_has_are_refused_behind_the_guard(api: Api, client: httpx.AsyncClient) -> None:
    known = set(api.routes())
    for path in sorted({path for _, path in known}):
        for method in METHODS:
            if (method, path) not in known and not is_open(method, path, api):
                assert (await client.request(method, path)).status_code == 401, (method, path)
                if not path.startswith("/operator"):
                    response = await client.request(method, path, headers=api.key)
                    assert response.status_code == 405, (method, path)
                    name, value = METHOD_REFUSED[is_anthropic(path)]
                    assert method == "HEAD" or response.json()["error"][name] == value


async def test_the_key_moves_no_money(api: Api, client: httpx.AsyncClient) -> None:
    for method, path in api.routes():
        if path.startswith("/operator/"):
            response = await client.request(method, path, headers=api.key)
            assert response.status_code == 401, (method, path)


async def test_no_spelling_of_the_operators_routes_opens_them(client: httpx.AsyncClient, api: Api) -> None:
    odd = ["/Operator/status", "//operator/status", "/operator", "/./operator/status", "/operator%2fstatus"]
    for path in (*odd, "/v1/../operator/x"):
        response = await client.get(path, headers=api.key)
        assert response.status_code in (307, 401, 404), path  # 307: to the path that is guarded


async def test_the_cookie_alone_opens_nothing_but_the_stream_of_events(api: Api, client: httpx.AsyncClient) -> None:
    for method, path in api.routes():
        if not is_open(method, path, api) and (method, path) != ("GET", "/operator/events"):
            response = await client.request(method, path, headers={"Cookie": api.cookie})
            assert response.status_code == 401, (method, path)
            assert api.session.token not in response.text
    for method in ("POST", "HEAD"):
        response = await client.request(method, "/operator/events", headers={"Cookie": api.cookie})
        assert response.status_code == 401, method


async def test_a_session_reads_and_writes_with_its_token_alone(api: Api, client: httpx.AsyncClient) -> None:
    for token in (b"", b"x", b"\xe9" * 43):
        wrong: Any = {"Cookie": api.cookie, TOKEN_HEADER: token}
        assert (await client.post("/operator/stop", headers=wrong)).status_code == 401
        assert (await client.get("/v1/models", headers=wrong)).status_code == 401
    session = {"Cookie": api.cookie, TOKEN_HEADER: api.session.token}
    assert (await client.get("/v1/models", headers=session)).status_code == 200
    assert list((await client.get("/session", headers=session)).json()) == ["screens"]
    assert (await client.post("/operator/stop", headers=session)).status_code == 200
    for site in ("cross-site", "same-site"):
        foreign = {**session, "Sec-Fetch-Site": site}
        assert (await client.post("/operator/stop", headers=foreign)).status_code == 403


ALLOWED_HOSTS = ["127.0.0.1", HOST, "localhost", "LOCALHOST:80", "localhost:1", "[::1]", "[::1]:8420"]
FOREIGN_HOSTS = [
    *("", " ", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "localhost.", "127.0.0.1."),
    *("localhost@evil.example", "evil.example@localhost", "user:pw@127.0.0.1", "127.0.0.2", "127.1", "2130706433"),
    *("0x7f000001", "0.0.0.0", "[::]", "::1", "[::1", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "localhost#.evil"),
    *("localhost/evil", "localhost?evil", "localhost:", "localhost:port", "localhost:-1", "localhost:123456"),
    *("localhost evil", "localhost,evil.example", "\u0661\u0662\u0667.0.0.1", "xn--localhost", "localhost\\evil"),
]
FOREIGN_ORIGINS = [
    *("", "null", "http://evil.example", "https://127.0.0.1:8420", "http://localhost:8420", "http://127.0.0.1"),
    *("http://127.0.0.1:80", "http://127.0.0.1:8420.evil.example", "http://evil.example/127.0.0.1:8420"),
    *("http://evil@127.0.0.1:8420", "file://", "chrome-extension://abcdefgh"),
    *(f"http://{HOST}/", f"http://{HOST} evil"),
]


async def test_loopback_names_may_call_and_no_answer_allows_cors(client: httpx.AsyncClient, api: Api) -> None:
    for host in ALLOWED_HOSTS:
        for origin in ({}, {"Origin": f"http://{host}", "Access-Control-Request-Method": "POST"}):
            response = await client.get("/v1/models", headers={**api.key, "Host": host, **origin})
            assert response.status_code == 200, host
            assert not [name for name in response.headers if name.startswith("access-control")]


async def test_other_names_and_pages_from_elsewhere_may_not(client: httpx.AsyncClient, api: Api) -> None:
    foreign: list[Any] = [{"Host": host.encode()} for host in FOREIGN_HOSTS]
    for headers in (*foreign, *({"Host": HOST, "Origin": origin} for origin in FOREIGN_ORIGINS)):
        for path in ("/v1/models", "/healthz", "/"):
            response = await client.get(path, headers={**api.key, "Cookie": api.cookie, **headers})
            assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden"), headers


async def test_keys_are_compared_in_constant_time(api: Api, client: httpx.AsyncClient, monkeypatch: Any) -> None:
    compared = []

    def watch(given: bytes, known: bytes) -> bool:
        compared.append((given, known))
        return hmac.compare_digest(given, known)

    monkeypatch.setattr(guard.secrets, "compare_digest", watch)
    await client.get("/v1/models", headers={"Authorization": "Bearer k"})
    assert compared == [(b"k", KEY.encode())]


@pytest.mark.parametrize("length", [str(BODY_BYTES_MAX + 1), "9" * 18, "9" * 5_000, "0" * 30 + "99999"])
async def test_a_length_over_the_bound_is_refused_unread(client: httpx.AsyncClient, api: Api, length: str) -> None:
    response = await client.post("/v1/completions", headers={**api.key, "Content-Length": length}, content=b"{}")
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


async def test_anthropics_routes_take_its_header_and_no_others_do(client: httpx.AsyncClient, api: Api) -> None:
    paths = sorted({path for method, path in api.routes() if method == "POST" and is_anthropic(path)})
    assert paths == ["/v1/messages", "/v1/messages/count_tokens"]
    for path in paths:
        for headers, status in ({"X-Api-Key": KEY}, 400), ({"X-Api-Key": KEY[1:]}, 401), ({}, 401):
            response = await client.post(path, headers=headers, json={})
            assert response.status_code == status
            assert response.json()["type"] == "error"
        both = {"X-Api-Key": KEY, "Authorization": "Bearer wrong"}
        assert (await client.post(path, headers=both, json={})).status_code == 401
    for path in ("/v1/models", "/v1/messagesx", "/v1/chat/completions", "/operator/status", "/v1/messages/../models"):
        assert (await client.get(path, headers={"X-Api-Key": KEY})).status_code == 401, path


async def test_no_route_is_a_404_in_openais_form(client: httpx.AsyncClient, api: Api) -> None:
    response = await client.get("/v1/threads", headers=api.key)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("GET", "/operator/jobs?limit=many", None, "limit"),
        ("POST", "/operator/adapters/pin", {"adapter": 5}, "adapter"),
        ("POST", "/operator/money/stake", [], "body"),
    ],
)
async def test_the_operators_routes_say_what_is_wrong_in_the_verbs_form(
    api: Api, client: httpx.AsyncClient, method: str, path: str, body: Any, named: str
) -> None:
    headers = {"Cookie": api.cookie, TOKEN_HEADER: api.session.token}
    response = await client.request(method, path, headers=headers, json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert named in error["message"]
    assert error["exit_code"] == 1


async def test_curl_is_told_that_its_content_type_is_missing(client: httpx.AsyncClient, api: Api) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        headers = {**api.key, "Content-Type": kind}
        answer = await client.post("/v1/chat/completions", content='{"model": "fake"}', headers=headers)
        assert answer.status_code == 400
        assert "Content-Type: application/json" in answer.json()["error"]["message"]
