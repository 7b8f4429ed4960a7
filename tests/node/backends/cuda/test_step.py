"""The tables of a step: every row is where the kernels look for it, and padding is what they leave out."""

import random

import numpy as np
import pytest

from openledger_node.backends.cuda.step import BARE, NOWHERE, SEGMENT_ROWS, StepLayout, bucket_sizes, lay_out
from openledger_node.engine.backend import BLOCK_TOKENS, BatchRow, Draw
from openledger_protocol.inference import SamplingParams

GREEDY = SamplingParams(max_tokens=1, seed=1, temperature=0)
TILE_TOKENS = 5
WIDTH = 12
SLOTS = {"a": 4, "b": 0, "bare": BARE}


def row(name: str, num_tokens: int, *, position: int = 0, draws: bool = True) -> BatchRow:
    """Rows of a sequence: its first letter says on which adapter, and its blocks begin at 1,000 times its number."""
    end = position + num_tokens
    first = 1000 * int(name[1:])
    return BatchRow(
        sequence_id=name,
        token_ids=tuple(first + at for at in range(position, end)),
        position=position,
        blocks=tuple(first + 7 * at for at in range(-(-end // BLOCK_TOKENS))),
        draw=Draw(sampling=GREEDY, position=end) if draws else None,
    )


def slot_of(sequence_id: str) -> int:
    return SLOTS["bare" if sequence_id[0] == "x" else sequence_id[0]]


def laid_out(*rows: BatchRow) -> StepLayout:
    return lay_out(rows, slot_of, width=WIDTH, tile_tokens=TILE_TOKENS)


def test_decoding_rows_come_first_then_prompts_each_sorted_by_slot_with_the_bare_base_in_front() -> None:
    step = laid_out(row("a1", 3), row("a2", 1, position=9), row("x3", 2), row("b4", 1, position=40), row("x5", 1))
    assert step.table("ids").tolist() == [5000, 4040, 2009, 3000, 3001, 1000, 1001, 1002]
    assert step.table("positions").tolist() == [0, 40, 9, 0, 1, 0, 1, 2]
    assert [each.sequence_id for each in step.drawn] == ["x5", "b4", "a2", "x3", "a1"]
    assert step.table("drawn_at").tolist() == [0, 1, 2, 4, 7]
    assert step.table("segments").tolist() == [[1, 2, 0], [2, 3, 4], [5, 8, 4]]
    assert not step.is_graphed


def test_a_replayed_row_draws_at_each_of_its_last_known_tokens() -> None:
    given = row("a1", 20, position=5)
    step = lay_out((given,), slot_of, width=WIDTH, tile_tokens=TILE_TOKENS, num_known=3)
    assert step.table("drawn_at").tolist() == [17, 18, 19]
    assert step.drawn == (given,) * 3


def test_rows_of_one_adapter_share_segments_across_sequences_up_to_the_least_product() -> None:
    step = laid_out(row("a1", 10), row("a2", 9), row("a3", 1), row("b4", 2))
    assert SEGMENT_ROWS == 16
    assert step.table("segments").tolist() == [[0, 1, 4], [1, 3, 0], [3, 19, 4], [19, 22, 4]]


@pytest.mark.parametrize(("num_rows", "bucket"), [(1, 1), (3, 4), (5, 8), (33, 48), (64, 64)])
def test_decoding_rows_fill_a_bucket_with_rows_that_do_nothing(num_rows: int, bucket: int) -> None:
    rows = [row(f"{'ab'[n % 2]}{n}", 1, position=n) for n in range(num_rows)]
    step = laid_out(*rows)
    assert step.is_graphed
    assert step.sizes == bucket_sizes(bucket, WIDTH, has_adapters=True)
    assert (step.table("places")[num_rows:] == NOWHERE).all()
    for name in ("tiles", "segments"):
        first, end = (0, 1) if name == "segments" else (1, 2)
        table = step.table(name)
        empty = table[:, first] >= table[:, end]
        assert empty.sum() >= bucket - num_rows
        assert not empty[: 1 if name == "segments" else num_rows].any()


def test_any_mix_of_rows_is_laid_out_so_that_every_token_is_in_one_tile_and_one_segment_of_its_adapter() -> None:
    chance = random.Random(3)
    for _ in range(200):
        rows = [
            row(f"{chance.choice('abx')}{n}", chance.choice((1, 1, 2, 17, 40)), position=chance.randrange(100))
            for n in range(chance.randrange(1, 20))
        ]
        step = laid_out(*rows)
        owner = {token: each for each in rows for token in each.token_ids}
        total = sum(len(each.token_ids) for each in rows)
        ids = step.table("ids")[:total].tolist()
        assert sorted(ids) == sorted(owner)
        tiled = [at for _, first, end, _ in step.table("tiles").tolist() for at in range(first, end)]
        assert tiled == list(range(total))
        slots = np.full(total, BARE)
        for first, end, slot in step.table("segments").tolist():
            assert end - first <= SEGMENT_ROWS
            assert (slots[first:end] == BARE).all()
            slots[first:end] = slot
        assert slots.tolist() == [slot_of(owner[token].sequence_id) for token in ids]
        for number, first, end, position in step.table("tiles").tolist():
            for at in range(first, end):
                sequence = owner[ids[at]]
                assert sequence.token_ids[position + at - first - sequence.position] == ids[at]
                block, offset = divmod(int(step.table("places")[at]), BLOCK_TOKENS)
                assert block == sequence.blocks[(position + at - first) // BLOCK_TOKENS]
                assert block == step.table("blocks")[number][(position + at - first) // BLOCK_TOKENS]
                assert offset == (position + at - first) % BLOCK_TOKENS
