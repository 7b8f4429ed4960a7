"""One network at one block: its events, storage and views, all read at the same block."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from openledger_protocol.chain import Block, ContractCall, Log
from openledger_protocol.events import BlockId, Event
from openledger_protocol.primitives import Address, Digest

from ..chain.client import ChainClient
from ..chain.contracts import load_contract
from ..chain.identity import check_identity
from ..chain.watcher import decode_with
from ..errors import ChainError
from ..network_file import CONTRACTS, WRAPPED_VOTES, Network
from .storage_layout import StorageKey, layout_of

# ---- Check of deployed code: layout and events are known only for the contracts that this release compiles.

PUSH1, PUSH32 = 0x60, 0x7F
WORD_BYTES = 32
HEAD_BYTES = 5  # a contract's first instructions set up memory, before any immutable


@lru_cache(maxsize=32)  # the same few contracts each time, and each takes 10 ms or more
def is_code_of(deployed: bytes, creation: bytes) -> bool:
    """Return True if creation code deploys this code, whatever values the constructor wrote into immutables."""
    starts = (start for start in range(len(creation)) if creation.startswith(deployed[:HEAD_BYTES], start))
    return bool(deployed) and any(
        _is_same_but_for_immutables(creation[start : start + len(deployed)], deployed) for start in starts
    )


def _is_same_but_for_immutables(compiled: bytes, deployed: bytes) -> bool:
    blank = bytearray(deployed)
    for start in _immutables(compiled):
        blank[start : start + WORD_BYTES] = bytes(WORD_BYTES)
    return bytes(blank) == compiled


def _immutables(compiled: bytes) -> list[int]:
    """Places of immutables: the compiler writes PUSH32 and 32 zero bytes for them, and for no constant."""
    found, at = [], 0
    while at < len(compiled):
        operation = compiled[at]
        if operation == PUSH32 and not any(compiled[at + 1 : at + 1 + WORD_BYTES]):
            found.append(at + 1)
        at += 1 + (operation - PUSH1 + 1 if PUSH1 <= operation <= PUSH32 else 0)
    return found


# ---- chain

CHUNK_BLOCKS = 1_000
"""Blocks in one query for logs; halved when an endpoint refuses so many."""


OWN_NAMES = {
    (WRAPPED_VOTES, "Transfer"): "VotesMoved",
    (WRAPPED_VOTES, "Approval"): "VotesApproved",
}
"""Names that events have in the audit because another contract has events of the same name."""


class PinnedChain:
    """Reads the state and the logs of one block."""

    def __init__(self, client: ChainClient, network: Network, block: Block, *, is_open_token: bool) -> None:
        self._client = client
        self.network = network
        self.block = block
        self.is_open_token = is_open_token  # otherwise the network pays in another token, whose code is not known
        self.contracts = contracts_of(network)
        self._words: dict[tuple[Address, int], bytes] = {}
        self._names = {address: name for name, address in self.contracts.items()}

    def events(self, names: Sequence[str] | None = None) -> list[Event]:
        """All events of the contracts up to the block, in order; `names` limits them to some contracts."""
        decode = decode_with(self.contracts)
        addresses = [self.contracts[name] for name in names or self.contracts]
        return [self._renamed(event) for log in self._logs(addresses) if (event := decode(log))]

    def _renamed(self, event: Event) -> Event:
        name = OWN_NAMES.get((self._names[event.contract], event.name))
        return replace(event, name=name) if name else event

    def seconds_of(self, block: BlockId) -> int:
        """The time of an event's block.

        Raises:
            ChainError: the endpoint has another block of this number.
        """
        found = self._client.block(block.number)
        if found is None or found.hash != block.hash:
            raise ChainError(
                f"the endpoint has no block {block.number} {block.hash}, and gave a log of it: run again"
            )
        return found.timestamp_s

    def stored(self, key: StorageKey) -> int:
        """Read a number from storage, at the place given by the compiler's layout.

        Balances in a token other than OpenToken are what the token says.
        """
        contract, variable, *path = key
        if key[:2] == ("OpenToken", "_balances") and not self.is_open_token:
            return int(self.ask("OpenToken", "balanceOf", *path))
        place = layout_of(str(contract)).place(str(variable), *path)
        return place.value_in(self._word(self.contracts[str(contract)], place.slot))

    def ask(self, contract: str, function: str, *arguments: object) -> Any:
        """Call a view, for values that are in code and not in storage."""
        interface = load_contract(contract)
        call = ContractCall(to=self.contracts[contract], data=interface.encode(function, *arguments))
        return interface.decode_result(function, self._client.call(call, block_number=self.block.number))

    def input_of(self, transaction_hash: Digest) -> bytes | None:
        """The data that a transaction was sent with; None if the endpoint does not have it. Nothing proves it."""
        return self._client.input_of(transaction_hash)

    def check_still_there(self) -> None:
        """Check that the block is still in the chain, so that all reads belong together.

        Raises:
            ChainError: a reorganisation removed it.
        """
        if self._client.block(self.block.number) != self.block:
            raise ChainError(
                f"the chain took block {self.block.number} back during the audit: run again, or set an older --block"
            )

    def _word(self, address: Address, slot: int) -> bytes:
        if (address, slot) not in self._words:
            word = self._client.storage(address, slot, block_number=self.block.number)
            self._words[address, slot] = word
        return self._words[address, slot]

    def _logs(self, addresses: Sequence[Address]) -> list[Log]:
        logs: list[Log] = []
        first, chunk = self.network.deploy_block, CHUNK_BLOCKS
        while first <= self.block.number:
            last = min(first + chunk - 1, self.block.number)
            try:
                logs += self._client.logs(addresses, first, last)
            except ChainError:
                if chunk == 1:
                    raise
                chunk //= 2
            else:
                first = last + 1
        return logs


def pin_chain(client: ChainClient, network: Network, number: int | None = None) -> PinnedChain:
    """Pin the network's chain at the latest block, or at the block of this number.

    Raises:
        ChainError: it is another chain, its contracts are not from this release, or there is no such block.
    """
    check_identity(client, network)
    is_open_token = check_code(client, network)
    block = client.head() if number is None else client.block(number)
    if block is None:
        raise ChainError(f"the chain has no block {number}: its latest is {client.head().number}")
    if block.number < network.deploy_block:
        raise ChainError(
            f"{network.network} begins with block {network.deploy_block}: block {number} is before its contracts"
        )
    return PinnedChain(client, network, block, is_open_token=is_open_token)


def contracts_of(network: Network) -> dict[str, Address]:
    """The contracts that are audited: those of every network, and the wrapped votes of one whose token has none."""
    names = (*CONTRACTS, *({WRAPPED_VOTES} & network.contracts.keys()))
    return {name: network.contracts[name] for name in names}


def check_code(client: ChainClient, network: Network) -> bool:
    """Check that the contracts are those of this release; returns False if only the token is another one.

    Raises:
        ChainError: others are; the message names them.
    """
    others = [
        name
        for name, address in contracts_of(network).items()
        if not is_code_of(client.code(address), load_contract(name).bytecode)
    ]
    if others and others != ["OpenToken"]:
        raise ChainError(
            f"{', '.join(others)} of {network.network} differs from the code that this release compiles: "
            "audit with the release that deployed it"
        )
    return not others
