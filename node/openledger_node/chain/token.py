"""The token that a network pays in: any ERC-20, with or without permits and votes."""

from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.eip712 import Domain, hex_digest
from openledger_protocol.errors import MalformedError, RevertedError
from openledger_protocol.primitives import Address

from ..errors import ConfigError
from .client import ChainClient
from .contracts import load_contract

TIMESTAMP_CLOCK: Final = "mode=timestamp"
PERMIT_VERSIONS: Final = ("1", "2")
"""Versions of permits to try: OpenZeppelin's is 1, and that of some stable coins is 2."""

DECIMALS: Final = 18
"""Prices and settings of nodes are wei of a token with so many decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """The properties of a token that decide how a network uses it."""

    name: str
    symbol: str
    has_permits: bool
    has_votes: bool  # counted by time, as the governor needs them


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A signed permit of the token."""

    deadline_s: int
    signature: bytes  # r ‖ s ‖ v

    @property
    def words(self) -> tuple[int, int, bytes, bytes]:
        """Deadline, v, r and s, as contracts expect them."""
        return self.deadline_s, self.signature[64], self.signature[:32], self.signature[32:64]


def read_token(client: ChainClient, address: Address) -> TokenFacts:
    """Read a token's properties, and check that a network can pay in it.

    Raises:
        ConfigError: there is no ERC-20 token at the address, or it has not 18 decimals.
        ChainError: the endpoint does not answer.
    """
    asked = _Token(client, address)
    decimals, symbol, supply = asked.find("decimals"), asked.find("symbol"), asked.find("totalSupply")
    if decimals is None or not symbol or supply is None:
        raise ConfigError(f"{address} is not an ERC-20 token on this chain: check --token and --rpc")
    if decimals != DECIMALS:
        raise ConfigError(
            f"{symbol} has {decimals} decimals, and prices need {DECIMALS}: choose a token that has them, such as a "
            "wrapper of this one"
        )
    return TokenFacts(
        name=asked.find("name") or symbol,
        symbol=symbol,
        has_permits=permit_domain(client, address, client.chain_id()) is not None,
        has_votes=asked.find("CLOCK_MODE") == TIMESTAMP_CLOCK and asked.find("getVotes", address) is not None,
    )


def permit_domain(client: ChainClient, address: Address, chain_id: int) -> Domain | None:
    """The EIP-712 domain under which a token takes permits; None if it takes none, or none that a node can sign.

    Raises:
        ChainError: the endpoint does not answer.
    """
    asked = _Token(client, address)
    separator = asked.find("DOMAIN_SEPARATOR")
    if separator is None or asked.find("nonces", address) is None:
        return None
    name = asked.find("name") or ""
    for version in PERMIT_VERSIONS:
        domain = Domain(name=name, chain_id=chain_id, verifying_contract=address, version=version)
        if hex_digest(domain.separator) == separator:
            return domain
    return None


class _Token:
    """Views of a contract that may not have them."""

    def __init__(self, client: ChainClient, address: Address) -> None:
        self._client = client
        self._address = address

    def find(self, function: str, *arguments: object) -> Any:
        """A view's answer; None if the contract has no such view."""
        interface = load_contract("OpenToken")
        try:
            found = self._client.call(ContractCall(to=self._address, data=interface.encode(function, *arguments)))
            return interface.decode_result(function, found)
        except (RevertedError, MalformedError):
            return None
