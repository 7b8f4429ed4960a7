"""Simulated chains and ledgers that are built once in a process and copied for each test."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from openledger_node.chain.clients.simulated import GENESIS_S, SimulatedClient
from openledger_node.chain.dev.block_store import BlockStore
from openledger_node.chain.dev.embedded import chain_in


@dataclass(frozen=True, slots=True)
class KeptChain:
    """The rows of a simulated chain at one moment. What waited to be mined is not kept."""

    rows: bytes

    def copy(self) -> SimulatedClient:
        """A client whose chain goes on from there, apart from all others."""
        connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        connection.deserialize(self.rows)
        return SimulatedClient(chain_in(BlockStore(connection, "in memory"), GENESIS_S))


def keep_chain(client: SimulatedClient) -> KeptChain:
    """Keep what a simulated chain holds now."""
    return KeptChain(client._chain._store._connection.serialize())


@dataclass(frozen=True, slots=True)
class KeptLedger:
    """The bytes of a ledger's file."""

    content: bytes

    def write(self, file: Path) -> None:
        """Write a copy that opens as a new ledger does, without the notice that its file was copied."""
        file.write_bytes(self.content)


def keep_ledger(file: Path) -> KeptLedger:
    """Keep a closed ledger, without the generation that is drawn for each file."""
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("DELETE FROM generation")
    connection.close()  # folds the write-ahead log in
    return KeptLedger(file.read_bytes())
