"""Simulated chains and ledgers that are built once in a process and copied for each test."""

import sqlite3
from pathlib import Path

from openledger_node.chain.clients.simulated import GENESIS_S, SimulatedClient
from openledger_node.chain.dev.block_store import BlockStore
from openledger_node.chain.dev.embedded import chain_in


def keep_chain(client: SimulatedClient) -> bytes:
    """The rows of a simulated chain at this moment, without what waits to be mined."""
    return client._chain._store._connection.serialize()


def copied_chain(rows: bytes) -> SimulatedClient:
    """A client whose chain goes on from there, apart from all others."""
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    connection.deserialize(rows)
    return SimulatedClient(chain_in(BlockStore(connection, "in memory"), GENESIS_S))


def keep_ledger(file: Path) -> bytes:
    """The bytes of a closed ledger without its generation: a copy opens as a new ledger, not as a copied one."""
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("DELETE FROM generation")
    connection.close()  # folds the write-ahead log in
    return file.read_bytes()
