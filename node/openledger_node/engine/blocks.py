"""Who owns which block of the KV cache, and which blocks hold a beginning that others may read too.

Paged attention as vLLM does it (Kwon et al., SOSP 2023): a sequence's keys and values lie in blocks of BLOCK_TOKENS
tokens, wherever there is room, and its table names them in order. A full block can be found again by all the tokens
up to its end and by the adapter that ran them, so that prompts that begin alike are computed once.
"""

from collections import OrderedDict
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from itertools import count

from openledger_protocol.primitives import AdapterId

from .backend import BLOCK_TOKENS

Key = tuple[int | AdapterId | None, tuple[int, ...]]
"""What a full block holds: the number of the beginning that it goes on from (of an adapter's first block: the
adapter), and its own tokens. No digest stands for the tokens, so no collision can share a block."""


@dataclass(slots=True, eq=False)
class Table:
    """One sequence's blocks, in the order of its tokens."""

    adapter_id: AdapterId | None
    blocks: list[int] = field(default_factory=list)
    num_shareable: int = 0  # blocks, from the front, that were entered in the index, or found there
    beginning: int | None = None  # the number of the last of those

    @property
    def num_tokens_max(self) -> int:
        """Tokens that fit."""
        return len(self.blocks) * BLOCK_TOKENS

    @property
    def num_shareable_tokens(self) -> int:
        """Tokens, from the front, that others may find."""
        return self.num_shareable * BLOCK_TOKENS


class BlockPool:
    """Hands out blocks; those that nobody uses keep what they hold until there is no other left."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._num_touched = 0  # those from here on were never used
        self._num_users: dict[int, int] = {}
        self._empty: list[int] = []  # were used, and hold nothing that can be found
        self._idle: OrderedDict[int, None] = (
            OrderedDict()
        )  # hold something that can be found; unused the longest first
        self._blocks: dict[Key, tuple[int, int]] = {}  # key → the block that holds it, and the beginning's number
        self._keys: dict[int, Key] = {}  # the same from the block's side
        self._numbers = count()

    @property
    def num_used(self) -> int:
        """Blocks that sequences use now."""
        return len(self._num_users)

    @property
    def num_available(self) -> int:
        """Blocks that nobody uses, whatever they hold."""
        return self.num_blocks - self.num_used

    @property
    def num_idle(self) -> int:
        """Those of them that hold something that can be found again."""
        return len(self._idle)

    def open(self, adapter_id: AdapterId | None, token_ids: Items[int]) -> Table:
        """Start a sequence's table with the longest beginning that is here; its last token is left to compute."""
        table = Table(adapter_id)
        while (last := table.num_tokens_max + BLOCK_TOKENS) < len(token_ids):
            found = self._blocks.get(_key(table, token_ids[table.num_tokens_max : last]))
            if found is None:
                break
            block, table.beginning = found
            self._use(block)
            table.blocks.append(block)
            table.num_shareable += 1
        return table

    def num_missing(self, table: Table, num_tokens: int) -> int:
        """Blocks that a table lacks to hold `num_tokens`."""
        return max(0, blocks_for(num_tokens) - len(table.blocks))

    def grow(self, table: Table, num_tokens: int) -> bool:
        """Make room for `num_tokens` in all; False, and nothing is taken, if there are not enough blocks."""
        num_missing = self.num_missing(table, num_tokens)
        if num_missing > self.num_available:
            return False
        table.blocks += [self._take() for _ in range(num_missing)]
        return True

    def note_written(self, table: Table, token_ids: Items[int]) -> None:
        """Let others find the blocks that are full now; `token_ids` stand behind those that they find already."""
        for first in range(0, len(token_ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            key, block = _key(table, token_ids[first : first + BLOCK_TOKENS]), table.blocks[table.num_shareable]
            if key not in self._blocks:  # else a twin was faster, and this copy stays its owner's alone
                self._blocks[key] = (block, next(self._numbers))
                self._keys[block] = key
            table.beginning = self._blocks[key][1]
            table.num_shareable += 1

    def free(self, table: Table) -> None:
        """Give up a table; what its blocks hold can be found until they are needed."""
        for block in reversed(table.blocks):  # so that of one text the end is given away before the beginning
            self._num_users[block] -= 1
            if self._num_users[block] == 0:
                del self._num_users[block]
                if block in self._keys:
                    self._idle[block] = None
                else:
                    self._empty.append(block)
        table.blocks.clear()

    def discard(self, table: Table) -> None:
        """Give up a table whose numbers are not to be trusted: nobody finds what it holds any more."""
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


def blocks_for(num_tokens: int) -> int:
    """Blocks that `num_tokens` fill, the last of them in part."""
    return -(-num_tokens // BLOCK_TOKENS)


def _key(table: Table, token_ids: Items[int]) -> Key:
    parent = table.adapter_id if table.beginning is None else table.beginning
    return (parent, tuple(token_ids))
