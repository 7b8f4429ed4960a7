"""`/v1/embeddings` over a server that the owner has set: OpenAI's shapes, refusals, and a server that misbehaves."""

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
import trio
from support.apis import open_api
from support.embedding_server import embed, running_embeddings
from support.processes.nodes import running_node

from openledger_node.api.callers import ACCOUNT
from openledger_node.api.embeddings import (
    INPUTS_MAX,
    KEY_VARIABLE,
    EmbeddingBody,
    EmbeddingServer,
    embedding_server,
    inputs_of,
)
from openledger_node.config import ApiConfig
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_protocol.errors import MalformedError

MODEL = "nomic-embed-text"
Answer = Callable[[dict[str, Any]], httpx.Response]


def vectors(body: dict[str, Any]) -> httpx.Response:
    """One vector an input, the last one first, as a server may send them."""
    data = [{"index": index, "embedding": [float(index), 0.5, -1.0]} for index in range(len(body["input"]))]
    return httpx.Response(200, json={"data": data[::-1], "usage": {"prompt_tokens": 7, "total_tokens": 7}})


async def asked(
    body: dict[str, Any], answer: Answer = vectors, *, key: str | None = None
) -> tuple[httpx.Response, list[tuple[httpx.Request, dict[str, Any]]]]:
    """The API's answer, and the requests that the server got."""
    seen: list[tuple[httpx.Request, dict[str, Any]]] = []

    def serve(request: httpx.Request) -> httpx.Response:
        seen.append((request, json.loads(request.content)))
        return answer(seen[-1][1])

    server = EmbeddingServer("http://localhost:9/v1", MODEL, key=key, transport=httpx.MockTransport(serve))
    async with open_api(embeddings=server) as api, api.client() as client:
        response = await client.post("/v1/embeddings", headers=api.key, json={"model": MODEL, **body})
    return response, seen


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("one", ["one"]),
        (["one", "two"], ["one", "two"]),
        ([5, 6], [[5, 6]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
    ],
)
async def test_each_form_of_input_has_a_vector_each(given: Any, sent: list[Any]) -> None:
    response, [(request, body)] = await asked({"input": given})
    assert body == {"model": MODEL, "input": sent, "encoding_format": "float"}
    assert str(request.url) == "http://localhost:9/v1/embeddings"
    assert "authorization" not in request.headers, "the node's own key stays here"
    found = response.json()
    assert (found["object"], found["model"]) == ("list", MODEL)
    assert found["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [each["index"] for each in found["data"]] == list(range(len(sent)))
    assert [each["embedding"] for each in found["data"]] == [[float(i), 0.5, -1.0] for i in range(len(sent))]


async def test_base64_holds_the_same_numbers() -> None:
    response, [(_, body)] = await asked({"input": "one", "encoding_format": "base64"})
    assert body["encoding_format"] == "float"
    assert struct.unpack("<3f", base64.b64decode(response.json()["data"][0]["embedding"])) == (0.0, 0.5, -1.0)


async def test_the_servers_key_is_sent() -> None:
    _, [(request, _)] = await asked({"input": "one"}, key="secret")
    assert request.headers["authorization"] == "Bearer secret"


async def test_dimensions_are_served_where_the_server_has_them() -> None:
    response, [(_, body)] = await asked({"input": "one", "dimensions": 3})
    assert body["dimensions"] == 3
    assert response.status_code == 200
    response, _ = await asked({"input": "one", "dimensions": 2})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "dimensions"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": []}, 400, "input"),
        ({"input": ""}, 400, "input"),
        ({"input": ["one", ""]}, 400, "input"),
        ({"input": [[]]}, 400, "input"),
        ({"input": ["one", 5]}, 400, "input[1]"),
        ({"input": [[5], "x"]}, 400, "input[1]"),
        ({"input": [-1]}, 400, "input[0]"),
        ({"input": [{}]}, 400, "input[0]"),
        ({"input": 5}, 400, "input"),
        ({}, 400, "input"),
        ({"input": "x", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"input": "x", "dimensions": 0}, 400, "dimensions"),
        ({"input": "x", "model": "fake"}, 404, "model"),
    ],
)
async def test_a_wrong_field_is_refused_by_its_name(body: dict[str, Any], status: int, param: str | None) -> None:
    response, seen = await asked(body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert seen == []


def test_inputs_are_counted() -> None:
    assert len(inputs_of(EmbeddingBody(model=MODEL, input=[[1]] * INPUTS_MAX))) == INPUTS_MAX
    with pytest.raises(MalformedError, match="split it"):
        inputs_of(EmbeddingBody(model=MODEL, input=[[1]] * (INPUTS_MAX + 1)))


def odd(**fields: Any) -> Answer:
    return lambda _: httpx.Response(200, json=fields)


@pytest.mark.parametrize(
    "answer",
    [
        odd(),
        odd(data=[]),
        odd(data=[{"index": 0, "embedding": []}]),
        odd(data=[{"index": 0, "embedding": "AAAA"}]),
        odd(data=[{"index": 0, "embedding": [[1.0]]}]),
        odd(data=[{"index": 0, "embedding": [None]}]),
        odd(data=[{"index": 0, "embedding": [1e300]}]),
        odd(data=[{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]),
        odd(data=[{"index": 0, "embedding": [1.0]}], usage={"prompt_tokens": -1}),
        lambda _: httpx.Response(200, text="hello"),
        lambda _: httpx.Response(200, text="[" * 100_000),
        lambda _: httpx.Response(500, text="x"),
        lambda _: httpx.Response(501, json={"error": {"message": "start it with --embeddings"}}),
        lambda _: httpx.Response(401, text="x"),
    ],
)
async def test_a_server_that_gives_no_vectors_is_unavailable(answer: Answer) -> None:
    response, _ = await asked({"input": "one"}, answer)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "unavailable"
    assert "embedding" in response.json()["error"]["message"]


@pytest.mark.parametrize("indices", [(0, 0), (1, 1), (1, 2), (0, 2), (-1, 0)])
async def test_each_input_has_a_vector_of_its_own(indices: tuple[int, int]) -> None:
    found = odd(data=[{"index": index, "embedding": [1.0]} for index in indices])
    response, _ = await asked({"input": ["one", "two"]}, found)
    assert response.status_code == 503
    assert "not one vector for each input" in response.json()["error"]["message"]


async def test_a_server_that_is_down_is_unavailable() -> None:
    def fail(_: dict[str, Any]) -> httpx.Response:
        raise httpx.ConnectError("refused")

    response, _ = await asked({"input": "one"}, fail)
    assert response.status_code == 503
    assert "start it" in response.json()["error"]["message"]


@pytest.mark.parametrize("status", [400, 413, 422, 500])
async def test_a_refused_input_has_the_servers_reason(status: int) -> None:
    refusal = {"error": {"message": "input is too large\nto process" + "x" * 5_000}}
    response, _ = await asked({"input": "one"}, lambda _: httpx.Response(status, json=refusal))
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "input")
    assert "input is too large to process" in error["message"]
    assert len(error["message"]) < 400


async def test_a_client_that_leaves_ends_the_request_at_the_server() -> None:
    has_begun, was_left = trio.Event(), trio.Event()

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            has_begun.set()
            try:
                await trio.sleep_forever()
            finally:
                was_left.set()
            raise AssertionError

    server = EmbeddingServer("http://localhost:9", MODEL, transport=Slow())
    body = json.dumps({"model": MODEL, "input": "one"}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await has_begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()

    async with open_api(embeddings=server) as api:
        headers = {"host": "localhost", "content-type": "application/json", **api.key}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": raw, "query_string": b""}
        with trio.fail_after(5):
            await api.app(scope, receive, send)
    assert was_left.is_set()


async def test_a_named_key_gets_none_since_its_budget_does_not_count_them() -> None:
    server = EmbeddingServer("http://localhost:9/v1", MODEL, key=None)
    async with open_api(embeddings=server) as api:

        async def of_a_named_key(scope: Any, receive: Any, send: Any) -> None:
            await api.inner({**scope, ACCOUNT: SimpleNamespace(name="a")}, receive, send)

        transport = httpx.ASGITransport(of_a_named_key)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            refused = await client.post("/v1/embeddings", json={"model": MODEL, "input": "a"})
    assert refused.status_code == 403
    assert "the owner's own key" in refused.json()["error"]["message"]


async def test_the_model_is_listed_with_what_it_can_do() -> None:
    server = EmbeddingServer("http://localhost:9", MODEL)
    async with open_api(embeddings=server) as api, api.client() as client:
        listed = (await client.get("/v1/models", headers=api.key)).json()["data"]
        one = (await client.get(f"/v1/models/{MODEL}", headers=api.key)).json()
        refused = await client.post("/v1/embeddings", json={"model": MODEL, "input": "one"})
    assert refused.status_code == 401
    assert listed[-1] == one
    assert one["capabilities"] == {**dict.fromkeys(listed[0]["capabilities"], False), "embeddings": True}
    assert not any(each["capabilities"]["embeddings"] for each in listed[:-1])
    assert set(one) == set(listed[0])


def test_without_a_url_there_is_no_server() -> None:
    assert embedding_server(ApiConfig()) is None
    server = embedding_server(ApiConfig(embeddings_url="http://127.0.0.1:1", embeddings_model=MODEL))
    assert server is not None
    assert server.model == MODEL


@pytest.mark.parametrize("key", ["schlüssel", "one\ntwo"])
def test_a_key_that_no_header_takes_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(ConfigError, match="copy the server's key again") as refused:
        embedding_server(ApiConfig(embeddings_url="http://127.0.0.1:1", embeddings_model=MODEL))
    assert key not in str(refused.value)


def test_a_url_that_no_request_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"api\.embeddings_url"):
        embedding_server(ApiConfig(embeddings_url="http://127.0.0.1:port", embeddings_model=MODEL))


def test_openais_client_gets_vectors_from_a_node(tmp_path: Path) -> None:
    texts = ["the sea", "a wall"]
    with running_embeddings() as url:
        settings = {"OPENLEDGER_API_EMBEDDINGS_URL": url, "OPENLEDGER_API_EMBEDDINGS_MODEL": MODEL}
        with (
            running_node(Home(tmp_path), "--backend", "fake", **settings) as node,
            openai.OpenAI(base_url=f"{node.url}/v1", api_key=node.key, max_retries=0) as client,
        ):
            assert client.models.list().data[-1].id == MODEL
            found = client.embeddings.create(model=MODEL, input=texts)  # it asks for base64
    assert [each.embedding for each in found.data] == [pytest.approx(embed(text), abs=1e-6) for text in texts]
    assert found.usage.prompt_tokens == 4
