"""The watcher: reads the events of our contracts, and undoes them after a reorg.

It recognises the chain by blocks that it read: the newest, and the one as far below as a reorganisation may be deep.
Each look begins with the head, and ends there if the head has not moved. Blocks that were not final when they were
read are read again later, since an endpoint may show a block before it has the block's logs.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from openledger_protocol.chain import Block, Log
from openledger_protocol.errors import MalformedError
from openledger_protocol.events import BLOCKS_KEPT, BlockId, Event
from openledger_protocol.primitives import Address
from openledger_protocol.transactions import REORG_DEPTH_MAX

from ..errors import ChainError
from ..ledger.events import EventRows
from .client import OK, ChainClient, ChainState
from .contracts import load_contract
from .identity import check_chain_id

CHUNK_BLOCKS_MAX: Final = 1_000
"""Blocks whose logs are requested at once; halved while an endpoint refuses that many."""

Decode = Callable[[Log], Event | None]
"""Decodes a log; None for an unknown event."""

log = logging.getLogger(__name__)


def decode_with(contracts: Mapping[str, Address]) -> Decode:
    """Decode each log by the ABI of the contract at its address."""
    known = {address: load_contract(name) for name, address in contracts.items()}
    return lambda found: known[found.address].decode_log(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The chain as the watcher has read it to its head."""

    head: Block
    num_reorgs: int  # that this watcher has met; while it stays the same, no block that was on the chain has left it


