"""The ledger's file: opened, checked, and written in transactions that several nouns can share.

SQLite runs in WAL mode with synchronous FULL: a commit that returned survives a power cut.
There is one connection and one writer.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openledger_protocol.primitives import Wei

from ..errors import ConfigError, LedgerError
from .schema import SCHEMA, TABLES
from .witness import Mark, Witness, identity_of

BUSY_TIMEOUT_S = 5.0
Values = Sequence[object] | Mapping[str, object]
"""Values of a statement: in order for `?`, by name for `:name`. Numbered ones, `?1`, end with Python 3.14."""

PRIMARY_CODE = 0xFF  # SQLite's extended error codes keep the primary code in their lowest byte


class Store:
    """One connection to the file, used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, file: Path, identity: str) -> None:
        self._connection = connection
        self.identity = identity  # of the file; empty for a reader
        self.witness = Witness(file)
        self._lock = threading.RLock()
        self._depth = 0  # of nested transactions

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit everything written inside together, or nothing.

        A nested transaction joins the outer one: its writes last only if the outermost commits. If it fails, only
        its own writes are undone before the error reaches the outer one. Other threads wait.

        Raises:
            LedgerError: the file can't be written.
        """
        with self._lock, _explained():
            begin, end, undo = _statements(self._depth)
            num_changes = self._connection.total_changes
            self._connection.execute(begin)
            self._depth += 1
            try:
                yield self._connection
                mark = self._count_commit(num_changes) if self._depth == 1 else None
                self._connection.execute(end)
            except BaseException:
                self._undo(undo)
                raise
            finally:
                self._depth -= 1
            if mark:
                self.witness.write(mark)

    def rows(self, query: str, values: Values = ()) -> list[sqlite3.Row]:
        """Run a query; it sees the current transaction's own writes, and none of another thread's open transaction.

        Raises:
            LedgerError: the file can't be read.
        """
        with self._lock, _explained():
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, values: Values = ()) -> sqlite3.Row | None:
        """The first row of a query's result, if there is one."""
        return next(iter(self.rows(query, values)), None)

    def sum_wei(self, column: str, rows: str, values: Values = ()) -> Wei:
        """The exact sum of a column of decimal texts; `rows` is a query's `FROM … WHERE …`."""
        (row,) = self.rows(f"SELECT sum_wei({column}) AS wei {rows}", values)
        return Wei(int(row["wei"] or 0))  # over no rows SQLite calls no aggregate

    def fold_log(self) -> bool:
        """Fold the write-ahead log in and empty it, so that deleted rows are in no file any more.

        False inside a transaction, and while another program reads the file: try again later.
        """
        with self._lock, _explained():
            if self._depth:
                return False
            (result,) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return not result["busy"]

    def close(self) -> None:
        """Close the file; SQLite folds its write-ahead log in."""
        with self._lock:
            self._connection.close()
            self.witness.close()

    def _count_commit(self, num_changes: int) -> Mark | None:
        """Count a commit that changes rows, and return what its witness will say; None if it changes none."""
        if self._connection.total_changes == num_changes:
            return None
        query = "UPDATE generation SET num_commits = num_commits + 1 RETURNING generation, num_commits"
        rows = self._connection.execute(query).fetchall()
        return Mark(generation=rows[0]["generation"], num_commits=rows[0]["num_commits"]) if rows else None

    def _undo(self, statements: Sequence[str]) -> None:
        # On a full disk SQLite has rolled back already.
        if self._connection.in_transaction:
            for statement in statements:
                self._connection.execute(statement)


