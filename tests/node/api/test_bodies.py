"""Whatever a client sends, it is told what is wrong with it: never a 5xx, never a hang, and the node goes on."""

import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from support.apis import open_api
from support.processes.nodes import Node

from openledger_node.api.server import Bounds, bind_tcp, serve_app, url_of

MESSAGES = '"messages": [{"role": "user", "content": "Ahoy-4f1c"}]'
HEAD = '{"model": "fake", "max_tokens": 4, ' + MESSAGES


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


def with_schema(schema: str) -> str:
    form = '{"type": "json_schema", "json_schema": {"schema": ' + schema + "}}"
    return HEAD + ', "response_format": ' + form + "}"


ODD_BODIES: dict[str, str | bytes] = {
    "empty": b"",
    "null": "null",
    "a list": "[]",
    "cut off": '{"model": "fake"',
    "two values": HEAD + "} {}",
    "not utf-8": b'{"model": "\xff\xfe"}',
    "utf-16": (HEAD + "}").encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + (HEAD + "}").encode(),
    "an overlong slash": b'{"model": "\xc0\xaf"}',
    "half a character": HEAD + r', "user": "\ud800"}',
    "half a character as a name": HEAD + r', "response_format": {"\ud800": 1}}',
    "half a character as a field": HEAD + r', "\ud800": 1}',
    "half a character as a stop": HEAD + r', "stop": "\udfff"}',
    "zero bytes": HEAD + r', "stop": ["\u0000"]}',
    "lists in lists": nested(100_000),
    "a field that nests deeply": HEAD + f', "x": {nested(20_000)}}}',
    "metadata that nests": HEAD + f', "metadata": {nested(400)}}}',
    "a schema that nests": with_schema(nested(300, '{"items":', "}").replace(":}", ":{}}", 1)),
    "a content that nests": '{"model": "fake", "messages": [{"role": "user", "content": ' + nested(500) + "}]}",
    "NaN": HEAD + ', "temperature": NaN}',
    "infinity": HEAD + ', "top_p": Infinity}',
    "a number over a float": HEAD + ', "temperature": 1e999}',
    "an integer of 5000 digits": HEAD + f', "seed": {"9" * 5_000}}}',
    "a huge max_tokens": HEAD.replace('"max_tokens": 4', f'"max_tokens": {"9" * 400}') + "}",
    "a huge top_k": HEAD + f', "top_k": {10**30}}}',
    "true as max_tokens": HEAD.replace('"max_tokens": 4', '"max_tokens": true') + "}",
    "a name twice": HEAD + ', "model": "nobody", "model": "fake", "temperature": 9, "temperature": 0}',
    "every name twice": HEAD + "," + HEAD[1:] + "}",
    "a message as a text": '{"model": "fake", "messages": ["hello"]}',
    "content of parts that are none": '{"model": "fake", "messages": [{"role": "user", "content": [1]}]}',
    "a role as a list": '{"model": "fake", "messages": [{"role": ["user"], "content": "x"}]}',
    "a prompt of nothing": '{"model": "fake", "prompt": []}',
    "an empty prompt": '{"model": "fake", "prompt": ""}',
    "a long model": HEAD.replace("fake", "m" * 1_000_000) + "}",
    "a model that is a path": HEAD.replace("fake", "../../etc/passwd") + "}",
    "a model with control characters": HEAD.replace("fake", r"\u001b[31m\u202e") + "}",
    "unhashable tools": HEAD + ', "tools": {"a": []}}',
    "weights that are none": HEAD + ', "openledger": {"adapters": [{"name": "a", "weight": NaN}]}}',
    "a thousand weights": HEAD + ', "openledger": {"adapters": [' + ", ".join(['{"name": "a"}'] * 1_000) + "]}}",
    "stream_options as a text": HEAD + ', "stream": true, "stream_options": "usage"}',
    "a regular expression that explodes": with_schema(
        '{"type": "string", "pattern": "(((((a{1,99}){1,99}){1,99}){1,99}){1,99}){1,99}"}'
    ),
    "a schema that refers to itself": with_schema('{"$ref": "#"}'),
    "a schema that allows nothing": with_schema('{"enum": []}'),
    "half a character in a schema": with_schema(r'{"const": "\ud800"}'),
}

