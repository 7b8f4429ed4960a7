"""The API listens beyond loopback only with a key that is not revoked and with listed origins."""

from pathlib import Path

import pytest

from openledger_node.access.keys import ApiKeyRing
from openledger_node.access.listening import public_addresses
from openledger_node.config import ApiConfig
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.listeners import ListenAddress, read_addresses, read_origins


def test_nothing_is_checked_without_an_address(tmp_path: Path) -> None:
    assert public_addresses(ApiConfig(), ApiKeyRing(Home(tmp_path))) == []


def test_address_needs_a_key_that_is_not_revoked(tmp_path: Path) -> None:
    ring, api = ApiKeyRing(Home(tmp_path)), ApiConfig(listen="192.168.1.20:8421", origins="none")
    with pytest.raises(ConfigError, match="keys add NAME"):
        public_addresses(api, ring)
    ring.add("anna", now_s=1, at_once=1)
    assert public_addresses(api, ring) == [ListenAddress("192.168.1.20", 8421)]
    ring.revoke("anna")
    with pytest.raises(ConfigError, match="there is none"):
        public_addresses(api, ring)


def test_address_needs_a_decision_on_origins(tmp_path: Path) -> None:
    ring = ApiKeyRing(Home(tmp_path))
    ring.add("anna", now_s=1, at_once=1)
    with pytest.raises(ConfigError, match=r"\[api\] origins"):
        public_addresses(ApiConfig(listen="[::]:8421"), ring)


def test_addresses_are_read() -> None:
    found = read_addresses("192.168.1.20:8421, [::]:0,")
    assert [str(each) for each in found] == ["192.168.1.20:8421", "[::]:0"]


@pytest.mark.parametrize(
    "text", ["8421", "localhost:8421", "::1:8421", "[::1]", "1.2.3.4", "[1.2.3.4]:1", "1.2.3.4:70000", "1.2.3.4:-1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        read_addresses(text)


def test_origins_are_read() -> None:
    assert read_origins("none") == frozenset()
    assert read_origins("https://a.example, http://[::1]:3000") == {"https://a.example", "http://[::1]:3000"}


@pytest.mark.parametrize(
    "text", ["*", "null", "https://a.example/", "a.example", "HTTPS://a.example", "none, https://a"]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an origin"):
        read_origins(text)
