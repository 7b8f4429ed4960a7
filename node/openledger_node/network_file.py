"""Networks: their chain, contracts and bootstrap nodes, and the current network of a data directory."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from openledger_protocol.codec import to_plain
from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Address, Digest, Wei, check_address, check_digest, check_name

from .errors import ConfigError
from .home import DEVELOPMENT_PREFIX, Home, is_development, write_private

NETWORK_SCHEMA = "openledger.network/1"

AUTO, EMBEDDED = "auto", "embedded"
RESERVED_IDS = (AUTO, EMBEDDED, LOCAL_NETWORK, "current")

CONTRACTS = (
    "OpenToken",
    "Timelock",
    "OpenGovernor",
    "Params",
    "NodeStaking",
    "DatanetRegistry",
    "ModelRegistry",
    "PaymentChannels",
    "AttributionRewards",
)
"""Contracts that every network has; later networks may have more. `OpenToken` is the token that the network pays in,
which may be any ERC-20."""

WRAPPED_VOTES = "WrappedVotes"
"""Contract of networks whose token has no votes; `OpenGovernor` knows it."""

FILE_BYTES_MAX = 64 * 1024
ENTRIES_MAX = 32  # endpoints, peers, contracts
TEXT_LENGTH_MAX = 256
PRICE = "coin_price"
CHAIN_ID_MAX = 2**53 - 1  # the largest integer that every JSON reader keeps exact

Read = TypeVar("Read")

_CONTRACT = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
_PEER = re.compile(r"/[!-~]+/p2p/[A-Za-z0-9]+")
_SYMBOL = re.compile(r"[A-Za-z0-9]{1,16}")
_PRICE = re.compile(r"[1-9][0-9]{0,30}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The token that a network pays in."""

    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoinPrice:
    """The worth of a whole coin of the chain, which pays gas, on a day."""

    open_wei: Wei
    on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """`network.json`: one deployment of the contracts on one chain."""

    network: str
    chain_id: int
    rpc: tuple[str, ...]
    genesis_hash: Digest
    deploy_block: int
    contracts: Mapping[str, Address]
    bootstrap: tuple[str, ...]
    token: Token
    coin_price: CoinPrice | None = None  # None on a development network alone: its gas costs nothing

    @property
    def is_development(self) -> bool:
        """True for a development network: its coins are worth nothing, and its keys are throwaway."""
        return is_development(self.network)


def network_id_for_development(genesis_hash: Digest) -> str:
    """Return the id of the development network whose chain has this genesis hash."""
    return DEVELOPMENT_PREFIX + genesis_hash[2:10]


def network_from_json(text: str | bytes, *, source: str) -> Network:
    """Parse `network.json`; errors name `source`.

    Raises:
        ConfigError: a field is missing, unknown or invalid.
    """
    try:
        if len(text) > FILE_BYTES_MAX:
            raise MalformedError(f"it is longer than {FILE_BYTES_MAX} bytes")
        return _network_from_fields(_fields(json.loads(text)))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not a network.json: it is not JSON") from error
    except MalformedError as error:
        raise ConfigError(f"{source} is not a network.json: {error}") from error


def network_to_json(network: Network) -> dict[str, Any]:
    """Convert a network to the object in `network.json`."""
    plain = {spec.name: to_plain(getattr(network, spec.name)) for spec in fields(network) if spec.name != PRICE}
    if price := network.coin_price:
        plain[PRICE] = {"open_wei": str(price.open_wei), "date": price.on.isoformat()}
    return {"schema": NETWORK_SCHEMA, **plain}


def read_network(file: Path) -> Network:
    """Read a `network.json` from disk.

    Raises:
        ConfigError: the file can't be read, or is not a network.json.
    """
    try:
        with file.open("rb") as stream:
            return network_from_json(stream.read(FILE_BYTES_MAX + 1), source=str(file))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error


def network_bytes(network: Network) -> bytes:
    """The content of a `network.json` as this release writes it. Its hash is the one that others join by."""
    return (json.dumps(network_to_json(network), indent=2) + "\n").encode()