ODD_HEADS: dict[str, bytes] = {
    "no http": b"hello\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
    "a head without an end": b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 100_000,
    "too many headers": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 200_000 + b"\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "http/1.0": b"GET /healthz HTTP/1.0\r\n\r\n",
    "a foreign target": b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a target that is no utf-8": b"GET /\xff\xfe%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "two lengths": b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a negative length": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "a chunk that is none": b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "a smuggled header": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\rAuthorization: Bearer x\r\n\r\n",
    "an upgrade to a websocket": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
}

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"


@pytest.fixture(scope="module")
def client(node: Node) -> Iterator[httpx.Client]:
    with node.client() as opened:
        yield opened


@pytest.mark.parametrize("name", ODD_BODIES)
def test_no_body_makes_the_node_fail(client: httpx.Client, name: str) -> None:
    body = ODD_BODIES[name]
    content = body.encode(errors="surrogatepass") if isinstance(body, str) else body
    for path in (CHAT, COMPLETIONS, RESPONSES):
        response = client.post(path, headers={"Content-Type": "application/json"}, content=content)
        assert response.status_code < 500, response.text
        if response.status_code != 200:
            error = response.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["type"] == "invalid_request_error"
            assert error["message"]
            assert len(response.content) < 4_096, "a refusal does not send the body back"
    assert client.get("/readyz").json() == {"ready": True}


@pytest.mark.parametrize(("path", "key"), [(CHAT, True), (CHAT, False), ("/healthz", False)])
def test_a_client_that_still_sends_a_body_that_is_refused_hears_why(node: Node, path: str, key: bool) -> None:
    for _ in range(5):  # a server that closes over unread bytes loses the answer now and then
        response = httpx.post(node.url + path, headers=node.headers if key else {}, content=b" " * (8 << 20))
        assert response.status_code == (413 if key else 401)


def test_the_connection_ends_with_a_refusal_before_the_body_was_read_alone(node: Node) -> None:
    with httpx.Client(base_url=node.url, timeout=60) as client:
        assert "connection" not in client.post(CHAT, headers=node.headers, content=b"{}").headers
        for path, headers in ((CHAT, {}), ("/v1/nothing", node.headers)) * 10:
            content = HEAD.replace("fake", "m" * 200_000) + "}"
            response = client.post(path, headers=headers, content=content)  # the next would meet a closed door
            assert response.status_code in (401, 404, 400, 501)
            assert response.headers["connection"] == "close"


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as opened:
        yield opened


def all_of(connection: socket.socket) -> bytes:
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("name", ODD_HEADS)
def test_no_head_gets_more_than_a_refusal(node: Node, name: str) -> None:
    with connected(node.url) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(ODD_HEADS[name])
            connection.shutdown(socket.SHUT_WR)
        answer = all_of(connection)
    assert not answer.startswith(b"HTTP/1.1 ") or answer[9:10] == b"4", answer[:200]
    assert httpx.get(f"{node.url}/healthz").status_code == 200


def test_the_log_has_no_traceback_and_no_body(node: Node) -> None:
    log = (node.home.root / "start.log").read_text()
    assert "Traceback" not in log
    assert "Ahoy-4f1c" not in log


# ---- time and room, with bounds that a test can wait for


@contextlib.asynccontextmanager
async def served(bounds: Bounds, *, body_s: float) -> AsyncIterator[str]:
    stopping, listener = trio.Event(), bind_tcp("127.0.0.1", 0)
    async with open_api(body_s=body_s) as api, trio.open_nursery() as nursery:
        url = url_of(listener)
        nursery.start_soon(serve_app, api.app, listener, stopping.wait, bounds)
        yield url
        stopping.set()


