"""Narrowed draws: the sampler's token for any logits and parameters, and seldom a row that is read whole."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_logits import logits_of
from support.tiers import depth
from triton.runtime import interpreter

from openledger_node.backends.cuda.decide import TAIL_TOLERANCE
from openledger_node.backends.cuda.draw import Drawer
from openledger_node.backends.cuda.kernels import draw as kernel
from openledger_node.backends.cuda.kernels import draw_layout as layout
from openledger_node.backends.cuda.kernels.gumbel import noise_of
from openledger_node.engine import sampler
from openledger_node.engine.backend import BatchRow, Draw, Drawn, Mask
from openledger_node.engine.sampler import Logits, draw
from openledger_protocol.inference import SamplingParams

CPU = torch.device("cpu")
WARM = SamplingParams(max_tokens=1, seed=1)


def high_product(left: Any, right: Any) -> Any:
    """The upper 64 bits of products of 64 bits, in numpy; the interpreter computes each in Python."""
    half, low = np.uint64(32), np.uint64(2**32 - 1)
    left, right = np.broadcast_arrays(np.asarray(left, np.uint64), np.asarray(right, np.uint64))
    one, other = (left >> half) * (right & low), (left & low) * (right >> half)
    middle = ((left & low) * (right & low) >> half) + (one & low) + (other & low)
    return (left >> half) * (right >> half) + (one >> half) + (other >> half) + (middle >> half)


@pytest.fixture(autouse=True, scope="module")
def quick_products_and_small_tiles() -> Iterator[None]:
    """Small tiles give small vocabularies many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "np_umulhi_u64", high_product)
        patch.setattr(kernel, "TILE", 1024)
        patch.setattr(kernel, "PART", 512)
        drawer_for.cache_clear()
        yield
        drawer_for.cache_clear()


@lru_cache
def drawer_for(vocab_size: int) -> Drawer:
    """One that is used again by the next test, whatever the last one left in its buffers."""
    return Drawer(CPU, vocab_size=vocab_size, rows_max=10)


def rows_of(draws: Sequence[Draw]) -> list[BatchRow]:
    return [
        BatchRow(sequence_id=str(number), token_ids=(1,), position=how.position - 1, draw=how)
        for number, how in enumerate(draws)
    ]


def drawn(logits: Logits, draws: Sequence[Draw], drawer: Drawer | None = None) -> list[Drawn | None]:
    drawer = drawer or drawer_for(logits.shape[1])
    drawer.launch(rows_of(draws), torch.from_numpy(logits))
    tokens = drawer.finish()
    return [tokens.get(str(number)) for number in range(len(draws))]


def num_read(logits: Logits, draws: Sequence[Draw]) -> int:
    """How many rows were read whole; all tokens are those of the sampler."""
    drawer = drawer_for(logits.shape[1])
    before = drawer.rows_read
    assert drawn(logits, draws, drawer) == [draw(row, how) for row, how in zip(logits, draws, strict=True)]
    return drawer.rows_read - before


# ---- What the kernels find.


@triton.jit
def noise_kernel(draws, out, SIZE: tl.constexpr):
    places = tl.arange(0, SIZE)
    tl.store(out + places, noise_of(tl.load(draws + places).to(tl.uint64, bitcast=True)))


def test_noise_in_float32_is_the_samplers_within_its_margin() -> None:
    random = np.random.default_rng(0).integers(0, 2**64, 1024, dtype=np.uint64)
    ends = np.arange(256, dtype=np.uint64) << np.uint64(11)  # the lowest and the highest numbers of 53 bits
    scales = np.uint64(2**64 - 1) - (np.uint64(1) << np.arange(64, dtype=np.uint64))
    raw = np.concatenate([random, ends, ~ends, scales, ~scales])
    raw = np.resize(raw, 2048)
    found = torch.empty(2048)
    noise_kernel[(1,)](torch.from_numpy(raw.view(np.int64)), found, 2048)
    assert np.abs(found.numpy() - sampler._noise(raw)).max() < 1e-5


