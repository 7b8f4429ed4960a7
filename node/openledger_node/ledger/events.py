"""Chain events that the node has read, and the latest blocks, by which it notices a reorganisation."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from openledger_protocol.codec import to_plain
from openledger_protocol.events import BLOCKS_KEPT, Argument, BlockId, Event
from openledger_protocol.primitives import Address, Digest

from .store import Store

KEY_CHARACTERS_MAX = 80
"""Events can't be looked up by arguments longer than this."""


class EventRows:
    """Rows of blocks and events; a reorganisation deletes those above the common ancestor."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(
        self,
        name: str,
        arguments: Mapping[str, int | str] | None = None,
        *,
        contract: Address | None = None,
        first: int = 0,
        last: int | None = None,
    ) -> list[Event]:
        """Find events by name, arguments and blocks (both included), in the chain's order.

        Two contracts may have events of one name: pass `contract` to find those of one of them. A reorganisation may
        still take the latest blocks back: pass `finalized_number` as `last` to leave them out.
        """
        query = "SELECT * FROM event WHERE name = ? AND block_number BETWEEN ? AND ?"
        values: list[object] = [name, first, self.last_number() if last is None else last]
        if contract is not None:
            query += " AND contract = ?"
            values.append(contract)
        for key, value in (arguments or {}).items():
            query += " AND event_id IN (SELECT event_id FROM event_argument WHERE name = ? AND value = ?)"
            values += [key, str(value)]
        return [_event(row) for row in self._store.rows(query + " ORDER BY block_number, log_index", values)]

    def about_claims(self, node: Address, *, seq_min: int) -> list[Event]:
        """The events of a node's claims from `seq_min` on, from `Claimed` to `Finalized`, in the chain's order."""
        query = (
            "SELECT event.* FROM event_argument AS node JOIN event_argument AS seq USING (event_id)"
            " JOIN event USING (event_id)"
            " WHERE node.name = 'node' AND node.value = ? AND seq.name = 'seq' AND CAST(seq.value AS INTEGER) >= ?"
            " AND event.name IN ('Claimed', 'Proposed', 'Drawn', 'Finalized') ORDER BY block_number, log_index"
        )
        return [_event(row) for row in self._store.rows(query, (node, seq_min))]

    def newest_with(self, argument: str, value: str) -> int:
        """A number that changes with each event that has this value as an argument, also if one is taken back."""
        query = "SELECT COALESCE(MAX(event_id), 0) AS newest FROM event_argument WHERE name = ? AND value = ?"
        (row,) = self._store.rows(query, (argument, value))
        newest: int = row["newest"]
        return newest

    def unfinished_claims(self) -> list[Event]:
        """The `Claimed` events of all nodes whose claims are not final, in the chain's order."""
        finished = {key for key, _ in self._claim_keys("Finalized")}
        open_ids = [event_id for key, event_id in self._claim_keys("Claimed") if key not in finished]
        places = ", ".join("?" * len(open_ids))
        query = f"SELECT * FROM event WHERE event_id IN ({places}) ORDER BY block_number, log_index"
        return [_event(row) for row in self._store.rows(query, open_ids)] if open_ids else []

    def _claim_keys(self, name: str) -> list[tuple[tuple[str, str], int]]:
        """The node and the number of each claim that has an event of this name, with the event's row."""
        query = (
            "SELECT node.value AS node, seq.value AS seq, event_id FROM event"
            " JOIN event_argument AS node USING (event_id) JOIN event_argument AS seq USING (event_id)"
            " WHERE event.name = ? AND node.name = 'node' AND seq.name = 'seq'"
        )
        return [((row["node"], row["seq"]), row["event_id"]) for row in self._store.rows(query, (name,))]

    def last_blocks(self) -> list[BlockId]:
        """The latest blocks that are kept, newest first."""
        rows = self._store.rows("SELECT * FROM block ORDER BY number DESC")
        return [BlockId(number=row["number"], hash=Digest(row["hash"])) for row in rows]

    def last_number(self) -> int:
        """The latest block that is read; -1 at the start."""
        (row,) = self._store.rows("SELECT COALESCE(MAX(number), -1) AS number FROM block")
        number: int = row["number"]
        return max(number, self.finalized_number())  # after a rewind, no block up to there may be kept

    def finalized_number(self) -> int:
        """The block up to which everything is read and final; -1 at the start."""
        (row,) = self._store.rows("SELECT finalized_number FROM scan")
        number: int = row["finalized_number"]
        return number

    def in_blocks(self, first: int, last: int) -> list[Event]:
        """Events of these blocks (both included), in the chain's order."""
        query = "SELECT * FROM event WHERE block_number BETWEEN ? AND ? ORDER BY block_number, log_index"
        return [_event(row) for row in self._store.rows(query, (first, last))]

    def append(self, blocks: Sequence[BlockId], events: Sequence[Event]) -> None:
        """Store blocks that were read, in ascending order, and their events."""
        with self._store.transaction() as transaction:
            transaction.executemany(
                "INSERT INTO block VALUES (?, ?)", [(block.number, block.hash) for block in blocks]
            )
            transaction.execute(
                "DELETE FROM block WHERE number <= (SELECT MAX(number) FROM block) - ?", (BLOCKS_KEPT,)
            )
            for event in events:
                _insert(transaction, event)

    def rewind(self, number: int) -> None:
        """Delete the blocks above this one, and their events; the claims that had ended in them are unfinished again.

        Reading goes on behind the newest block that is kept or final, so what was read between it and this one goes,
        too. What is final and not above this block is never read again: an endpoint may no longer have its logs.
        Claims of other nodes may have the same numbers. One that was taken back for their sake ends again at once.
        """
        known = [block.number for block in self.last_blocks() if block.number <= number]
        number = max(min(number, self.finalized_number()), *known, -1)
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE claim SET state = 'drawn' WHERE state = 'final' AND CAST(seq AS TEXT) IN ("
                "SELECT value FROM event_argument AS seq JOIN event USING (event_id)"
                " WHERE seq.name = 'seq' AND event.name = 'Finalized' AND block_number > ?)",
                (number,),
            )
            transaction.execute("DELETE FROM block WHERE number > ?", (number,))
            transaction.execute("DELETE FROM event WHERE block_number > ?", (number,))
            transaction.execute("UPDATE scan SET finalized_number = MIN(finalized_number, ?)", (number,))

    def forget(self, first: int) -> None:
        """Forget the blocks from `first` on, and those behind the newest earlier one that is known."""
        self.rewind(first - 1)

    def finalize(self, number: int) -> None:
        """Store the block up to which everything is read and final."""
        with self._store.transaction() as transaction:
            transaction.execute("UPDATE scan SET finalized_number = ?", (number,))