async def told(url: str, sent: bytes, *, with_key: bool = True) -> tuple[int, dict[str, Any]]:
    """Send something, and read until the node hangs up."""
    address = urlsplit(url)
    stream = await trio.open_tcp_stream(address.hostname or "", address.port or 0)
    async with stream:
        await stream.send_all(sent.replace(b"KEY", b"Bearer " + b"k" * 43))
        answer = b""
        with trio.fail_after(10):
            async for piece in stream:
                answer += piece
    if not answer:
        return 0, {}
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else {}


async def ask(stream: trio.SocketStream) -> None:
    """Have one more answer on a connection that stays open."""
    await stream.send_all(ASK + b"\r\n")
    answer = b""
    while not answer.endswith(b'"ok"}'):
        answer += await stream.receive_some()


ASK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: KEY\r\n"


@pytest.mark.parametrize(
    "beginning", [b"Content-Length: 50\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]
)
async def test_a_body_that_does_not_come_is_not_waited_for(beginning: bytes) -> None:
    async with served(Bounds(), body_s=0.3) as url:
        status, answer = await told(url, POST + beginning)
    assert status == 408
    assert answer["error"]["code"] == "request_timeout"


async def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    async with served(Bounds(idle_s=0.3), body_s=30) as url:
        for beginning in (b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: loc"):
            assert (await told(url, beginning))[0] in (0, 408)


async def test_a_connection_over_the_bound_is_told_so_and_the_others_go_on() -> None:
    async with served(Bounds(connections_max=3), body_s=30) as url:
        address = urlsplit(url)
        held = [await trio.open_tcp_stream(address.hostname or "", address.port or 0) for _ in range(3)]
        for stream in held:  # that each is served is known once each has had an answer
            await ask(stream)
        status, answer = await told(url, ASK + b"\r\n")
        assert status == 503
        assert answer["error"]["code"] == "too_many_connections"
        await ask(held[0])
        for stream in held:
            await stream.aclose()
        with trio.fail_after(10):
            while (await told(url, ASK + b"Connection: close\r\n\r\n"))[0] != 200:
                pass


@pytest.mark.parametrize(
    ("head", "rest"),
    [(b"Content-Length: 400000\r\n\r\n", b""), (b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n")],
    ids=["it ends too early", "a malformed chunk"],
)
async def test_a_broken_body_leaves_no_traceback(head: bytes, rest: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The refusal of the route and that of the server are sent by two tasks at the same time."""
    async with served(Bounds(), body_s=30) as url, trio.open_nursery() as nursery:
        address = urlsplit(url)

        async def send_broken() -> None:
            async with await trio.open_tcp_stream(address.hostname or "", address.port or 0) as stream:
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(POST + head)
                    await trio.lowlevel.checkpoint()
                    await (stream.send_all(rest) if rest else stream.send_eof())
                    async for _ in stream:
                        pass

        for _ in range(100 if rest else 20):
            nursery.start_soon(send_broken)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_body_that_grows_too_large_is_refused(client: httpx.Client) -> None:
    pieces = (b" " * (1 << 16) for _ in range(40))
    response = client.post(COMPLETIONS, content=pieces)
    assert response.status_code == 413
    assert "over" in response.json()["error"]["message"]


def test_the_node_listens_on_loopback_alone_and_its_control_socket_is_its_owners(node: Node) -> None:
    with socket.socket() as elsewhere, pytest.raises(ConnectionRefusedError):
        elsewhere.connect(("127.0.0.2", urlsplit(node.url).port or 0))
    assert node.home.socket.stat().st_mode & 0o777 == 0o600
    assert node.home.root.joinpath("keys").stat().st_mode & 0o777 == 0o700


def test_two_thousand_connections_leave_the_node_as_it_was(node: Node) -> None:
    descriptors = Path(f"/proc/{node.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(4):
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    stack.enter_context(connected(node.url))
    for _ in range(100):
        if httpx.get(f"{node.url}/healthz").status_code == 200 and len(list(descriptors.iterdir())) <= before + 4:
            return
    raise AssertionError("connections stay open")