def write_network(file: Path, network: Network) -> None:
    """Write a `network.json` atomically."""
    write_private(file, network_bytes(network).decode(), is_new=False)


def join_network(home: Home, network: Network) -> None:
    """Store a network and make it the current one.

    Raises:
        ConfigError: a different network with the same id is known here.
    """
    keep_network(home, network)
    write_private(home.joined_network, network.network + "\n", is_new=False)


def embed_network(home: Home, network: Network) -> None:
    """Store the network on the development chain that the daemon runs inside itself.

    Raises:
        ConfigError: a different network with the same id is known here.
    """
    keep_network(home, network)
    write_private(home.embedded_network, network.network + "\n", is_new=False)


def keep_network(home: Home, network: Network) -> None:
    """Store a network. A known one may change its endpoints, bootstrap nodes and price of a coin, and nothing else.

    Raises:
        ConfigError: a different network with the same id is known here; its ledger would be taken for this one's.
    """
    file = home.network_file(network.network)
    if file.exists() and not _is_same(file, network):
        raise ConfigError(
            f"{file} is a different deployment with the same id: if that network is gone, move {file.parent} away"
        )
    write_network(file, network)


def current_network(home: Home, choice: str) -> Network | None:
    """Return the network that `[node] network` selects; None for `local`, or if none was joined or embedded yet.

    Raises:
        ConfigError: the chosen network is not known here, or its file is damaged.
    """
    if choice == LOCAL_NETWORK:
        return None
    if is_embedded(home, choice):
        has_begun = home.embedded_network.exists()
        return read_network(home.network_file(_read_id(home.embedded_network))) if has_begun else None
    if choice == AUTO:
        return read_network(home.network_file(_read_id(home.joined_network)))
    if not home.network_file(_check_id(choice)).exists():
        raise ConfigError(
            f"[node] network is {choice!r}, which is not known here: join it with `openledger-node network join FILE`"
        )
    return read_network(home.network_file(choice))


def is_embedded(home: Home, choice: str) -> bool:
    """Return True if the daemon runs a development chain inside itself: it is chosen, or no network was joined."""
    return choice == EMBEDDED or (choice == AUTO and not home.joined_network.exists())


def _read_id(file: Path) -> str:
    try:
        return _check_id(file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError, MalformedError, ConfigError) as error:
        raise ConfigError(f"{file} names no network: delete it and join again") from error


def _check_id(text: str) -> str:
    try:
        return _network_id(text)
    except MalformedError as error:
        raise ConfigError(str(error)) from error


def _is_same(file: Path, network: Network) -> bool:
    return _identity(read_network(file)) == _identity(network)


def _identity(network: Network) -> tuple[object, ...]:
    return (
        network.chain_id,
        network.genesis_hash,
        network.deploy_block,
        dict(network.contracts),
        network.token,
    )


# ---- Checks of a file that comes from a stranger


