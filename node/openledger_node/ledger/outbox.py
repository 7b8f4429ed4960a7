"""The outbox's rows: intended transactions, every signed variant that may have been sent, and the outcomes."""

import sqlite3

from openledger_protocol.chain import Block, ContractCall, TransactionReceipt
from openledger_protocol.events import BlockId
from openledger_protocol.primitives import Address, Digest, Wei
from openledger_protocol.transactions import (
    IN_FLIGHT,
    MINED,
    NEXT,
    OVER,
    GasPrice,
    Intent,
    Transaction,
    TransactionState,
    Variant,
    may_follow,
)

from .store import Store

_INTENT_COLUMNS = (
    "key, kind, summary, sender, target, calldata, value_wei, value_at_risk_wei, deadline_s"  # as `_intent_values`
)


class OutboxRows:
    """Rows of transactions; a step that may not follow a row's state is our own mistake, and fails an assertion."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, intent: Intent) -> Transaction:
        """Store the intent of a transaction; a key that is stored already changes nothing."""
        places = ", ".join("?" * 9)
        with self._store.transaction() as transaction:
            transaction.execute(
                f"INSERT OR IGNORE INTO outbox ({_INTENT_COLUMNS}, state) VALUES ({places}, 'intended')",
                _intent_values(intent),
            )
            found = self.find(intent.key)
        assert found is not None
        return found

    def find(self, key: str) -> Transaction | None:
        """Find the transaction of an intent by its key."""
        return next(iter(self._read("WHERE key = ?", key)), None)

    def newest(self, *, limit: int) -> list[Transaction]:
        """The newest transactions, newest first."""
        return self._read("ORDER BY id DESC LIMIT ?", limit)

    # ---- read and written by the chain's outbox

    def unfinished(self) -> list[Transaction]:
        """Transactions that are not over yet, oldest first."""
        return self._read(f"WHERE state NOT IN {_in(OVER)} ORDER BY id")

    def last_finished(self) -> BlockId | None:
        """The highest block with a transaction that is final or failed."""
        query = (
            "SELECT block_number, block_hash FROM outbox WHERE state IN ('final', 'failed')"
            " ORDER BY block_number DESC LIMIT 1"
        )
        row = self._store.row(query)
        return BlockId(number=row["block_number"], hash=Digest(row["block_hash"])) if row else None

    def final_in(self, about: str, *, last: int) -> list[Transaction]:
        """The final transactions in blocks up to `last` whose keys contain a text."""
        return self._read("WHERE instr(key, ?) AND state = 'final' AND block_number <= ?", about, last)

    def nonce_max(self, sender: Address) -> int | None:
        """The highest nonce among a sender's transactions."""
        (found,) = self._store.rows("SELECT MAX(nonce) AS nonce FROM outbox WHERE sender = ?", (sender,))
        nonce: int | None = found["nonce"]
        return nonce

    def nonces(self, sender: Address, *, since: int) -> list[int]:
        """A sender's nonces from `since` on."""
        query = "SELECT nonce FROM outbox WHERE sender = ? AND nonce >= ?"
        return [row["nonce"] for row in self._store.rows(query, (sender, since))]

    def spent_wei(self, since_s: int) -> Wei:
        """Fees paid since then, and the most that transactions in flight may still cost."""
        paid = self._store.sum_wei("fee_wei", "FROM outbox WHERE mined_s >= ?", (since_s,))
        on_their_way = self._read(f"WHERE state IN {_in(IN_FLIGHT)}")
        return Wei(paid + sum(found.fee_max_wei for found in on_their_way))

    def num_paid_failures(self, kind: str) -> int:
        """Count the transactions of a kind that were reverted since the last one that was not."""
        query = (
            "SELECT COUNT(*) AS count FROM outbox WHERE kind = :kind AND state IN ('reverted', 'failed')"
            " AND is_forgiven = 0 AND id > COALESCE("
            "(SELECT MAX(id) FROM outbox WHERE kind = :kind AND state IN ('mined', 'final')), 0)"
        )
        (row,) = self._store.rows(query, {"kind": kind})
        count: int = row["count"]
        return count

    def kinds(self) -> list[str]:
        """The kinds of all transactions so far, in alphabetical order."""
        return [row["kind"] for row in self._store.rows("SELECT DISTINCT kind FROM outbox ORDER BY kind", ())]

    def forgive(self, kind: str) -> int:
        """Count the failures of a kind no longer; return how many they were."""
        return self._forgive("kind = :value", kind)

    def forgive_reached(self, key_prefix: str) -> int:
        """Count failures no longer whose goal another transaction has reached; return how many they were."""
        return self._forgive("substr(key, 1, length(:value)) = :value", key_prefix)

    def hasten(self, transaction_id: int, *, deadline_s: int, value_at_risk_wei: Wei) -> None:
        """Give a transaction under way a deadline, and the larger of both values at risk: others wait for it."""
        with self._store.transaction() as transaction:
            (row,) = self._store.rows("SELECT value_at_risk_wei FROM outbox WHERE id = ?", (transaction_id,))
            transaction.execute(
                "UPDATE outbox SET deadline_s = MIN(COALESCE(deadline_s, :deadline_s), :deadline_s),"
                " value_at_risk_wei = :risk WHERE id = :id",
                {
                    "deadline_s": deadline_s,
                    "risk": str(max(int(row["value_at_risk_wei"]), value_at_risk_wei)),
                    "id": transaction_id,
                },
            )

    def refuse(self, transaction_id: int, error: str) -> None:
        """Store that the simulation refused the transaction, and why."""
        self._move(transaction_id, "refused", error=error)

    def reserve(self, transaction_id: int, *, nonce: int, gas_limit: int) -> None:
        """Reserve a nonce for the transaction."""
        self._move(transaction_id, "reserved", nonce=nonce, gas_limit=gas_limit)

    def fill(self, intent: Intent, *, nonce: int, gas_limit: int) -> None:
        """Store the intent of a transaction that exists for the sake of its nonce, and reserve that."""
        with self._store.transaction():
            self.reserve(self.add(intent).id, nonce=nonce, gas_limit=gas_limit)

    def store(self, transaction_id: int, variant: Variant) -> None:
        """Store signed bytes, the first or those with a higher fee; bytes that are stored already stay."""
        with self._store.transaction() as transaction:
            (row,) = transaction.execute("SELECT state, nonce FROM outbox WHERE id = ?", (transaction_id,))
            transaction.execute(
                "INSERT OR IGNORE INTO outbox_variant (hash, transaction_id, nonce, raw, fee_max_wei, tip_max_wei)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    variant.hash,
                    transaction_id,
                    row["nonce"],
                    variant.raw,
                    str(variant.price.fee_max_wei),
                    str(variant.price.tip_max_wei),
                ),
            )
            if row["state"] == "reserved":
                self._move(transaction_id, "signed")

    def mark_sent(self, transaction_id: int, transaction_hash: Digest, head: Block) -> None:
        """Store that an endpoint accepted a variant."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE outbox_variant SET sent_block = ?, sent_s = ? WHERE hash = ? AND sent_block IS NULL",
                (head.number, head.timestamp_s, transaction_hash),
            )
            transaction.execute(
                "UPDATE outbox SET state = 'sent' WHERE id = ? AND state = 'signed'", (transaction_id,)
            )

    def mark_mined(
        self, transaction_id: int, receipt: TransactionReceipt, *, mined_s: int, error: str | None
    ) -> None:
        """Store the block of the transaction and, if it was reverted, the contract's reason."""
        self._move(
            transaction_id,
            "mined" if receipt.is_ok else "reverted",
            mined_hash=receipt.transaction_hash,
            block_number=receipt.block_number,
            block_hash=receipt.block_hash,
            mined_s=mined_s,
            gas_used=receipt.gas_used,
            fee_wei=str(receipt.gas_used * receipt.gas_price_wei),
            error=error,
        )

    def unmine(self, transaction_id: int) -> None:
        """Store that a reorganisation took the transaction out of its block."""
        self._move(transaction_id, "sent", since=MINED, **dict.fromkeys(_MINED_COLUMNS))

    def doubt(self, transaction_id: int) -> None:
        """Store that a final transaction may not have been mined after all."""
        with self._store.transaction():
            self._move(transaction_id, "mined", since=frozenset({"final"}))
            self.unmine(transaction_id)

    def release(self, transaction_id: int) -> None:
        """Take the nonce back: another transaction has used it for good."""
        self._move(transaction_id, "intended", nonce=None, gas_limit=None)

    def finish(self, transaction_id: int) -> None:
        """Store that the transaction's block is final."""
        (row,) = self._store.rows("SELECT state FROM outbox WHERE id = ?", (transaction_id,))
        self._move(transaction_id, "failed" if row["state"] == "reverted" else "final")

    def reopen(self, above: int) -> None:
        """Reopen the transactions that were finished in blocks above this one."""
        with self._store.transaction() as transaction:
            for finished, mined in (("final", "mined"), ("failed", "reverted")):
                transaction.execute(
                    "UPDATE outbox SET state = ? WHERE state = ? AND block_number > ?", (mined, finished, above)
                )

    def _forgive(self, condition: str, value: str) -> int:
        those = f"WHERE {condition} AND state IN ('reverted', 'failed') AND is_forgiven = 0"
        if not self._store.rows(f"SELECT 1 FROM outbox {those} LIMIT 1", {"value": value}):
            return 0  # mostly so, and then nothing is written
        with self._store.transaction() as transaction:
            return transaction.execute(f"UPDATE outbox SET is_forgiven = 1 {those}", {"value": value}).rowcount

    def _move(
        self,
        transaction_id: int,
        state: TransactionState,
        *,
        since: frozenset[TransactionState] = frozenset(NEXT),
        **values: object,
    ) -> None:
        columns = "".join(f", {name} = :{name}" for name in values)
        before = may_follow(state) & since
        update = f"UPDATE outbox SET state = :state{columns} WHERE id = :id AND state IN {_in(before)}"
        with self._store.transaction() as transaction:
            moved = transaction.execute(update, {**values, "state": state, "id": transaction_id}).rowcount
            assert moved == 1, f"transaction {transaction_id} can't become {state}"

    def _read(self, condition: str, *values: object) -> list[Transaction]:
        rows = self._store.rows(f"SELECT * FROM outbox {condition}", values)
        return [_transaction(row, self._variants(row["id"], row["nonce"])) for row in rows]

    def _variants(self, transaction_id: int, nonce: int | None) -> tuple[Variant, ...]:
        if nonce is None:
            return ()
        query = "SELECT * FROM outbox_variant WHERE transaction_id = ? AND nonce = ? ORDER BY rowid"
        return tuple(_variant(row) for row in self._store.rows(query, (transaction_id, nonce)))


