"""Blocks of the KV cache: the sequences that use them, and an index of prefixes that others may reuse.

Paged attention as in vLLM (Kwon et al., SOSP 2023): a sequence's keys and values are stored in blocks of BLOCK_TOKENS
tokens, anywhere in the cache, and its table lists them in order. A full block is indexed by all tokens up to its end,
the adapter that computed them and the payer who sent them, so that a payer's common prefix is computed once.

Payers share only the head of the chat template, which all of them send. If they shared more, anyone could guess a
prompt's beginning and learn from a faster first token that another payer had sent it (CVE-2025-46570).
"""

from collections import OrderedDict
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from itertools import count

from openledger_protocol.primitives import AdapterId

from .backend import BLOCK_TOKENS

Key = tuple[int | AdapterId | None, str | None, tuple[int, ...]]
"""Identifies a full block: the number of the prefix before it (for a first block, the adapter), the payer who may
reuse it (None: every payer), and its own tokens. It holds no digest, so no collision can share a wrong block."""


@dataclass(slots=True, eq=False)
class Table:
    """One sequence's blocks, in the order of its tokens."""

    adapter_id: AdapterId | None
    payer: str = ""  # empty: this machine's owner
    blocks: list[int] = field(default_factory=list)
    num_shareable: int = 0  # blocks, from the front, that are in the index
    prefix: int | None = None  # the number of the prefix that these blocks hold

    @property
    def num_tokens_max(self) -> int:
        """Tokens that fit in the table's blocks."""
        return len(self.blocks) * BLOCK_TOKENS

    @property
    def num_shareable_tokens(self) -> int:
        """Tokens, from the front, that later sequences may reuse."""
        return self.num_shareable * BLOCK_TOKENS


class BlockPool:
    """Allocates blocks; an unused block keeps its content until no empty block is left."""

    def __init__(self, num_blocks: int, *, head_ids: Items[int] = ()) -> None:
        """`head_ids`: the tokens with which every chat begins; payers share their blocks, and no others."""
        self.num_blocks = num_blocks
        self._head_ids = tuple(head_ids)
        self._num_touched = 0  # blocks from this number on were never used
        self._num_users: dict[int, int] = {}
        self._empty: list[int] = []  # were used, and hold nothing reusable
        self._idle: OrderedDict[int, None] = OrderedDict()  # hold a reusable prefix; the longest unused first
        self._blocks: dict[Key, tuple[int, int]] = {}  # key → the block that holds it, and the prefix's number
        self._keys: dict[int, Key] = {}  # block → its key
        self._numbers = count()

    @property
    def num_used(self) -> int:
        """Blocks that sequences use."""
        return len(self._num_users)

    @property
    def num_available(self) -> int:
        """Blocks that no sequence uses, including idle ones."""
        return self.num_blocks - self.num_used

    @property
    def num_idle(self) -> int:
        """Unused blocks that hold a reusable prefix."""
        return len(self._idle)

    def open(self, adapter_id: AdapterId | None, token_ids: Items[int], *, payer: str = "") -> Table:
        """Start a sequence's table with the longest prefix that it may reuse; its last token is left to compute."""
        table = Table(adapter_id, payer)
        while (last := table.num_tokens_max + BLOCK_TOKENS) < len(token_ids):
            found = self._blocks.get(self._key(table, token_ids[table.num_tokens_max : last]))
            if found is None:
                break
            block, table.prefix = found
            self._use(block)
            table.blocks.append(block)
            table.num_shareable += 1
        return table

    def num_missing(self, table: Table, num_tokens: int) -> int:
        """Blocks that a table lacks to hold `num_tokens`."""
        return max(0, blocks_for(num_tokens) - len(table.blocks))

    def grow(self, table: Table, num_tokens: int) -> bool:
        """Extend a table to hold `num_tokens`; if there are too few blocks, take none and return False."""
        num_missing = self.num_missing(table, num_tokens)
        if num_missing > self.num_available:
            return False
        table.blocks += [self._take() for _ in range(num_missing)]
        return True

    def note_written(self, table: Table, token_ids: Items[int]) -> None:
        """Index the blocks that are now full; `token_ids` follow the tokens that are already indexed."""
        for first in range(0, len(token_ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            key = self._key(table, token_ids[first : first + BLOCK_TOKENS])
            block = table.blocks[table.num_shareable]
            if (
                key not in self._blocks
            ):  # else another sequence indexed the same tokens first, and this copy stays private
                self._blocks[key] = (block, next(self._numbers))
                self._keys[block] = key
            table.prefix = self._blocks[key][1]
            table.num_shareable += 1

    def free(self, table: Table) -> None:
        """Release a table; the content of its blocks can be reused until they are needed."""
        for block in reversed(table.blocks):  # so that the end of a text is evicted before its start
            self._num_users[block] -= 1
            if self._num_users[block] == 0:
                del self._num_users[block]
                if block in self._keys:
                    self._idle[block] = None
                else:
                    self._empty.append(block)
        table.blocks.clear()

    def discard(self, table: Table) -> None:
        """Release a table whose numbers overflowed, and remove its blocks from the index."""
        for block in table.blocks:
            self._forget(block)
        self.free(table)

    def _take(self) -> int:
        if self._empty:
            block = self._empty.pop()
        elif self._num_touched < self.num_blocks:
            block, self._num_touched = self._num_touched, self._num_touched + 1
        else:
            block, _ = self._idle.popitem(last=False)
            self._forget(block)
        self._num_users[block] = 1
        return block

    def _use(self, block: int) -> None:
        self._num_users[block] = self._num_users.get(block, 0) + 1
        self._idle.pop(block, None)

    def _forget(self, block: int) -> None:
        if key := self._keys.pop(block, None):
            del self._blocks[key]

    def _key(self, table: Table, token_ids: Items[int]) -> Key:
        """The key of a table's next block. After a payer's own block, the prefix's number is already theirs alone."""
        first, block_ids = table.num_shareable_tokens, tuple(token_ids)
        is_head = block_ids == self._head_ids[first : first + BLOCK_TOKENS]
        parent = table.adapter_id if table.prefix is None else table.prefix
        return (parent, None if is_head else table.payer, block_ids)


def blocks_for(num_tokens: int) -> int:
    """The number of blocks for `num_tokens`, rounded up."""
    return -(-num_tokens // BLOCK_TOKENS)
