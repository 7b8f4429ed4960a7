"""Attention over paged keys and values, against a softmax in float64."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from openledger_node.backends.cuda.kernels import attention
from openledger_node.backends.cuda.kernels.attention import QUERY_TOKENS, SPLIT_TOKENS, Scratch, attend
from openledger_node.backends.cuda.kernels.attention_sizes import GENERATIONS
from openledger_node.engine.backend import BLOCK_TOKENS

NAN = float("nan")
UNTOUCHED = 7.0
ERRORS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}

DECODING = ((0, 1), (63, 1), (200, 1))
PROMPTS = ((0, 7), (40, 16), (10, 65))
RAGGED = (*DECODING, *PROMPTS)
FEW = ((130, 1), (150, 17), (3, 30))
"""Sequences of a step: the tokens that are cached, and those that the step adds."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The shape of a base's attention."""

    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    cap: float = 0.0
    window: int = 0

    @property
    def scale(self) -> float:
        return self.head_dim**-0.5


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """What a sequence's tokens have for attention, in the serving format."""

    position: int  # of the first query
    queries: Tensor  # (tokens, heads, head_dim)
    keys: Tensor  # (position + tokens, kv_heads, head_dim)
    values: Tensor

    @property
    def num_blocks(self) -> int:
        return -(-len(self.keys) // BLOCK_TOKENS)


PLAIN = Heads()
CAPPED = Heads(head_dim=12, cap=5.0, window=20)


def sequences_of(
    lengths: Iterable[tuple[int, int]], shape: Heads, dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Sequence]:
    generator = torch.Generator().manual_seed(seed)

    def numbers(tokens: int, heads: int) -> Tensor:
        return torch.randn(tokens, heads, shape.head_dim, generator=generator).to(dtype)

    return [
        Sequence(
            position=position,
            queries=numbers(tokens, shape.heads),
            keys=numbers(position + tokens, shape.kv_heads),
            values=numbers(position + tokens, shape.kv_heads),
        )
        for position, tokens in lengths
    ]


def exact(sequence: Sequence, shape: Heads) -> Tensor:
    """Attention of one sequence in float64: (tokens, heads · head_dim)."""
    share = shape.heads // shape.kv_heads
    keys, values = (each.double().repeat_interleave(share, 1) for each in (sequence.keys, sequence.values))
    scores = torch.einsum("thd,khd->htk", sequence.queries.double(), keys) * shape.scale
    if shape.cap:
        scores = shape.cap * torch.tanh(scores / shape.cap)
    queries, seen = torch.arange(sequence.position, len(keys))[:, None], torch.arange(len(keys))[None]
    hidden = seen > queries
    if shape.window:
        hidden |= seen <= queries - shape.window
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return torch.einsum("htk,khd->thd", weights, values).flatten(1)


def tables_of(sequences: list[Sequence], width: int, seed: int = 0) -> Tensor:
    """Blocks in no order, each of one sequence; the rest of a row names the last block, which is nobody's."""
    total = sum(each.num_blocks for each in sequences)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).int()
    tables = torch.full((len(sequences), width), total, dtype=torch.int32)
    for table, each, blocks in zip(
        tables, sequences, order.split([each.num_blocks for each in sequences]), strict=True
    ):
        table[: each.num_blocks] = blocks
    return tables