SEEDS_AND_POSITIONS = [(0, 0), (1, 2047), (2**63 - 1, 2**31), (2**63, 2**32), (2**64 - 1, 2**40), (12345, 2**63 - 1)]


def test_the_kernels_draws_are_numpys_bits() -> None:
    size = 300
    words = np.full(-(-size // 32), 2**32 - 1, dtype=np.uint32)
    how = Draw(sampling=replace(WARM, presence_penalty=0.5), position=0, output_ids=range(size))
    draws = [
        replace(how, sampling=replace(how.sampling, seed=seed), position=position, allowed=Mask(lambda: words))
        for seed, position in SEEDS_AND_POSITIONS
    ]
    drawer = drawer_for(size)
    drawer.launch(rows_of(draws), torch.zeros(len(draws), size))
    found = drawer._listed.host[: len(draws) * size, 0].view(np.uint64).reshape(-1, size)
    for row, (seed, position) in zip(found, SEEDS_AND_POSITIONS, strict=True):
        assert (row == sampler._raw(seed, position, size)).all()


SHAPES = ["flat", "normal", "peaked", "certain", "ties", "zeros", "huge", "clustered"]


@pytest.mark.parametrize("shape", ["normal", "ties", "clustered"])
@pytest.mark.parametrize("size", [5, 1500])
def test_a_head_holds_the_likeliest_tokens_in_order(shape: str, size: int) -> None:
    logits = logits_of(shape, size, 1)[None]
    drawer = drawer_for(size)
    drawer.launch(rows_of([Draw(sampling=replace(WARM, top_k=2), position=1)]), torch.from_numpy(logits))
    record = drawer._records.host[0]
    ids = np.argsort(-logits[0], kind="stable")[:256]
    count = len(ids)
    assert record[layout.NUM_ENTRIES] == count
    pairs = record[layout.ENTRIES + 256 :][:count].view(np.int32).reshape(-1, 2)
    assert list(pairs[:, 0]) == list(ids)
    assert (pairs[:, 1].view(np.float32) == logits[0][ids]).all()
    rest = np.delete(logits[0], ids).astype(np.float64)
    tail = float(record[layout.TAIL : layout.TAIL + 1].view(np.float32)[0])
    assert tail == pytest.approx(np.exp(rest - logits.max()).sum(), rel=TAIL_TOLERANCE)


# ---- The same tokens.


@st.composite
def parameters(draws: st.DrawFn) -> SamplingParams:
    def often(usual: float, other: st.SearchStrategy[float]) -> float:
        return draws(st.just(usual) | other)

    return SamplingParams(
        max_tokens=1,
        seed=draws(st.integers(0, 2**64 - 1)),
        temperature=draws(st.sampled_from([0.7, 1.0, 0.0, 1e-9]) | st.floats(1e-6, 2)),
        top_k=draws(st.just(0) | st.integers(1, 400)),
        min_p=often(0.0, st.floats(0, 1) | st.floats(1e-300, 1e-3)),
        top_p=often(1.0, st.floats(0.001, 1)),
        repetition_penalty=often(1.0, st.floats(0.01, 2) | st.just(1e-300)),
        frequency_penalty=often(0.0, st.floats(-2, 2)),
        presence_penalty=often(0.0, st.floats(-2, 2)),
        logprobs=draws(st.sampled_from([None, None, None, 3])),
    )


def random_draw(params: SamplingParams, size: int, position: int) -> Draw:
    """A draw with an answer and a prompt of random tokens, and often with a mask that allows some tokens or few."""
    random = np.random.default_rng(params.seed)
    allowed = None
    if random.random() < 0.4:
        share = random.choice([0.001, 0.5])
        bits = random.random(-(-size // 32) * 32) < share
        bits[random.integers(0, size)] = True
        words = np.packbits(bits, bitorder="little").view(np.uint32)
        allowed = Mask(lambda: words)
    output, prompt = random.integers(0, size, 20).tolist(), random.integers(0, size, 40).tolist()
    return Draw(sampling=params, position=position, output_ids=output, prompt_ids=prompt, allowed=allowed)


@settings(max_examples=depth(light=5, deep=500))
@given(
    size=st.sampled_from([3, 300, 700, 1500]),
    shapes=st.lists(st.sampled_from(SHAPES), min_size=4, max_size=4),
    params=st.lists(parameters(), min_size=4, max_size=4),
    seed=st.integers(0, 2**32),
    position=st.integers(1, 2**32),
)
def test_a_token_is_the_samplers(
    size: int, shapes: list[str], params: list[SamplingParams], seed: int, position: int
) -> None:
    logits = np.stack([logits_of(shape, size, seed + number) for number, shape in enumerate(shapes)])
    num_read(logits, [random_draw(each, size, position) for each in params])


def best_by_noise(seed: int, size: int) -> list[int]:
    return [int(token) for token in np.argsort(-sampler.gumbel_noise(seed, 9, size))[:2]]


def test_where_the_best_token_is_cut_off_a_wide_nucleus_draws_the_next_best() -> None:
    logits = np.zeros((1, 1500), dtype=np.float32)  # of equal tokens, half of top_p are the lower half of the ids
    seed = next(seed for seed in range(100) if (best := best_by_noise(seed, 1500))[0] >= 1024 and best[1] < 512)
    how = Draw(sampling=replace(WARM, seed=seed, top_p=0.5), position=9)
    assert draw(logits[0], how).token == best_by_noise(seed, 1500)[1]
    assert num_read(logits, [how]) == 0


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ("flat", [{"top_k": 300, "top_p": 0.1}, {"min_p": 0.1, "top_p": 0.9}, {"top_p": 0.9, "presence_penalty": 1}]),
        ("huge", [{}]),
        ("normal", [{"logprobs": 2}, {"logprobs": 2, "temperature": 0}]),
    ],
)
def test_a_row_that_candidates_can_not_decide_is_read_whole(shape: str, changes: list[dict[str, Any]]) -> None:
    logits = np.stack([logits_of(shape, 700, number) for number in range(len(changes))])
    draws = [Draw(sampling=replace(WARM, **each), position=1, output_ids=[5]) for each in changes]
    assert num_read(logits, draws) == len(changes)


def test_a_cut_too_close_to_call_is_made_by_the_sampler() -> None:
    # Of 300 equal tokens each is a three-hundredth, and the cut is just before or just after the best by noise.
    share = best_by_noise(1, 300)[0] / 300
    shares = [share - 1e-10, share + 1e-10, share + 1e-3]
    logits = np.zeros((3, 300), dtype=np.float32)
    draws = [Draw(sampling=replace(WARM, top_p=each), position=9) for each in shares]
    assert num_read(logits[:2], draws[:2]) == 2
    assert num_read(logits[2:], draws[2:]) == 0


def test_two_tokens_of_a_tile_with_almost_the_same_score_are_decided_by_the_sampler() -> None:
    noise = sampler.gumbel_noise(1, 9, 300)
    logits = np.full((1, 300), -30, dtype=np.float32)
    logits[0, [100, 200]] = -noise[[100, 200]]
    assert num_read(logits, [Draw(sampling=WARM, position=9)]) == 1
    logits[0, 100] += 0.1
    assert num_read(logits, [Draw(sampling=WARM, position=9)]) == 0


# ---- Rows and steps.


def test_a_row_with_a_logit_that_is_not_finite_draws_nothing() -> None:
    logits = np.stack([logits_of("normal", 700, number) for number in range(7)])
    logits[[1, 3, 4], 555] = [np.nan, np.inf, -np.inf]  # not among the tokens that the mask allows
    first_of_words = np.full(22, 1, dtype=np.uint32)
    draws = [
        Draw(sampling=replace(WARM, **changes), position=3, allowed=Mask(lambda: first_of_words))
        for changes in ({}, {}, *[{"top_p": 0.9}] * 2, *[{"temperature": 0}] * 2, {"logprobs": 1})
    ]
    expected = [draw(row, how) for row, how in zip(logits, draws, strict=True)]
    assert drawn(logits, draws) == [expected[0], None, expected[2], None, None, *expected[5:]]
