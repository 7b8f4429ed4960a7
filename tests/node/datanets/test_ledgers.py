"""Ledgers of networks that are in use, and of networks that are not."""

import sqlite3
from collections.abc import Callable

import pytest

from openledger_node.datanets.ledgers import read_ledgers
from openledger_node.datanets.withdrawn import withdrawn_here
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger
from openledger_protocol.primitives import Digest

USED, UNUSED = "harbour-1", "valley-2"


@pytest.fixture
def two(home: Home) -> Home:
    for network in (USED, UNUSED):
        file = home.ledger(network)
        file.parent.mkdir(parents=True)
        open_ledger(file).close()
    home.joined_network.write_text(f"{USED}\n")
    return home


def rewrite(home: Home, network: str) -> None:
    connection = sqlite3.connect(home.ledger(network))
    connection.execute("PRAGMA user_version = 7")
    connection.close()


@pytest.mark.parametrize(
    "spoil", [lambda home, network: home.ledger(network).write_bytes(b"no database" * 1_000), rewrite]
)
def test_a_ledger_that_can_not_be_read_is_an_error_if_it_is_in_use_and_else_stops_nothing(
    two: Home, spoil: Callable[[Home, str], object], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(two, UNUSED)
    assert list(read_ledgers(two, lambda network, _: network)) == [USED]
    assert withdrawn_here(two, [Digest("0x" + "1" * 64)]) == {}
    assert f"network {UNUSED}, which is not in use, is left out: " in caplog.text
    spoil(two, USED)
    with pytest.raises(ConfigError, match="ledger"):
        list(read_ledgers(two, lambda network, _: network))
