"""Who may call: every route of the API, from where, with what."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from support.processes.nodes import Node

from openledger_node.api.guard import OPEN_PATHS, is_loopback, is_same_origin

BODY_BYTES_MAX = 2 << 20


def routes(node: Node) -> list[tuple[str, str]]:
    paths = httpx.get(f"{node.url}/openapi.json", headers=node.headers).json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def test_every_route_but_health_needs_the_key(node: Node) -> None:
    walked = routes(node)
    assert {path for _, path in walked} >= {"/v1/chat/completions", "/v1/completions", "/v1/models"}
    for method, path in [*walked, ("GET", "/openapi.json"), ("GET", "/nothing")]:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {node.key}"}):
            response = httpx.request(method, node.url + path, headers=headers)
            is_open = path in OPEN_PATHS
            assert (response.status_code == 401) is not is_open, (method, path)
            assert is_open or response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost@evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
    ],
)
def test_host_and_origin(node: Node, headers: dict[str, str], status: int) -> None:
    response = httpx.get(f"{node.url}/v1/models", headers={**node.headers, **headers})
    assert response.status_code == status


def test_a_page_of_this_very_server_may_call(node: Node) -> None:
    assert httpx.get(f"{node.url}/v1/models", headers={**node.headers, "Origin": node.url}).status_code == 200


def test_a_body_that_declares_too_much_is_refused(node: Node) -> None:
    headers = {**node.headers, "Content-Length": str(BODY_BYTES_MAX + 1)}
    request = httpx.Request("POST", f"{node.url}/v1/completions", headers=headers, content=b"{}")
    request.headers["Content-Length"] = str(BODY_BYTES_MAX + 1)
    assert _status_of_raw(node, request) == 413


def test_a_body_that_grows_too_large_is_refused(node: Node) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (BODY_BYTES_MAX // 32)

    response = httpx.post(f"{node.url}/v1/completions", headers=node.headers, content=pieces())
    assert response.status_code == 413
    assert "over" in response.json()["error"]["message"]


def test_the_api_listens_on_loopback_alone(node: Node) -> None:
    port = urlsplit(node.url).port
    assert port is not None
    with socket.socket() as elsewhere, pytest.raises(ConnectionRefusedError):
        elsewhere.connect(("127.0.0.2", port))


def test_the_control_socket_is_its_owners(node: Node) -> None:
    assert node.home.socket.stat().st_mode & 0o777 == 0o600
    assert node.home.root.joinpath("keys").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST:80", "[::1]:9"])
def test_loopback_names(host: str) -> None:
    assert is_loopback(host)


def test_no_origin_is_a_program() -> None:
    assert is_same_origin(None, "localhost:1")


def _status_of_raw(node: Node, request: httpx.Request) -> int:
    """Send head and a first byte only: the refusal must not wait for the rest."""
    address = urlsplit(node.url)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(f"POST {request.url.path} HTTP/1.1\r\n{head}\r\n{{".encode())
        return int(connection.recv(64).split()[1])
