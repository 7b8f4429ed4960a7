"""What an operator's benchmark counts, and what it says of a card."""

from dataclasses import replace
from pathlib import Path

import pytest
from node.engine.scripted_child import PROFILE
from support.local_engine import SETTINGS, engine_options

from openledger_node.engine.backend import BLOCK_TOKENS
from openledger_node.engine.benchmark import BenchmarkWork, parse_used, run_benchmark, sequences_that_fit

WORK = BenchmarkWork(prompt_tokens=8, answer_tokens=8, rank=4)


def test_a_sequence_takes_whole_blocks() -> None:
    profile = replace(PROFILE, context_max=64, num_blocks=10)
    assert sequences_that_fit(profile, 2 * BLOCK_TOKENS + 1, batch_max=64) == 3
    assert sequences_that_fit(profile, BLOCK_TOKENS, batch_max=4) == 4


def test_the_cards_of_a_process_are_added_up_and_no_others() -> None:
    said = "100, 7\n1234, 512\n1234, 256\n99, [N/A]\nno such line\n"
    assert parse_used(said, 1234) == 768 << 20
    assert parse_used(said, 5) is None
    assert parse_used(said, 99) is None


@pytest.mark.process
def test_every_step_is_told_of_and_nothing_stays_behind(tmp_path: Path) -> None:
    options = engine_options(settings=replace(SETTINGS, batch_max=4, context_max=64))
    told: list[tuple[int, int]] = []
    figures = run_benchmark(options, WORK, tmp_path, lambda _, done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(told[-1][1]))
    assert [(one.batch, one.adapters) for one in figures.batches] == [(1, 0), (4, 0), (1, 1), (4, 4)]
    assert all(one.tokens_per_s > 0 for one in figures.batches)
    assert figures.failures == ()
    assert list(tmp_path.iterdir()) == []
