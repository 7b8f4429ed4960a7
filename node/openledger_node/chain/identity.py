"""Whether the chain behind an endpoint is the one that a network.json means."""

from openledger_protocol.primitives import Digest

from ..errors import ChainError
from ..network_file import Network
from .client import ChainClient
from .dev.constants import BANK, BANK_COINS_WEI

RICH_DIVISOR = 2
"""A chain where the bank, whose key is public, still has half of its first coins is one for development: on a chain
whose coins are worth anything they would be gone in seconds."""


def is_development_chain(client: ChainClient) -> bool:
    """Whether the chain is there to be thrown away.

    Raises:
        ChainError: the endpoint does not answer.
    """
    return client.coin_balance(BANK) * RICH_DIVISOR >= BANK_COINS_WEI


def check_identity(client: ChainClient, network: Network) -> None:
    """Require that the endpoint's chain is the network's, and that its contracts are there.

    Raises:
        ChainError: they are not; the message says which and what was found.
    """
    if (chain_id := client.chain_id()) != network.chain_id:
        raise ChainError(f"the endpoint is on chain {chain_id}, but {network.network} is on chain {network.chain_id}")
    if (found := genesis_hash(client)) != network.genesis_hash:
        raise ChainError(
            f"the chain begins with block {found}, but that of {network.network} with {network.genesis_hash}: "
            "it is another chain, or a development chain that began anew"
        )
    if missing := [name for name, address in network.contracts.items() if not client.code(address)]:
        raise ChainError(
            f"no contract is at {network.contracts[missing[0]]}, where {network.network} has {', '.join(missing)}"
        )


def genesis_hash(client: ChainClient) -> Digest:
    """The hash of a chain's first block.

    Raises:
        ChainError: the endpoint does not have it.
    """
    block = client.block(0)
    if block is None:
        raise ChainError("the endpoint does not know its chain's first block: ask one that keeps all of them")
    return block.hash