def _insert(transaction: sqlite3.Connection, event: Event) -> None:
    written = transaction.execute(
        "INSERT INTO event (block_number, block_hash, log_index, transaction_hash, contract, name, arguments)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            event.block.number,
            event.block.hash,
            event.log_index,
            event.transaction_hash,
            event.contract,
            event.name,
            json.dumps(to_plain(event.arguments)),
        ),
    )
    transaction.executemany(
        "INSERT INTO event_argument (name, value, event_id) VALUES (?, ?, ?)",
        [(name, value, written.lastrowid) for name, value in _keys(event)],
    )


def _keys(event: Event) -> Iterator[tuple[str, str]]:
    """Arguments that an event can be looked up by, as text because they outgrow SQLite's 64-bit integers."""
    for name, value in event.arguments.items():
        if isinstance(value, int | str) and len(str(value)) <= KEY_CHARACTERS_MAX and _is_text(str(value)):
            yield name, str(value)


def _is_text(value: str) -> bool:
    """False for a string with bytes that are not UTF-8, which a contract does not check and SQLite does not take."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _event(row: sqlite3.Row) -> Event:
    arguments: dict[str, Argument] = json.loads(row["arguments"])
    return Event(
        contract=Address(row["contract"]),
        name=row["name"],
        arguments=arguments,
        block=BlockId(number=row["block_number"], hash=Digest(row["block_hash"])),
        transaction_hash=Digest(row["transaction_hash"]),
        log_index=row["log_index"],
    )
