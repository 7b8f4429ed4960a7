"""Checks that the chain behind an endpoint is the one that network.json names."""

from typing import Final

from openledger_protocol.chain import CREATE, ContractCall
from openledger_protocol.primitives import Digest

from ..errors import ChainError
from ..network_file import Network
from .client import ChainClient
from .dev.constants import BANK, BANK_COINS_WEI

RICH_DIVISOR: Final = 2
"""The bank's key is public. If the bank still has half of its first coins, they are worthless, because on a chain
with real money somebody would have taken them within seconds."""

READ_BLOCK: Final = bytes.fromhex("43600052600143034060205260406000f3")
"""EVM code that returns `block.number` and `blockhash(block.number - 1)`, a word each. A call runs it undeployed."""


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


def check_block_numbers(client: ChainClient) -> None:
    """Require that contracts of this chain see the block numbers and hashes that its endpoint shows.

    The hash of a later block chooses what is drawn, and nodes wait for that block at the endpoint. On Arbitrum and
    chains like it, a contract's `block.number` is that of the layer below, so every claim would close late.

    Raises:
        ChainError: they see others, or the endpoint does not answer.
    """
    head = client.head()
    seen = client.call(ContractCall(to=CREATE, data=READ_BLOCK), block_number=head.number)
    number = int.from_bytes(seen[:32], "big")
    if abs(number - head.number) > 1:  # some endpoints simulate a call in the block after the one that is named
        raise ChainError(
            f"contracts on this chain see block {number} where its endpoint shows block {head.number}: as on "
            "Arbitrum, their block numbers are those of the layer below. No claim could show its draws there, and no "
            "contributor would be paid. Choose another chain"
        )
    if number == 0:  # the first block has none before it
        return
    before = client.block(number - 1)
    if before is None or seen[32:] != bytes.fromhex(before.hash[2:]):
        raise ChainError(
            f"contracts on this chain see another hash of block {number - 1} than its endpoint shows, so no claim "
            "could show its draws: try again, and if it happens again, choose another endpoint or another chain"
        )


def seconds_of_blocks(client: ChainClient, count: int) -> int:
    """The time that the newest `count` blocks took; on a chain with fewer, the time of all of them.

    Raises:
        ChainError: the endpoint does not answer, or has only newer blocks.
    """
    head = client.head()
    first = client.block(max(0, head.number - count))
    if first is None:
        raise ChainError(f"the endpoint does not have block {head.number - count}: use an endpoint that keeps it")
    return head.timestamp_s - first.timestamp_s
