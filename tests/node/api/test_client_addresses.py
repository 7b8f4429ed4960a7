"""Clients behind reverse proxies: only a trusted proxy may say an address, and only the part that it has seen."""

from pathlib import Path
from typing import Any

import pytest

from openledger_node.access.keys import ApiKeyRing
from openledger_node.api.callers import NamedCallers
from openledger_node.api.client_addresses import as_forwarded
from openledger_node.api.public import FAILED_MAX, PublicGuard
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.listeners import read_networks

TRUSTED = read_networks("127.0.0.1, 10.0.0.0/8, fd00::/8")


def scope_of(client: str, *lines: str, proto: str | None = None) -> dict[str, Any]:
    headers = [(b"X-Forwarded-For", line.encode("latin-1")) for line in lines]
    headers += [] if proto is None else [(b"x-forwarded-proto", proto.encode())]
    return {"type": "http", "client": (client, 4711), "scheme": "http", "headers": headers}


@pytest.mark.parametrize(
    ("client", "lines", "seen"),
    [
        ("127.0.0.1", ("203.0.113.7",), "203.0.113.7"),
        ("::ffff:127.0.0.1", ("203.0.113.7",), "203.0.113.7"),
        ("fd00::1", ("[2001:db8::7]:443",), "2001:db8::7"),
        ("127.0.0.1", ("203.0.113.7:1234",), "203.0.113.7"),
        ("127.0.0.1", ("198.51.100.1, 203.0.113.7",), "203.0.113.7"),
        ("127.0.0.1", ("198.51.100.1", "203.0.113.7"), "203.0.113.7"),
        ("127.0.0.1", ("203.0.113.7, 10.1.2.3",), "203.0.113.7"),
        ("127.0.0.1", ("10.1.2.3",), "10.1.2.3"),
        ("127.0.0.1", ("203.0.113.7, unknown",), "127.0.0.1"),
        ("127.0.0.1", ("unknown, 10.1.2.3",), "10.1.2.3"),
        ("127.0.0.1", (), "127.0.0.1"),
        ("127.0.0.1", ("203.0.113.7" + ", 10.0.0.1" * 100,), "10.0.0.1"),
        ("203.0.113.9", ("198.51.100.1",), "203.0.113.9"),
        ("", ("198.51.100.1",), ""),
    ],
    ids=[
        "one proxy", "an IPv4 proxy on an IPv6 socket", "IPv6 with a port", "IPv4 with a port",
        "an entry that the client wrote", "a line that the client wrote", "two proxies", "a client inside",
        "no address", "no address further left", "no header", "more hops than are read", "no trusted proxy",
        "a socket without address",
    ],
)  # fmt: skip
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(
    client: str, lines: tuple[str, ...], seen: str
) -> None:
    assert as_forwarded(scope_of(client, *lines), TRUSTED)["client"][0] == seen


def test_without_trusted_proxies_nothing_is_read() -> None:
    scope = scope_of("127.0.0.1", "203.0.113.7", proto="https")
    assert as_forwarded(scope, ()) is scope


@pytest.mark.parametrize(
    ("client", "proto", "scheme"),
    [
        ("127.0.0.1", "https", "https"),
        ("127.0.0.1", "http, https", "https"),
        ("127.0.0.1", "gopher", "http"),
        ("203.0.113.9", "https", "http"),
    ],
)
def test_only_a_trusted_proxy_says_the_scheme(client: str, proto: str, scheme: str) -> None:
    assert as_forwarded(scope_of(client, proto=proto), TRUSTED)["scheme"] == scheme


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "10.0.0.0/40", "127.0.0.1:8421"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not the address of a proxy: write an IP address or a network"):
        read_networks(text)


@pytest.mark.parametrize(("proxies", "last"), [("127.0.0.1", 401), ("", 429)], ids=["trusted", "not trusted"])
async def test_one_client_with_wrong_keys_does_not_use_up_the_bound_of_the_others(
    tmp_path: Path, proxies: str, last: int
) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("no wrong key gets this far")

    ledger = open_ledger(tmp_path / "ledger.db")
    guard = PublicGuard(
        never,
        callers=NamedCallers(ApiKeyRing(Home(tmp_path)), ledger.key_uses),
        origins=frozenset(),
        body_bytes_max=1_000,
        now_s=lambda: 0.0,
        proxies=read_networks(proxies),
    )

    async def status_for(address: str) -> int:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = scope_of("127.0.0.1", address) | {"method": "GET", "path": "/v1/models", "query_string": b""}
        scope["headers"].append((b"authorization", b"Bearer olk-wrong"))
        await guard(scope, receive, send)
        return int(sent[0]["status"])

    codes = [await status_for("203.0.113.7") for _ in range(FAILED_MAX + 1)]
    assert codes == [401] * FAILED_MAX + [429]
    assert await status_for("198.51.100.1") == last
    ledger.close()
