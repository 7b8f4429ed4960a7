"""Checks that the chain behind an endpoint is the one that network.json names."""

from openledger_protocol.primitives import Digest

from ..errors import ChainError
from ..network_file import Network
from .client import ChainClient
from .dev.constants import BANK, BANK_COINS_WEI

RICH_DIVISOR = 2
"""The bank's key is public. If the bank still has half of its first coins, they are worthless, because on a chain
with real money somebody would have taken them within seconds."""


def is_development_chain(client: ChainClient) -> bool:
    """Return True if this is a development chain, whose coins are worth nothing.

    Raises:
        ChainError: the endpoint does not answer.
    """
    return client.coin_balance(BANK) * RICH_DIVISOR >= BANK_COINS_WEI


def check_chain_id(client: ChainClient, expected: int) -> None:
    """Require that the endpoint serves the chain of that id.

    Raises:
        ChainError: it serves another one, or does not answer.
    """
    if (found := client.chain_id()) != expected:
        raise ChainError(
            f"the endpoint is on chain {found}, not {expected}: set [chain] rpc to an endpoint of chain {expected}"
        )


def check_identity(client: ChainClient, network: Network) -> None:
    """Require that the endpoint serves the network's chain, and that the network's contracts are there.

    Raises:
        ChainError: the chain or a contract differs; the message says which, and what was found.
    """
    if (chain_id := client.chain_id()) != network.chain_id:
        raise ChainError(f"the endpoint is on chain {chain_id}, but {network.network} is on chain {network.chain_id}")
    if (found := genesis_hash(client)) != network.genesis_hash:
        raise ChainError(
            f"the chain begins with block {found}, but that of {network.network} with {network.genesis_hash}: "
            "it is another chain, or a development chain that was started afresh"
        )
    if missing := [name for name, address in network.contracts.items() if not client.code(address)]:
        raise ChainError(
            f"no contract is at {network.contracts[missing[0]]}, where {network.network} has {', '.join(missing)}"
        )


def genesis_hash(client: ChainClient) -> Digest:
    """The hash of a chain's first block.

    Raises:
        ChainError: the endpoint does not keep it.
    """
    block = client.block(0)
    if block is None:
        raise ChainError("the endpoint does not have its chain's first block: use an endpoint that keeps all blocks")
    return block.hash
