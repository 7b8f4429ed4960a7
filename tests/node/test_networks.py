"""Networks: what a file must hold, and which one a home is on."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.rows import network_named

from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.network_file import (
    AUTO,
    CONTRACTS,
    EMBEDDED,
    FILE_BYTES_MAX,
    CoinPrice,
    Network,
    Token,
    current_network,
    embed_network,
    is_embedded,
    join_network,
    keep_network,
    network_from_json,
    network_to_json,
    read_network,
    write_network,
)
from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.primitives import Digest, Wei, check_address

GENESIS = Digest("0x1a2b3c4d" + "0" * 56)
PRICE = CoinPrice(open_wei=Wei(3_000 * 10**18), on=date(2026, 12, 6))
PEER = "/ip4/10.0.0.1/tcp/4001/p2p/12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2"


@pytest.fixture
def network() -> Network:
    return network_named(
        "development-1a2b3c4d",
        rpc=("http://127.0.0.1:8545",),
        genesis_hash=GENESIS,
        deploy_block=7,
        bootstrap=(PEER,),
    )


@pytest.fixture
def real(network: Network) -> Network:
    return replace(network, network="openledger-8453", chain_id=8453, coin_price=PRICE)


def changed(network: Network, /, **changes: Any) -> str:
    return json.dumps({**network_to_json(network), **changes})


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_file_is_the_documented_object_and_read_back(network: Network, tmp_path: Path) -> None:
    write_network(tmp_path / "network.json", network)
    assert read_network(tmp_path / "network.json") == network
    assert network_to_json(network) == {
        "schema": "openledger.network/1",
        "network": "development-1a2b3c4d",
        "chain_id": 31337,
        "rpc": ["http://127.0.0.1:8545"],
        "genesis_hash": GENESIS,
        "deploy_block": 7,
        "contracts": {name: check_address(f"0x{number:040x}") for number, name in enumerate(CONTRACTS, 1)},
        "bootstrap": [PEER],
        "token": {"symbol": "OPEN", "decimals": 18},
    }


ALL = network_named().contracts
ONE = "0x" + "0" * 39 + "1"
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "another schema": (
        {"schema": "openledger.network/7"},
        "so another version of this program wrote it. Move it aside",
    ),
    "an unknown field": ({"\x1b[31m": 1}, r"it has an unknown field '\\x1b\[31m'"),
    "a path as id": ({"network": "../../keys"}, "network: not a name"),
    "a dot as id": ({"network": ".."}, "network: not a name"),
    "a number as id": ({"network": 7}, "network: not a name"),
    "a word with another meaning as id": ({"network": "local"}, "network can't be 'local'"),
    "a file's name as id": ({"network": "current"}, "network can't be 'current'"),
    "another chain's development id": ({"network": "development-00000000"}, "does not fit the genesis hash"),
    "a chain id of zero": ({"chain_id": 0}, "chain_id must be a whole number from 1"),
    "a chain id that is no number": ({"chain_id": True}, "chain_id must be a whole number"),
    "a chain id beyond all": ({"chain_id": 2**64}, "chain_id must be a whole number"),
    "no endpoint": ({"rpc": []}, "rpc names no endpoint"),
    "one endpoint not in a list": ({"rpc": "http://x"}, "rpc must be a list"),
    "too many endpoints": ({"rpc": ["http://x"] * 33}, "rpc must be a list of at most 32"),
    "an endless endpoint": ({"rpc": ["http://" + "x" * 300]}, "rpc must hold texts of at most 256"),
    "a file as endpoint": ({"rpc": ["file:///etc/passwd"]}, "rpc: 'file:///etc/passwd' is not the URL"),
    "an endpoint with a bad port": ({"rpc": ["http://x:99999"]}, "is not the URL"),
    "an endpoint with a line break": ({"rpc": ["http://x/\nHost: y"]}, "is not the URL"),
    "a short genesis hash": ({"genesis_hash": "0x1a2b3c4d"}, "genesis_hash: not a digest"),
    "a deploy block below zero": ({"deploy_block": -1}, "deploy_block must be a whole number"),
    "contracts in a list": ({"contracts": []}, "contracts must be an object"),
    "a contract too few": ({"contracts": {"OpenToken": ONE}}, "contracts lacks Timelock, OpenGovernor, Params"),
    "a contract without an address": ({"contracts": {**ALL, "Params": "0x12"}}, "contracts.Params: not an address"),
    "a mistyped contract": (
        {"contracts": {**ALL, "Params": "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266"}},
        "wrong checksum",
    ),
    "two contracts at one address": ({"contracts": {**ALL, "Params": ONE}}, "two contracts have the same address"),
    "a contract of no name": ({"contracts": {**ALL, "../x": "0x" + "9" * 40}}, "a key that is not the name of a con"),
    "a peer without an id": ({"bootstrap": ["/ip4/10.0.0.1/tcp/4001"]}, "is not the address of a peer"),
    "a token without decimals": ({"token": {"symbol": "OPEN"}}, "token has no field 'decimals'"),
    "a token in colours": ({"token": {"symbol": "\x1b[31m", "decimals": 18}}, "token.symbol: 1 to 16 letters"),
    "a token of many decimals": ({"token": {"symbol": "OPEN", "decimals": 99}}, "token.decimals must be"),
    "free gas for real money": ({"network": "openledger-1"}, "it must name the price of a coin of gas, coin_price"),
    "gas that costs play money": (
        {"coin_price": {"open_wei": "1", "date": "2026-12-06"}},
        "it must not name the price of a coin of gas",
    ),
    "a price without a day": ({"coin_price": {"open_wei": "1"}}, "coin_price has no field 'date'"),
    "a price of nothing": ({"coin_price": {"open_wei": "0", "date": "2026-12-06"}}, "open_wei: not a positive"),
    "a price as a number": ({"coin_price": {"open_wei": 1, "date": "2026-12-06"}}, "open_wei: not a positive"),
    "a price of no day": ({"coin_price": {"open_wei": "1", "date": "2026-13-06"}}, "coin_price.date: month must"),
    "a price of a week": ({"coin_price": {"open_wei": "1", "date": "2026-W49-7"}}, "coin_price.date: not a day such"),
}


@pytest.mark.parametrize(("changes", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_by_name(network: Network, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        network_from_json(changed(network, **changes), source="friend.json")
    assert str(refused.value).startswith("friend.json is not a network.json: ")


def test_a_missing_field_is_named_and_what_is_no_object_is_refused(network: Network) -> None:
    lacking = network_to_json(network)
    del lacking["chain_id"]
    with pytest.raises(ConfigError, match="it has no field 'chain_id'"):
        network_from_json(json.dumps(lacking), source="friend.json")
    for text in ("", "[]", "[" * 9999, b"\xff\xfe\xfd", '{"chain_id": 1' + "0" * 9000 + "}"):
        with pytest.raises(ConfigError, match=r"friend\.json is not a network\.json: it is not"):
            network_from_json(text, source="friend.json")


def test_a_file_that_is_endless_or_not_there_is_named(network: Network, tmp_path: Path) -> None:
    file = tmp_path / "network.json"
    with pytest.raises(ConfigError, match=r"cannot read .*network\.json: No such file"):
        read_network(file)
    file.write_text(changed(network) + " " * FILE_BYTES_MAX)
    with pytest.raises(ConfigError, match="it is longer than 65536 bytes"):
        read_network(file)


def test_addresses_in_one_case_are_given_their_checksum_and_more_contracts_are_welcome(network: Network) -> None:
    later = {"Timelock": "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "Later": "0x" + "1" * 40}
    read = network_from_json(changed(network, contracts=network.contracts | later), source="friend.json")
    assert read.contracts["Timelock"] == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


# ── the network of a home ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_home_is_on_the_embedded_network_that_no_daemon_has_made_yet(home: Home) -> None:
    assert current_network(home, AUTO) is None
    assert is_embedded(home, AUTO)
    assert list(home.root.iterdir()) == []


def test_the_network_joined_last_replaces_the_embedded_one(home: Home, network: Network, real: Network) -> None:
    embed_network(home, network)
    assert current_network(home, AUTO) == network
    join_network(home, real)
    assert current_network(home, AUTO) == real
    assert current_network(home, EMBEDDED) == network
    assert is_embedded(home, EMBEDDED)
    assert not is_embedded(home, AUTO)
    join_network(home, network)
    assert current_network(home, AUTO) == network


def test_local_is_on_none_whatever_was_joined(home: Home, network: Network) -> None:
    join_network(home, network)
    assert current_network(home, LOCAL_NETWORK) is None
    assert not is_embedded(home, LOCAL_NETWORK)


@pytest.mark.parametrize("choice", ["openledger-1", "AUTO"])
def test_an_unknown_network_is_named_with_the_verb_that_brings_it(home: Home, choice: str) -> None:
    with pytest.raises(
        ConfigError, match=f"network is '{choice}', which is not known here: join it with `openledger-node network"
    ):
        current_network(home, choice)


@pytest.mark.parametrize("choice", ["../..", ""])
def test_a_choice_that_is_no_id_is_refused(home: Home, choice: str) -> None:
    with pytest.raises(ConfigError, match="not a name"):
        current_network(home, choice)


@pytest.mark.parametrize("content", ["", "../..\n", "local\n"])
def test_a_spoilt_note_of_the_joined_network_is_refused(home: Home, content: str) -> None:
    home.joined_network.parent.mkdir()
    home.joined_network.write_text(content)
    with pytest.raises(ConfigError, match="names no network: delete it and join again"):
        current_network(home, AUTO)


def test_a_known_network_may_come_with_new_endpoints_peers_and_a_new_price(home: Home, real: Network) -> None:
    keep_network(home, real)
    price = CoinPrice(open_wei=Wei(7), on=date(2027, 1, 31))
    keep_network(home, moved := replace(real, rpc=("https://rpc.example.org",), bootstrap=(), coin_price=price))
    assert current_network(home, real.network) == moved
    assert network_to_json(moved)["coin_price"] == {"open_wei": "7", "date": "2027-01-31"}


def test_a_network_file_of_another_version_is_kept_and_refused_with_the_way_out(home: Home, network: Network) -> None:
    join_network(home, network)
    file = home.network_file(network.network)
    file.write_text(written := changed(network, schema="openledger.network/7"))
    with pytest.raises(ConfigError, match=f"{file} is not a network.json: .* Move it aside and join a network again"):
        join_network(home, network)
    assert file.read_text() == written


@pytest.mark.parametrize(
    "change",
    [
        lambda n: replace(n, chain_id=1),
        lambda n: replace(n, genesis_hash=Digest("0x1a2b3c4d" + "1" * 56)),
        lambda n: replace(n, deploy_block=8),
        lambda n: replace(n, contracts={**n.contracts, "Params": check_address("0x" + "9" * 40)}),
        lambda n: replace(n, token=Token(symbol="OPEN", decimals=6)),
    ],
    ids=["chain id", "genesis hash", "deploy block", "contracts", "token"],
)
def test_a_known_id_has_one_deployment(home: Home, network: Network, change: Callable[[Network], Network]) -> None:
    join_network(home, network)
    with pytest.raises(ConfigError, match="is a different deployment with the same id"):
        join_network(home, change(network))
    assert current_network(home, AUTO) == network
