"""The watcher: reads the events of our contracts, and undoes them after a reorg.

It recognises the chain by the last blocks that it read. Blocks that were not final when they were read are read again
later, since an endpoint may show a block before it has the block's logs.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
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
        self.head: Block | None = None
        self.state: ChainState = OK

    def step(self) -> bool:
        """Read the next chunk, or go back to the last block that is still on the chain.

        Returns True if there is more to read.

        Raises:
            LedgerError: the journal can't be written; the next step resumes where this one stopped.
        """
        if self.state.health == "halted":
            return False
        try:
            has_more = self._step()
        except (ChainError, MalformedError) as error:
            self.state = ChainState(health="down", why=str(error))
            return False
        if self.state.health == "down":
            self.state = OK
        return has_more

    def rescan(self) -> None:
        """Forget everything and read the chain again, which ends a halt. The operator must trust the endpoint."""
        self._journal.rewind(self._first_block - 1)
        self.state = OK

    def _step(self) -> bool:
        check_chain_id(self._client, self._chain_id)
        finalized = self._client.finalized_number()
        head = self.head = self._client.head()
        kept = self._journal.last_blocks()
        if kept and not self._leads_to(head, kept[0]):
            return self._go_back(kept, head)
        last = kept[0] if kept else None
        has_more = self._read_on(last, head, finalized)
        return self._read_again(finalized) or has_more

    def _leads_to(self, head: Block, known: BlockId) -> bool:
        """Return True if a block is on the chain of `head`; the last two blocks need no request."""
        return known.hash in (head.hash, head.parent_hash) or self._is_on_chain(known)

    def _is_on_chain(self, known: BlockId) -> bool:
        block = self._client.block(known.number)
        return block is not None and block.hash == known.hash

    # ---- going back after a reorg

    def _go_back(self, kept: Sequence[BlockId], head: Block) -> bool:
        newest, oldest = kept[0], kept[-1]
        if any(known.number == head.number and known.hash == head.hash for known in kept):
            return False  # not a reorg: the endpoint is only behind
        is_all = oldest.number == self._first_block
        start = oldest.number - 1 if is_all else None
        ancestor = next((known.number for known in kept[1:] if self._is_on_chain(known)), start)
        if ancestor is None or newest.number - ancestor > REORG_DEPTH_MAX:
            why = (
                f"the chain took back more than {REORG_DEPTH_MAX} blocks below block {newest.number}: no money moves "
                "until you have compared [chain] rpc with another endpoint, and set it to the one that is right"
            )
            self.state = ChainState(health="halted", why=why)
            return False
        log.warning("the chain took back %d blocks: reading from block %d", newest.number - ancestor, ancestor + 1)
        self._journal.rewind(ancestor)
        return True

    # ---- reading new blocks

    def _read_on(self, last: BlockId | None, head: Block, finalized: int) -> bool:
        first = self._first_block if last is None else last.number + 1
        if first > head.number:
            return False
        until = min(first + self._chunk_blocks - 1, head.number)
        blocks = self._read_blocks(first, until, head)
        logs = self._read_logs(first, until)
        if not _are_one_chain(last, blocks, logs):
            return False  # the chain changed between the requests; the next step reads it again
        self._journal.append([_id(block) for block in blocks], self._events(logs))
        if until <= finalized and first > self._doubted and first == self._done() + 1:
            self._journal.finalize(until)
        return until < head.number

    def _read_blocks(self, first: int, until: int, head: Block) -> list[Block]:
        """The blocks by which to recognise the chain: the last one, and those that a reorg may still change."""
        numbers = [*range(max(first, head.number - BLOCKS_KEPT + 1), until), until]
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