def cache_of(sequences: list[Sequence], tables: Tensor) -> Tensor:
    """The cache of a layer, NaN wherever no token of these sequences lies."""
    _, kv_heads, head_dim = sequences[0].keys.shape
    shape = (2, int(tables.max()) + 1, kv_heads, BLOCK_TOKENS, head_dim)
    cache = torch.full(shape, NAN, dtype=sequences[0].keys.dtype)
    for table, each in zip(tables, sequences, strict=True):
        tokens = torch.arange(len(each.keys))
        blocks = table[tokens // BLOCK_TOKENS].long()
        cache[0, blocks, :, tokens % BLOCK_TOKENS] = each.keys
        cache[1, blocks, :, tokens % BLOCK_TOKENS] = each.values
    return cache


def tiles_of(sequences: list[Sequence], *, tile_tokens: int = QUERY_TOKENS) -> list[tuple[int, int, int, int]]:
    tiles, first = [], 0
    for number, each in enumerate(sequences):
        end = first + len(each.queries)
        for start in range(first, end, tile_tokens):
            tiles.append((number, start, min(start + tile_tokens, end), each.position + start - first))
        first = end
    return tiles


def small_scratch(sequences: list[Sequence], shape: Heads, *, split_keys: int = 64) -> Scratch:
    """Short splits, so that short rows have several; nothing may read what was not written."""
    splits = -(-max(len(each.keys) for each in sequences) // split_keys)
    rows = max(len(sequences), SPLIT_TOKENS)
    return Scratch(
        mixed=torch.full((rows, shape.heads, splits, shape.head_dim), NAN),
        sums=torch.full((rows, shape.heads, splits), NAN),
        split_keys=split_keys,
    )


def run(
    sequences: list[Sequence],
    shape: Heads,
    *,
    num_empty: int = 0,
    num_padded: int = 0,
    scratch: Scratch | None = None,
    tile_tokens: int = QUERY_TOKENS,
) -> Tensor:
    """One step of these sequences, with so many empty tiles and token rows that no tile names."""
    width = max(each.num_blocks for each in sequences) + 1
    tables = tables_of(sequences, width)
    queries = torch.cat([each.queries for each in sequences])
    # As they come: the first columns of a wider matrix.
    qkv = torch.full((len(queries) + num_padded, shape.heads + 2 * shape.kv_heads, shape.head_dim), NAN)
    qkv = qkv.to(queries.dtype)
    qkv[: len(queries), : shape.heads] = queries
    out = torch.full((len(qkv), shape.heads * shape.head_dim), UNTOUCHED, dtype=queries.dtype)
    attend(
        qkv[:, : shape.heads],
        cache_of(sequences, tables),
        out,
        torch.tensor(tiles_of(sequences, tile_tokens=tile_tokens) + [(0, 0, 0, 0)] * num_empty, dtype=torch.int32),
        tables,
        scale=shape.scale,
        cap=shape.cap,
        window=shape.window,
        scratch=scratch or small_scratch(sequences, shape),
        tile_tokens=tile_tokens,
    )
    assert (out[len(queries) :] == UNTOUCHED).all(), "padding stays as it was"
    return out[: len(queries)]


def error(found: Tensor, sequences: list[Sequence], shape: Heads) -> float:
    wanted = torch.cat([exact(each, shape) for each in sequences])
    return float((found.double() - wanted).abs().max())


@pytest.mark.parametrize(
    ("lengths", "shape", "dtype"),
    [(RAGGED, CAPPED, torch.float32), (FEW, PLAIN, torch.bfloat16), (DECODING, PLAIN, torch.float32)],
    ids=["ragged", "few tokens", "decoding"],
)
def test_a_step_equals_a_softmax_in_float64(
    lengths: tuple[tuple[int, int], ...], shape: Heads, dtype: torch.dtype
) -> None:
    """The cache has NaN wherever no token lies, and the step has tiles and token rows that nothing is in."""
    sequences = sequences_of(lengths, shape, dtype)
    found = run(sequences, shape, num_empty=2, num_padded=3, tile_tokens=1 if lengths == DECODING else QUERY_TOKENS)
    assert error(found, sequences, shape) < ERRORS[dtype]


@pytest.mark.parametrize(
    ("generation", "head_dim"), [("turing", 96), ("ampere", 80), *((each, 256) for each in GENERATIONS)]
)
def test_heads_may_have_any_width_on_any_card(
    generation: str, head_dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "generation_of", lambda device: generation)
    shape = Heads(heads=3, kv_heads=1, head_dim=head_dim, cap=5.0)
    sequences = sequences_of(((20, 1), (3, 4)), shape, torch.float16)
    assert error(run(sequences, shape), sequences, shape) < ERRORS[torch.float16]


def test_a_row_has_the_same_bits_in_any_batch() -> None:
    shape = Heads(heads=2, kv_heads=1, window=100)
    sequences = sequences_of(((130, 1), (9, 1)), shape, torch.bfloat16)
    together = run(sequences, shape, num_empty=1, tile_tokens=1)
    alone = torch.cat([run([each], shape, tile_tokens=1) for each in sequences])
    beside = {tokens: sequences_of(((0, tokens),), shape, torch.bfloat16, seed=1) for tokens in (5, 65)}
    assert torch.equal(together, alone)
    for prompts in beside.values():
        assert torch.equal(run([*sequences, *prompts], shape)[:2], together), "beside prompts with splits and without"


def test_a_row_has_the_same_bits_for_any_number_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Heads(heads=2, kv_heads=1)
    sequences = sequences_of(((130, 1), (70, 30)), shape)
    many = run(sequences, shape)
    monkeypatch.setattr(attention, "PROGRAMS", 1)
    assert torch.equal(run(sequences, shape), many)
