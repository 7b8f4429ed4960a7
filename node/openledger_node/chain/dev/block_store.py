"""The development chain's file: everything that the EVM writes for a block is committed at once.

Like the ledger, it is SQLite in WAL mode with synchronous FULL. After a kill or a power cut, the file holds only
whole blocks. A value under a 32-byte key is stored under its own hash, so that reading notices a damaged row. Such a
row never changes, so that it is read and hashed once.
"""

import contextlib
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from eth.db.backends.base import BaseDB
from eth_hash.auto import keccak

from ...errors import ChainError
from .constants import InUseError, StoreFullError

HASH_BYTES = 32
CACHED_ENTRIES = 8_192
"""A node of a trie has at most 532 bytes and the code of a contract at most 24 KiB, so this is a few MB."""

PRIMARY_CODE = 0xFF  # SQLite's extended codes keep the primary one in their lowest byte

TABLES = """
CREATE TABLE IF NOT EXISTS entry (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS busy (number INTEGER PRIMARY KEY) STRICT;
"""


class BlockStore(BaseDB):
    """Keys and values for py-evm, and the numbers of the blocks with transactions."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self.name = name
        self._waiting: dict[bytes, bytes | None] = {}  # None: delete the key
        self._checked: OrderedDict[bytes, bytes] = OrderedDict()  # rows under their own hash; the newest are last

    @property
    def is_empty(self) -> bool:
        """True if no chain was created here."""
        with _explained(self.name):
            return self._connection.execute("SELECT 1 FROM entry LIMIT 1").fetchone() is None

    def __getitem__(self, key: bytes) -> bytes:
        """The value of `key`, including uncommitted writes."""
        value = self._waiting[key] if key in self._waiting else self._read(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Store with the next commit."""
        self._waiting[key] = value

    def __delitem__(self, key: bytes) -> None:
        """Delete with the next commit."""
        if not self._exists(key):
            raise KeyError(key)
        self._checked.pop(key, None)
        self._waiting[key] = None

    def commit(self, *, busy: int | None = None) -> None:
        """Make all writes durable at once; `busy` is the number of a block with transactions.

        Raises:
            ChainError: the file can't be written.
        """
        kept = [(key, value) for key, value in self._waiting.items() if value is not None]
        gone = [(key,) for key, value in self._waiting.items() if value is None]
        with _explained(self.name), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM entry WHERE key = ?", gone)
            self._connection.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?)", kept)
            if busy is not None:
                self._connection.execute("INSERT OR IGNORE INTO busy VALUES (?)", (busy,))
        self._waiting.clear()

    def forget_waiting(self) -> None:
        """Drop the writes since the last commit."""
        self._waiting.clear()

    def busy_blocks(self, first: int, last: int) -> list[int]:
        """Numbers from `first` to `last` of the blocks that may hold transactions."""
        query = "SELECT number FROM busy WHERE number BETWEEN ? AND ? ORDER BY number"
        with _explained(self.name):
            return [number for (number,) in self._connection.execute(query, (first, last))]

    def close(self) -> None:
        """Fold the write-ahead log into the file."""
        self._connection.close()

    def _exists(self, key: bytes) -> bool:
        if key in self._waiting:
            return self._waiting[key] is not None
        return self._read(key) is not None

    def _read(self, key: bytes) -> bytes | None:
        if key in self._checked:
            self._checked.move_to_end(key)
            return self._checked[key]
        with _explained(self.name):
            row = self._connection.execute("SELECT value FROM entry WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        value: bytes = row[0]
        if len(key) == HASH_BYTES and keccak(value) != key:
            raise damaged(self.name, f"the row 0x{key.hex()} does not match its hash")
        if len(key) == HASH_BYTES:
            self._checked[key] = value
            if len(self._checked) > CACHED_ENTRIES:
                self._checked.popitem(last=False)
        return value


def open_block_store(file: Path | None) -> BlockStore:
    """Open and check the file; None keeps everything in memory.

    Raises:
        ChainError: the file is damaged, or another program has it open.
    """
    name = str(file or "in memory")
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _explained(name):
        connection = _connect(file)
        try:
            _prepare(connection)
        except sqlite3.Error:
            connection.close()
            raise
    if file is not None:
        file.chmod(0o600)
    return BlockStore(connection, name)


def damaged(name: str, why: str) -> ChainError:
    """The error for a file whose content is not what was written."""
    return ChainError(f"the development chain {name} is damaged ({why}): move it away to start a fresh chain")


def _connect(file: Path | None) -> sqlite3.Connection:
    address = ":memory:" if file is None else f"file:{quote(os.fsencode(file))}?mode=rwc"
    return sqlite3.connect(
        address,
        uri=file is not None,
        timeout=0,  # fail at once if another process has it open
        check_same_thread=False,  # the owner of the chain makes one call at a time
        isolation_level=None,  # we issue BEGIN ourselves
    )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    connection.executescript(TABLES)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # The error that we raise after SQLite's own check has no code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & PRIMARY_CODE
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise InUseError(
                f"the development chain {name} is already running: end the other process first"
            ) from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise damaged(name, str(error)) from error
        kind = StoreFullError if code == sqlite3.SQLITE_FULL else ChainError
        raise kind(
            f"the development chain {name} can't be used ({error}): check that the disk is writable and not full"
        ) from error
