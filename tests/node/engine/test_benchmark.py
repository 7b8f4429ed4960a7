"""What an operator's benchmark counts, and what it says of a card."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.local_engine import SETTINGS, engine_options
from support.scripted_child import PROFILE

from openledger_node.engine.backend import BLOCK_TOKENS, Profile
from openledger_node.engine.benchmark import (
    BenchmarkWork,
    batch_sizes,
    parse_used,
    run_benchmark,
    sequences_that_fit,
)
from openledger_node.engine.engine import EngineOptions

WORK = BenchmarkWork(prompt_tokens=8, answer_tokens=8, rank=4)


def options(tmp_path: Path, backend: str = "fake", batch_max: int = 4) -> EngineOptions:
    settings = replace(SETTINGS, batch_max=batch_max, context_max=64)
    return engine_options(backend=backend, settings=settings)


def profile(num_blocks: int) -> Profile:
    return replace(PROFILE, context_max=64, num_blocks=num_blocks)


@pytest.mark.parametrize(("batch_max", "sizes"), [(1, (1,)), (4, (1, 4)), (16, (1, 8, 16)), (64, (1, 8, 32))])
def test_no_batch_is_larger_than_the_engine_takes(batch_max: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(batch_max) == sizes


def test_a_sequence_takes_whole_blocks() -> None:
    assert sequences_that_fit(profile(num_blocks=10), 2 * BLOCK_TOKENS + 1, batch_max=64) == 3
    assert sequences_that_fit(profile(num_blocks=10), BLOCK_TOKENS, batch_max=4) == 4


def test_the_cards_of_a_process_are_added_up_and_no_others() -> None:
    said = "100, 7\n1234, 512\n1234, 256\n99, [N/A]\nno such line\n"
    assert parse_used(said, 1234) == 768 << 20
    assert parse_used(said, 5) is None
    assert parse_used(said, 99) is None


@pytest.mark.process
def test_every_step_is_told_of_and_nothing_stays_behind(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    figures = run_benchmark(options(tmp_path), WORK, tmp_path, lambda _, done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(told[-1][1]))
    assert [(one.batch, one.adapters) for one in figures.batches] == [(1, 0), (4, 0), (1, 1), (4, 4)]
    assert all(one.tokens_per_s > 0 for one in figures.batches)
    assert figures.failures == ()
    assert list(tmp_path.iterdir()) == []
