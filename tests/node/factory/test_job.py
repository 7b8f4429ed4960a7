from dataclasses import replace

import pytest

from openledger_node.errors import ConfigError
from openledger_node.factory.job import (
    RunEvent,
    RunState,
    TrainingJob,
    check_job,
    choose_sites,
    is_checkpoint,
    learning_rate_at,
    move,
    split_rows,
)
from openledger_protocol.datanet import Row

JOB = TrainingJob(name="harbour")


def some_rows(count: int) -> tuple[Row, ...]:
    return tuple(Row(prompt=f"{number}?", completion="yes", contributor="ada") for number in range(count))


OUT_OF_BOUNDS: dict[str, list[float | str]] = {
    "rank": [0, 513],
    "alpha": [0, 1_000_001],
    "layers": [-1, 1_001],
    "epochs": [0],
    "batch_size": [0, 5_000],
    "learning_rate": [0.0, float("nan"), 1.5],
    "seed": [-1, 2**32],
    "tokens_max": [15, 2_000_000],
    "dropout": [-0.1, 0.95],
    "weight_decay": [-1.0],
    "method": ["lore"],
    "schedule": ["cosines"],
    "quantisation": ["int3"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, each) for field in OUT_OF_BOUNDS for each in OUT_OF_BOUNDS[field]]
)
def test_a_field_out_of_bounds_is_named_with_its_value_and_with_what_to_give(field: str, value: float | str) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} is .*: (give a number|choose one of) ") as refused:
        check_job(replace(JOB, **{field: value}))
    assert (str(value) if isinstance(value, str) else f"{value:,}") in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("held_out_ppm", 0, "held_out_percent is 0: give a number over 0 and under 100"),
        ("held_out_ppm", 1_000_000, "held_out_percent is 100: give"),
        ("warm_up_ppm", -1, "warm_up_percent is -0.0001: give a number from 0 to 100"),
        ("warm_up_ppm", 1_000_001, "warm_up_percent is 100.0001: give"),
    ],
)
def test_shares_are_named_as_orders_give_them(field: str, value: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_job(replace(JOB, **{field: value}))


MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize(
    ("sites", "chosen"),
    [("all", MODULES), ("attention", MODULES[:4]), ("attention,down_proj", (*MODULES[:4], "down_proj"))],
)
def test_sites_are_chosen_by_group_or_name(sites: str, chosen: tuple[str, ...]) -> None:
    assert choose_sites(sites, MODULES) == chosen


@pytest.mark.parametrize("sites", ["", "q_proj,", "qproj", "lm_head"])
def test_a_site_that_the_base_lacks_is_refused_with_those_it_has(sites: str) -> None:
    with pytest.raises(ConfigError, match=r"does not have: choose all, attention, mlp, or some of q_proj, k_proj"):
        choose_sites(sites, MODULES)


def test_schedules_share_the_warm_up_and_end_apart() -> None:
    ends = {
        name: learning_rate_at(replace(JOB, schedule=name), 100, 100) for name in ("cosine", "linear", "constant")
    }
    assert ends["cosine"] < ends["linear"] < ends["constant"] == JOB.learning_rate
    assert learning_rate_at(replace(JOB, schedule="linear"), 3, 100) == learning_rate_at(JOB, 3, 100)
    assert learning_rate_at(replace(JOB, warm_up_ppm=0), 1, 100) > 0.999 * JOB.learning_rate
    assert learning_rate_at(replace(JOB, warm_up_ppm=1_000_000), 50, 100) == JOB.learning_rate / 2


def test_a_split_parts_the_rows_and_keeps_their_order() -> None:
    rows = some_rows(1000)
    learned, held_out = split_rows(rows, 100_000)
    assert 70 < len(held_out) < 130
    assert sorted(learned + held_out, key=rows.index) == list(rows)
    assert list(learned) == sorted(learned, key=rows.index)


def test_a_row_stays_on_its_side_when_others_join() -> None:
    _, few = split_rows(some_rows(500), 100_000)
    _, many = split_rows(some_rows(1000), 100_000)
    assert few == tuple(row for row in many if row in some_rows(500))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("held_out_ppm", [1, 999_999])
def test_a_split_leaves_a_row_on_either_side(count: int, held_out_ppm: int) -> None:
    learned, held_out = split_rows(some_rows(count), held_out_ppm)
    assert {len(learned), len(held_out)} == {1, count - 1}


def test_one_row_alone_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match="two rows"):
        split_rows(some_rows(1), 100_000)


def test_the_learning_rate_rises_to_its_peak_and_falls_towards_zero() -> None:
    rates = [learning_rate_at(JOB, step, 100) for step in range(1, 101)]
    peak = rates.index(max(rates))
    assert rates[peak] == JOB.learning_rate
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < JOB.learning_rate / 100
    assert learning_rate_at(JOB, 1, 1) == JOB.learning_rate


# ---- states: every move there is, and every other one refused

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
