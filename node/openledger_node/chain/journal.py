"""The sockets for what outbox and watcher write down; what a method writes is on the disk when it returns."""

from collections.abc import Sequence
from typing import Protocol

from openledger_protocol.chain import Block, TransactionReceipt
from openledger_protocol.events import BlockId, Event
from openledger_protocol.primitives import Address, Digest, Wei
from openledger_protocol.transactions import Transaction, Variant


class OutboxJournal(Protocol):
    """Where the outbox keeps its transactions; each knows which state may follow which."""

    def unfinished(self) -> list[Transaction]:
        """Those of which something may still become, oldest first."""

    def last_finished(self) -> BlockId | None:
        """The highest block that holds one that is final or failed."""

    def nonce_max(self, sender: Address) -> int | None:
        """The highest nonce that a sender's transactions have."""

    def spent_wei(self, since_s: int) -> Wei:
        """Fees paid since then, and what those on their way may still cost."""

    def num_paid_failures(self, kind: str) -> int:
        """The number of transactions of a kind that were reverted since the last one that was not."""

    def refuse(self, transaction_id: int, error: str) -> None:
        """Note that the simulation said no."""

    def reserve(self, transaction_id: int, *, nonce: int, gas_limit: int) -> None:
        """Give it a nonce."""

    def store(self, transaction_id: int, variant: Variant) -> None:
        """Keep signed bytes, the first or dearer ones."""

    def mark_sent(self, transaction_id: int, transaction_hash: Digest, head: Block) -> None:
        """Note that an endpoint took a variant."""

    def mark_mined(
        self, transaction_id: int, receipt: TransactionReceipt, *, mined_s: int, error: str | None
    ) -> None:
        """Note the block that holds it, and what the contract had against it."""

    def unmine(self, transaction_id: int) -> None:
        """Note that no block holds it any more."""

    def release(self, transaction_id: int) -> None:
        """Take its nonce back: another transaction has it for good."""

    def finish(self, transaction_id: int) -> None:
        """Note that its block is final."""

    def reopen(self, above: int) -> None:
        """Doubt all that was finished in blocks above this one."""


class EventJournal(Protocol):
    """Where the watcher keeps what it has read."""

    def last_blocks(self) -> list[BlockId]:
        """The newest blocks read, newest first, as many as are kept."""

    def finalized_number(self) -> int:
        """Up to where all is read and final; -1 before anything is."""

    def in_blocks(self, first: int, last: int) -> list[Event]:
        """Events of these blocks, both included, in order."""

    def append(self, blocks: Sequence[BlockId], events: Sequence[Event]) -> None:
        """Keep blocks that were read, in order, and what was said in them."""

    def rewind(self, number: int) -> None:
        """Forget the blocks above this one, and what was said in them."""

    def finalize(self, number: int) -> None:
        """Note up to where all is read and final."""
