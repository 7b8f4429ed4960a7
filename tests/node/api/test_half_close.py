"""Clients that end their sending side behind a request, over real sockets, are answered unless they have left."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
from node.api.scripted_door import EndlessDoor, ScriptedDoor
from support.apis import KEY, open_api

from openledger_node.api.server import bind_tcp, serve_app, still_reads, url_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not list the client's socket")

BODY = b'{"model":"fake","prompt":"Once"%b}'


class PatientDoor(ScriptedDoor):
    """Answers once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_answer = trio.Event(), trio.Event()

    async def handle(self, admitted: Any, send: Any) -> None:
        self.has_begun.set()
        await self.may_answer.wait()
        await super().handle(admitted, send)


def asked(*, stream: bool = False, version: bytes = b"1.1") -> bytes:
    body = BODY % (b',"stream":true' if stream else b"")
    head = b"POST /v1/completions HTTP/%b\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
    head %= version, KEY.encode()
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@asynccontextmanager
async def connected(door: ScriptedDoor) -> AsyncIterator[trio.SocketStream]:
    stopping, listener = trio.Event(), bind_tcp("127.0.0.1", 0)
    with trio.fail_after(10):
        async with open_api(door=door) as api, trio.open_nursery() as nursery:
            address = urlsplit(url_of(listener))
            nursery.start_soon(serve_app, api.app, listener, stopping.wait)
            async with await trio.open_tcp_stream("127.0.0.1", address.port or 0) as stream:
                yield stream
            stopping.set()


async def rest_of(stream: trio.SocketStream) -> bytes:
    return b"".join([bytes(piece) async for piece in stream])


@pytest.mark.parametrize(("version", "stream"), [(b"1.0", False), (b"1.1", False), (b"1.1", True)])
async def test_a_client_that_ends_its_sending_side_gets_its_answer(stream: bool, version: bytes) -> None:
    door = PatientDoor()
    async with connected(door) as client:
        await client.send_all(asked(stream=stream, version=version))
        await client.send_eof()
        await door.has_begun.wait()
        door.may_answer.set()
        answer = await rest_of(client)
    assert b" 200 " in answer.partition(b"\r\n")[0]
    assert b" sea" in answer
    assert (b"[DONE]" in answer) is stream


async def test_a_request_that_is_not_whole_is_refused_at_once() -> None:
    async with connected(PatientDoor()) as client:
        await client.send_all(asked()[:-5])
        await client.send_eof()
        assert b" 400 " in (await rest_of(client)).partition(b"\r\n")[0]


@pytest.mark.parametrize(("stream", "first_half"), [(False, True), (False, False), (True, False)])
async def test_a_client_that_has_left_ends_its_answer(stream: bool, first_half: bool) -> None:
    door = EndlessDoor()
    async with connected(door) as client:
        await client.send_all(asked(stream=stream))
        if first_half:
            await client.send_eof()
        await door.has_begun.wait()
        await client.aclose()
        with trio.fail_after(5 if first_half else 0.4):  # at once, and not at the next look
            await door.was_left.wait()


async def test_an_idle_connection_ends_with_the_clients_side() -> None:
    async with connected(PatientDoor()) as client:
        await client.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b'"ok"}'):
            answer += await client.receive_some()
        await client.send_eof()
        assert await rest_of(client) == b""


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_client_reads_until_its_socket_is_closed(family: int, host: str) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no such loopback")
        listener.listen()
        client = socket.socket(family)
        client.connect(listener.getsockname())
        ours, _ = listener.accept()
        with ours:
            assert still_reads(ours)
            client.shutdown(socket.SHUT_WR)
            assert still_reads(ours)
            client.close()
            assert not still_reads(ours)
    first, second = socket.socketpair()
    with first, second:
        assert not still_reads(first), "it is no TCP connection"
