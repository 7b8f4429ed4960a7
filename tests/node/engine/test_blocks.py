"""Blocks of the KV cache: none is lost, none is written while another reads it, and only the same text shares one."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.tiers import depth

from openledger_node.engine.backend import BLOCK_TOKENS
from openledger_node.engine.blocks import BlockPool, Table, blocks_for
from openledger_protocol.primitives import AdapterId

A, B = AdapterId("0xa"), AdapterId("0xb")


def tokens(num_blocks: int, *, more: int = 1, start: int = 0) -> tuple[int, ...]:
    return tuple(range(start, start + num_blocks * BLOCK_TOKENS + more))


def written(pool: BlockPool, adapter_id: AdapterId | None, ids: tuple[int, ...], *, payer: str = "") -> Table:
    """A table whose tokens have all been run."""
    table = pool.open(adapter_id, ids, payer=payer)
    assert pool.grow(table, len(ids))
    pool.note_written(table, ids[table.num_shareable_tokens :])
    return table


def test_a_beginning_that_was_run_is_found_by_the_same_adapter_alone() -> None:
    pool = BlockPool(16)
    first = written(pool, A, tokens(3))
    assert pool.open(A, tokens(3)).blocks == first.blocks[:3]
    assert pool.open(A, tokens(2, more=5)).blocks == first.blocks[:2]
    assert pool.open(B, tokens(3)).blocks == []
    assert pool.open(None, tokens(3)).blocks == []
    assert pool.open(A, tokens(3, start=1)).blocks == []


def test_a_stranger_who_guesses_a_beginning_finds_nothing_of_it() -> None:
    pool = BlockPool(16)
    asked = written(pool, A, tokens(6), payer="0xvictim")
    for guess in (tokens(6), tokens(3), tokens(1)):
        assert pool.open(A, guess, payer="0xstranger").blocks == []
        assert pool.open(A, guess).blocks == []
    assert pool.open(A, tokens(6), payer="0xvictim").blocks == asked.blocks[:6]


def test_payers_share_the_head_that_all_of_them_send_and_nothing_behind_it() -> None:
    pool = BlockPool(16, head_ids=tokens(2, more=5))
    asked = written(pool, A, tokens(4), payer="0xvictim")
    assert pool.open(A, tokens(4), payer="0xstranger").blocks == asked.blocks[:2]
    assert pool.open(A, tokens(4), payer="0xvictim").blocks == asked.blocks[:4]
    assert pool.open(B, tokens(4), payer="0xvictim").blocks == []


def test_the_heads_tokens_behind_a_payers_own_are_their_own() -> None:
    head, own = tokens(2), tokens(1, more=0, start=500)
    pool = BlockPool(16, head_ids=head)
    written(pool, A, own + head, payer="0xvictim")
    assert pool.open(A, own + head, payer="0xstranger").blocks == []


def test_what_was_freed_is_found_until_its_block_is_needed_and_ends_go_before_beginnings() -> None:
    pool = BlockPool(4)
    first = written(pool, A, tokens(3, more=0))
    blocks = list(first.blocks)
    pool.free(first)
    assert (pool.num_available, pool.num_idle) == (4, 3)
    other = pool.open(B, tokens(1, more=8))
    assert pool.grow(other, BLOCK_TOKENS + 8)  # the one that was never used, then the end of what was freed
    assert blocks[2] in other.blocks
    assert pool.open(A, tokens(3)).blocks == blocks[:2]


def test_what_was_discarded_is_found_by_nobody() -> None:
    pool = BlockPool(8)
    first, twin = written(pool, A, tokens(2)), pool.open(A, tokens(2))
    pool.discard(first)
    assert pool.open(A, tokens(2)).blocks == []
    assert len(twin.blocks) == 2
    pool.free(twin)
    assert (pool.num_available, pool.num_idle) == (8, 0)


def test_growing_takes_all_or_nothing() -> None:
    pool = BlockPool(2)
    table = pool.open(None, (1,))
    assert not pool.grow(table, 2 * BLOCK_TOKENS + 1)
    assert (table.blocks, pool.num_used) == ([], 0)
    assert pool.grow(table, 2 * BLOCK_TOKENS)


class Pool(RuleBasedStateMachine):
    """Any sequence of operations, beside a memory in which every block says what was written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(10)
        self.memory: dict[int, list[tuple[AdapterId | None, tuple[int, ...]]]] = {}  # block → a (text) for each token
        self.live: list[tuple[Table, list[int], int]] = []  # table, its tokens, how many of them were run

    def write(self, number: int, num_tokens: int) -> None:
        table, ids, num_run = self.live[number]
        for place in range(num_run, num_tokens):
            block = table.blocks[place // BLOCK_TOKENS]
            readers = [other for other, _, _ in self.live if other is not table and block in other.blocks]
            assert not readers, "a block that others read is never written"
            cells = self.memory.setdefault(block, [(None, ())] * BLOCK_TOKENS)
            cells[place % BLOCK_TOKENS] = (table.adapter_id, tuple(ids[: place + 1]))
        self.live[number] = (table, ids, num_tokens)
        self.pool.note_written(table, ids[table.num_shareable_tokens : num_tokens])

    @rule(
        adapter_id=st.sampled_from([None, A, B]),
        ids=st.lists(st.integers(0, 1), max_size=4).map(lambda kinds: [k for kind in kinds for k in [kind] * 12]),
    )
    def join(self, adapter_id: AdapterId | None, ids: list[int]) -> None:
        ids = [*ids, 7]
        table = self.pool.open(adapter_id, ids)
        assert table.num_tokens_max < len(ids)
        for place in range(table.num_tokens_max):
            cell = self.memory[table.blocks[place // BLOCK_TOKENS]][place % BLOCK_TOKENS]
            assert cell == (adapter_id, tuple(ids[: place + 1])), "what was found is this text, by this adapter"
        if not self.pool.grow(table, len(ids)):
            self.pool.free(table)
            return
        self.live.append((table, ids, table.num_shareable_tokens))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), count=st.integers(1, 40))
    def run_part(self, data: st.DataObject, count: int) -> None:
        number = data.draw(st.integers(0, len(self.live) - 1))
        _, ids, num_run = self.live[number]
        self.write(number, min(len(ids), num_run + count))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), token=st.integers(0, 1))
    def answer(self, data: st.DataObject, token: int) -> None:
        number = data.draw(st.integers(0, len(self.live) - 1))
        table, ids, _ = self.live[number]
        self.write(number, len(ids))
        if self.pool.grow(table, len(ids) + 1):
            ids.append(token)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), is_tainted=st.booleans())
    def leave(self, data: st.DataObject, is_tainted: bool) -> None:
        table, _, _ = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        (self.pool.discard if is_tainted else self.pool.free)(table)
        assert table.blocks == []

    @invariant()
    def no_block_is_lost_and_none_is_in_two_hands(self) -> None:
        held = [set(table.blocks) for table, _, _ in self.live]
        assert all(len(blocks) == len(table.blocks) for blocks, (table, _, _) in zip(held, self.live, strict=True))
        used = set().union(*held)
        assert self.pool.num_used == len(used)
        assert self.pool.num_available == self.pool.num_blocks - len(used)
        assert self.pool.num_idle <= self.pool.num_available
        assert used <= set(range(self.pool.num_blocks))

    @invariant()
    def what_a_table_has_run_stands_in_its_blocks(self) -> None:
        for table, ids, num_run in self.live:
            assert len(table.blocks) >= blocks_for(len(ids))
            for place in range(num_run):
                cell = self.memory[table.blocks[place // BLOCK_TOKENS]][place % BLOCK_TOKENS]
                assert cell == (table.adapter_id, tuple(ids[: place + 1]))


Pool.TestCase.settings = settings(max_examples=depth(light=40, deep=400), stateful_step_count=30, deadline=None)
TestPool = Pool.TestCase