class Watcher:
    """Reads the logs of some contracts into a journal."""

    def __init__(
        self,
        *,
        client: ChainClient,
        journal: EventRows,
        chain_id: int,
        addresses: Sequence[Address],
        first_block: int,
        decode: Decode,
        chunk_blocks_max: int = CHUNK_BLOCKS_MAX,
    ) -> None:
        self._client = client
        self._journal = journal
        self._chain_id = chain_id
        self._addresses = addresses
        self._first_block = first_block
        self._decode = decode
        self._chunk_blocks_max = chunk_blocks_max
        self._chunk_blocks = chunk_blocks_max
        self._doubted = -1  # up to here two readings differed, so that one reading is not enough
        self._is_right_chain = False  # the endpoint was asked for its chain's id
        self._num_reorgs = 0
        self.head: Block | None = None
        self.seen: Seen | None = None  # None: not read to the head, or not now
        self.state: ChainState = OK

    def step(self) -> bool:
        """Read the next chunk, or go back to the last block that is still on the chain.

        Returns True if there is more to read.

        Raises:
            LedgerError: the journal can't be written; the next step resumes where this one stopped.
        """
        before, self.seen = self.seen, None
        if self.state.health == "halted":
            return False
        try:
            has_more = self._step(before)
        except (ChainError, MalformedError) as error:
            self.state = ChainState(health="down", why=str(error))
            return False
        if self.state.health == "down":
            self.state = OK
        return has_more

    def rescan(self) -> None:
        """Forget everything and read the chain again, which ends a halt. The operator must trust the endpoint."""
        self._journal.rewind(self._first_block - 1)
        self._num_reorgs += 1
        self.seen, self.state = None, OK

    def _step(self, before: Seen | None) -> bool:
        head = self._client.head()
        kept = self._journal.last_blocks()
        is_next = not kept or self._leads_to(head, kept[0])
        if not (self._is_right_chain and is_next):  # a chain that leads on from our blocks is ours
            check_chain_id(self._client, self._chain_id)
            self._is_right_chain = True
        self.head = head
        if not is_next:
            return self._go_back(kept, head)
        has_more = False
        if not self._is_read(before, kept, head):
            finalized = self._client.finalized_number()
            has_more = self._read_on(kept, head, finalized)
            has_more = self._read_again(finalized) or has_more
        if has_more:
            return True
        if newest := self._journal.last_blocks():
            self.seen = Seen(head=head, num_reorgs=self._num_reorgs) if newest[0].hash == head.hash else None
        return False

    def _is_read(self, before: Seen | None, kept: Sequence[BlockId], head: Block) -> bool:
        """Return True if the last look has read everything up to the same head."""
        return before is not None and before.head.hash == head.hash == kept[0].hash if kept else False

    def _leads_to(self, head: Block, known: BlockId) -> bool:
        """Return True if a block is on the chain of `head`; the last two blocks need no request."""
        return known.hash in (head.hash, head.parent_hash) or self._is_on_chain(known, head)

    def _is_on_chain(self, known: BlockId, head: Block) -> bool:
        """Return True if a block is on the chain of `head`.

        Raises:
            ChainError: the endpoint has no block of that number, although its head is higher.
        """
        block = self._client.block(known.number)
        if block is None and known.number <= head.number:  # no reorg: two servers behind one address
            raise ChainError(
                f"the endpoint is at block {head.number} and has no block {known.number}: one of its servers is "
                "behind, so wait, or use another endpoint"
            )
        return block is not None and block.hash == known.hash

    # ---- going back after a reorg

    def _go_back(self, kept: Sequence[BlockId], head: Block) -> bool:
        newest = kept[0]
        if head.number < newest.number and self._is_only_behind(kept, head):
            return False
        is_all = newest.number - REORG_DEPTH_MAX < self._first_block
        start = self._first_block - 1 if is_all else None
        ancestor = next((known.number for known in kept[1:] if self._is_on_chain(known, head)), start)
        if ancestor is None or newest.number - ancestor > REORG_DEPTH_MAX:
            why = (
                f"the chain took back more than {REORG_DEPTH_MAX} blocks below block {newest.number}: no money moves "
                "until you have compared [chain] rpc with another endpoint, and set it to the one that is right"
            )
            self.state = ChainState(health="halted", why=why)
            return False
        log.warning("the chain took back %d blocks: reading from block %d", newest.number - ancestor, ancestor + 1)
        self._journal.rewind(ancestor)
        self._num_reorgs += 1
        return True

    def _is_only_behind(self, kept: Sequence[BlockId], head: Block) -> bool:
        """Return True unless a block that was read is no longer on the chain of an endpoint whose head is lower."""
        below = next((known for known in kept if known.number <= head.number), None)
        if below is None:
            return kept[0].number - head.number < BLOCKS_KEPT  # it is compared once it has come nearer
        return below.hash == head.hash or (below.number < head.number and self._is_on_chain(below, head))

    # ---- reading new blocks

    def _read_on(self, kept: Sequence[BlockId], head: Block, finalized: int) -> bool:
        last = kept[0] if kept else None
        first = max(self._done(), last.number if last else self._done()) + 1
        if first > head.number:
            return False
        until = min(first + self._chunk_blocks - 1, head.number)
        blocks = self._read_blocks(kept, until, head)
        logs = self._read_logs(first, until)
        if not _are_one_chain(last, blocks, logs):
            return False  # the chain changed between the requests; the next step reads it again
        self._journal.append([_id(block) for block in blocks], self._events(logs))
        if until <= finalized and first > self._doubted and first == self._done() + 1:
            self._journal.finalize(until)
        return until < head.number

    def _read_blocks(self, kept: Sequence[BlockId], until: int, head: Block) -> list[Block]:
        """The blocks by which to recognise the chain: the last one, and the one to which a reorg may go back.

        Other blocks are not read. A block of a public chain is 10 to 30 KB, since it names its transactions.
        """
        edge = until - REORG_DEPTH_MAX
        is_near = edge >= self._first_block and head.number - until < BLOCKS_KEPT
        is_edge_due = is_near and all(block.number != edge for block in kept)
        numbers = [edge, until] if is_edge_due else [until]
        found = [head if number == head.number else self._client.block(number) for number in numbers]
        return [block for block in found if block is not None]

    def _read_logs(self, first: int, until: int) -> list[Log]:
        try:
            logs = self._client.logs(self._addresses, first, until)
        except ChainError:
            self._chunk_blocks = max(1, self._chunk_blocks // 2)
            raise
        self._chunk_blocks = min(self._chunk_blocks_max, self._chunk_blocks * 2)
        return logs

    def _events(self, logs: Sequence[Log]) -> list[Event]:
        return [event for event in map(self._decode, logs) if event is not None]

    # ---- reading again, once blocks are final

    def _read_again(self, finalized: int) -> bool:
        done = self._done()
        kept = self._journal.last_blocks()
        target = min(finalized, kept[0].number if kept else done)
        if target <= done:
            return False
        until = min(done + self._chunk_blocks, target)
        known = self._journal.in_blocks(done + 1, until)
        found = self._events(self._read_logs(done + 1, until))
        if _places(known) == _places(found):
            self._journal.finalize(until)
            return until < target
        log.warning("the endpoint's logs of blocks %d to %d have changed: reading them again", done + 1, until)
        self._doubted = until
        self._journal.rewind(done)
        return True

    def _done(self) -> int:
        return max(self._journal.finalized_number(), self._first_block - 1)


def _are_one_chain(last: BlockId | None, blocks: Sequence[Block], logs: Sequence[Log]) -> bool:
    """Return True if blocks and logs belong together and follow the last block, as far as their hashes tell."""
    hashes = {block.number: block.hash for block in blocks}
    parents = hashes if last is None else {**hashes, last.number: last.hash}
    return (
        len(blocks) > 0
        and all(block.parent_hash == parents.get(block.number - 1, block.parent_hash) for block in blocks)
        and all(found.block_hash == hashes.get(found.block_number, found.block_hash) for found in logs)
    )


def _id(block: Block) -> BlockId:
    return BlockId(number=block.number, hash=block.hash)


def _places(events: Sequence[Event]) -> list[tuple[str, int, str]]:
    return [(event.block.hash, event.log_index, event.name) for event in events]