_MINED_COLUMNS = ("mined_hash", "block_number", "block_hash", "mined_s", "gas_used", "fee_wei", "error")


def _in(states: frozenset[TransactionState]) -> str:
    return "(" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


def _intent_values(intent: Intent) -> tuple[object, ...]:
    return (
        intent.key,
        intent.kind,
        intent.summary,
        intent.sender,
        intent.call.to,
        intent.call.data,
        str(intent.call.value_wei),
        str(intent.value_at_risk_wei),
        intent.deadline_s,
    )


def _intent(row: sqlite3.Row) -> Intent:
    return Intent(
        key=row["key"],
        kind=row["kind"],
        summary=row["summary"],
        sender=Address(row["sender"]),
        call=ContractCall(to=Address(row["target"]), data=row["calldata"], value_wei=Wei(int(row["value_wei"]))),
        value_at_risk_wei=Wei(int(row["value_at_risk_wei"])),
        deadline_s=row["deadline_s"],
    )


def _variant(row: sqlite3.Row) -> Variant:
    return Variant(
        hash=Digest(row["hash"]),
        raw=row["raw"],
        price=GasPrice(fee_max_wei=Wei(int(row["fee_max_wei"])), tip_max_wei=Wei(int(row["tip_max_wei"]))),
        sent_block=row["sent_block"],
        sent_s=row["sent_s"],
    )


def _transaction(row: sqlite3.Row, variants: tuple[Variant, ...]) -> Transaction:
    return Transaction(
        id=row["id"],
        intent=_intent(row),
        state=row["state"],
        nonce=row["nonce"],
        gas_limit=row["gas_limit"],
        variants=variants,
        mined_hash=row["mined_hash"],
        block_number=row["block_number"],
        block_hash=row["block_hash"],
        mined_s=row["mined_s"],
        gas_used=row["gas_used"],
        fee_wei=None if row["fee_wei"] is None else Wei(int(row["fee_wei"])),
        error=row["error"],
    )