def _fields(content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise MalformedError("it is not an object")
    if content.get("schema") != NETWORK_SCHEMA:
        raise MalformedError(
            f"its schema is {repr(content.get('schema'))[:80]}, not {NETWORK_SCHEMA!r}, so another version of "
            "this program wrote it. Move it aside and join a network again: nothing in it was changed"
        )
    content.setdefault(PRICE, None)
    _check_keys("it", content, ("schema", *(spec.name for spec in fields(Network))))
    return content


def _network_from_fields(content: dict[str, Any]) -> Network:
    token = _object("token", content["token"])
    _check_keys("token", token, [spec.name for spec in fields(Token)])
    network = Network(
        network=_network_id(content["network"]),
        chain_id=_count("chain_id", content["chain_id"], 1, CHAIN_ID_MAX),
        rpc=_texts("rpc", content["rpc"], check_endpoint),
        genesis_hash=_named("genesis_hash", check_digest, content["genesis_hash"]),
        deploy_block=_count("deploy_block", content["deploy_block"], 0, CHAIN_ID_MAX),
        contracts=_contracts(content["contracts"]),
        bootstrap=_texts("bootstrap", content["bootstrap"], _check_peer),
        token=Token(
            symbol=_named("token.symbol", _check_symbol, token["symbol"]),
            decimals=_count("token.decimals", token["decimals"], 0, 36),
        ),
        coin_price=_coin_price(content[PRICE]),
    )
    if not network.rpc:
        raise MalformedError("rpc names no endpoint")
    if network.is_development and network.network != network_id_for_development(network.genesis_hash):
        raise MalformedError(f"the id {network.network} does not fit the genesis hash {network.genesis_hash}")
    if network.is_development != (network.coin_price is None):
        must = "must not" if network.is_development else "must"
        raise MalformedError(f"it {must} name the price of a coin of gas, {PRICE}")
    return network


def check_endpoint(text: str) -> str:
    """Return `text` if it is the URL of a JSON-RPC endpoint.

    Raises:
        MalformedError: the text is not such a URL.
    """
    try:
        parts = urlsplit(text)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or not re.fullmatch(r"[!-~]+", text):
        raise MalformedError(
            f"{repr(text)[:80]} is not the URL of an endpoint: it must begin with http:// or https://"
        )
    return text


def _network_id(text: object) -> str:
    name = _named("network", check_name, text)
    if name in RESERVED_IDS:
        raise MalformedError(f"network can't be {name!r}: that word means something else here")
    return name


def _coin_price(value: object) -> CoinPrice | None:
    if value is None:
        return None
    price = _object(PRICE, value)
    _check_keys(PRICE, price, ("open_wei", "date"))
    return CoinPrice(
        open_wei=_named(f"{PRICE}.open_wei", _check_price, price["open_wei"]),
        on=_named(f"{PRICE}.date", _check_date, price["date"]),
    )


def _check_price(text: object) -> Wei:
    if not isinstance(text, str) or not _PRICE.fullmatch(text):
        raise MalformedError("not a positive whole number as text")
    return Wei(int(text))


def _check_date(text: object) -> date:
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        raise MalformedError("not a day such as 2026-01-31")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise MalformedError(str(error)) from error


def _contracts(value: object) -> dict[str, Address]:
    found = _object("contracts", value)
    if missing := [name for name in CONTRACTS if name not in found]:
        raise MalformedError(f"contracts lacks {', '.join(missing)}")
    if len(found) > ENTRIES_MAX or not all(_CONTRACT.fullmatch(name) for name in found):
        raise MalformedError("contracts has a key that is not the name of a contract")
    addresses = {name: _named(f"contracts.{name}", check_address, address) for name, address in found.items()}
    if len(set(addresses.values())) != len(addresses):
        raise MalformedError("two contracts have the same address")
    return addresses


def _check_peer(text: str) -> str:
    if not _PEER.fullmatch(text):
        raise MalformedError(f"{repr(text)[:80]} is not the address of a peer: it must look like /ip4/…/tcp/…/p2p/…")
    return text


def _check_symbol(text: str) -> str:
    if not isinstance(text, str) or not _SYMBOL.fullmatch(text):
        raise MalformedError("1 to 16 letters and digits")
    return text


def _texts(name: str, value: object, check: Callable[[str], str]) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > ENTRIES_MAX:
        raise MalformedError(f"{name} must be a list of at most {ENTRIES_MAX}")
    for text in value:
        if not isinstance(text, str) or len(text) > TEXT_LENGTH_MAX:
            raise MalformedError(f"{name} must hold texts of at most {TEXT_LENGTH_MAX} characters")
    return tuple(_named(name, check, text) for text in value)


def _count(name: str, value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise MalformedError(f"{name} must be a whole number from {least} to {most}")
    return value


def _object(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"{name} must be an object")
    return value


def _check_keys(name: str, found: Mapping[str, object], known: "tuple[str, ...] | list[str]") -> None:
    if unknown := [key for key in found if key not in known]:
        raise MalformedError(f"{name} has an unknown field {repr(unknown[0])[:80]}")
    if missing := [key for key in known if key not in found]:
        raise MalformedError(f"{name} has no field {missing[0]!r}")


def _named(name: str, check: Callable[[Any], Read], value: object) -> Read:
    try:
        return check(value)
    except MalformedError as error:
        raise MalformedError(f"{name}: {error}") from error
