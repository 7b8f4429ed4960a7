"""A training's states: every move there is, and every other one refused."""

import pytest

from openledger_node.errors import ConfigError
from openledger_node.factory.job import RunEvent, RunState, is_checkpoint, move

WHOLE_LIFE: list[tuple[RunEvent, RunState]] = [
    ("begin", "training"),
    ("pause", "paused"),
    ("resume", "training"),
    ("begin", "training"),
    ("learned", "evaluating"),
    ("evaluated", "done"),
    ("evaluate", "evaluating"),
    ("evaluated", "done"),
]


def test_a_training_goes_from_waiting_to_done_and_may_be_evaluated_again() -> None:
    state: RunState = "waiting"
    for event, expected in WHOLE_LIFE:
        state = move(state, event)
        assert state == expected


def test_a_move_that_is_not_in_the_table_is_refused_and_says_from_where_it_is_one() -> None:
    with pytest.raises(ConfigError, match="this training is done: only one that is "):
        move("done", "pause")


@pytest.mark.parametrize(("steps", "most_lost"), [(1, 1), (9, 1), (72, 7), (499, 49), (10_000, 50)])
def test_a_kill_loses_a_tenth_of_a_training_or_fifty_steps(steps: int, most_lost: int) -> None:
    kept = [0, *(step for step in range(1, steps + 1) if is_checkpoint(step, steps))]
    assert max(after - before for before, after in zip(kept, [*kept[1:], steps], strict=True)) <= most_lost