def open_store(file: Path, *, is_writer: bool) -> Store:
    """Open the file and check it; a writer creates a new one with its tables.

    A reader, such as a command beside a running daemon, neither creates nor changes the file.

    Raises:
        ConfigError: the file is damaged, or was written by another version.
    """
    identity = ""
    if is_writer:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = _identify(file)
    try:
        connection = _connect(file, is_writer=is_writer)
    except sqlite3.Error as error:
        raise ConfigError(f"cannot open the ledger {file}: {error}") from error
    try:
        _prepare(connection, file, is_writer=is_writer)
    except sqlite3.Error as error:
        connection.close()
        raise ConfigError(f"the ledger {file} {_explain(error)}") from error
    except ConfigError:
        connection.close()
        raise
    if is_writer:
        file.chmod(0o600)
    return Store(connection, file, identity)


def _identify(file: Path) -> str:
    """Name the file before SQLite opens it, and create it if it is new.

    NOTE: To close any descriptor of a file takes away all locks that this process holds on it, SQLite's as well.

    Raises:
        ConfigError: the file can't be opened.
    """
    try:
        return identity_of(file)
    except OSError as error:
        raise ConfigError(f"cannot open the ledger {file}: {error.strerror}") from error


def copy_store(file: Path, target: Path) -> Path:
    """Copy the file as of one moment, also while its writer works, and return `target`.

    Raises:
        ConfigError: the file is damaged.
        LedgerError: the copy can't be written.
    """
    target.unlink(missing_ok=True)
    try:
        source = _connect(file, is_writer=False)
    except sqlite3.Error as error:
        raise ConfigError(f"cannot open the ledger {file}: {error}") from error
    with contextlib.closing(source), _explained(), contextlib.closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    return target


def _connect(file: Path, *, is_writer: bool) -> sqlite3.Connection:
    mode = "rwc" if is_writer else "ro"
    address = f"file:{quote(os.fsencode(file))}?mode={mode}"
    connection = sqlite3.connect(
        address,
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        check_same_thread=False,  # our lock serialises them
        isolation_level=None,  # we write BEGIN ourselves
    )
    connection.row_factory = sqlite3.Row
    connection.create_aggregate("sum_wei", 1, _WeiSum)
    return connection


class _WeiSum:
    """The SQL aggregate `sum_wei`: an exact sum of decimal texts, where SQLite's SUM becomes a float."""

    def __init__(self) -> None:
        self._total_wei = 0

    def step(self, text: Any, /) -> None:
        self._total_wei += int(text or 0)  # NULL counts as 0

    def finalize(self) -> Any:
        return str(self._total_wei)


def _statements(depth: int) -> tuple[str, str, tuple[str, ...]]:
    """Statements that begin, commit and undo a transaction nested in `depth` others."""
    if depth == 0:
        return "BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",)
    return f"SAVEPOINT s{depth}", f"RELEASE s{depth}", (f"ROLLBACK TO s{depth}", f"RELEASE s{depth}")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # our own mistake, which no operator can fix
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger {_explain(error)}") from error


def _explain(error: sqlite3.Error) -> str:
    """Explain an error and its fix; the error that we raise for a failed quick_check has no code."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & PRIMARY_CODE
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "is in use by another program: close it and try again"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"is damaged ({error}): restore it from a backup, or move it away"
    return f"can't be read or written ({error}): free some disk space, or make the file writable"


def _prepare(connection: sqlite3.Connection, file: Path, *, is_writer: bool) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    is_new = schema == 0 and connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    if is_new and not is_writer:
        raise ConfigError(f"the ledger {file} is empty: run `openledger-node start`, which creates its tables")
    if schema != SCHEMA and not is_new:
        raise ConfigError(
            f"the ledger {file} was written by another version of openledger-node (schema {schema}, this one reads "
            f"{SCHEMA}). Move {file.parent} aside and start again: nothing in it was changed"
        )
    if is_writer:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # overwrites what is deleted: texts, above all
    connection.execute("PRAGMA foreign_keys = ON")
    if is_new:
        tables = "".join(TABLES)
        connection.executescript(f"BEGIN IMMEDIATE; {tables} PRAGMA user_version = {SCHEMA}; COMMIT;")
