"""Steps of the values that votes change, and the least number of draws."""

from dataclasses import replace
from fractions import Fraction

import pytest
from support.signed import PARAMS

from openledger_protocol.governance import (
    DRAWS_MIN,
    Bound,
    ParamBounds,
    QueuedParams,
    find_param,
    moves_from,
    step_of,
)
from openledger_protocol.primitives import Wei

OPEN = 10**18
BOUNDS = ParamBounds(
    protocol_ppm_max=100_000,
    data_ppm_min=100_000,
    data_ppm_max=300_000,
    royalty_ppm_max=200_000,
    credit_tokens_max=1_024,
    least_context_max=1_000_000,
    guide_price_max_wei=Wei(OPEN),
    min_stake_min_wei=Wei(OPEN),
    min_stake_max_wei=Wei(100_000 * OPEN),
    min_deposit_min_wei=Wei(1),
    min_deposit_max_wei=Wei(100 * OPEN),
    adapter_bond_min_wei=Wei(0),
    adapter_bond_max_wei=Wei(1_000 * OPEN),
)


@pytest.mark.parametrize("part", [Fraction(1, 10**9), Fraction(1, 100), Fraction(1, 3), Fraction(99, 100)])
def test_a_false_part_of_a_list_costs_at_least_twice_what_it_gains(part: Fraction) -> None:
    passes = (1 - part) ** DRAWS_MIN
    lapses = (1 - passes) / passes  # expected, until a draw shows only true points
    assert lapses / 2 >= 2 * part
    few = (1 - part) ** 2
    assert part > Fraction(1, 10) or (1 - few) / few / 2 < Fraction(6, 5) * part, "two draws are nearly a fair game"


@pytest.mark.parametrize(
    ("key", "before", "step"),
    [
        ("dataPpm", 200_000, (150_000, 250_000)),
        ("dataPpm", 280_000, (210_000, 300_000)),
        ("protocolPpm", 0, (0, 10_000)),
        ("minStake", 1_000 * OPEN, (500 * OPEN, 2_000 * OPEN)),
        ("minStake", 100_000 * OPEN, (50_000 * OPEN, 100_000 * OPEN)),
        ("minStake", OPEN, (OPEN, 2 * OPEN)),
        ("minDeposit", OPEN // 100, (1, OPEN)),
        ("minDeposit", OPEN + 1, (OPEN // 2 + 1, 2 * OPEN + 2)),
        ("adapterBond", 0, (0, OPEN)),
        ("guidePrice", 5, None),
        ("draws", 4, None),
    ],
)
def test_one_vote_moves_a_share_or_a_minimum_so_far(key: str, before: int, step: Bound | None) -> None:
    spec = find_param(key)
    assert spec is not None
    assert step_of(spec, before, BOUNDS) == step


def test_shares_wait_for_each_other_and_a_minimum_for_itself_alone() -> None:
    first = replace(PARAMS, data_ppm=250_000)
    history = [
        QueuedParams(from_epoch=0, params=PARAMS),
        QueuedParams(from_epoch=10, params=first),
        QueuedParams(from_epoch=20, params=replace(first, min_stake_wei=Wei(2))),
    ]
    keys = {"protocolPpm": 24, "dataPpm": 24, "minStake": 34, "minDeposit": 0, "adapterBond": 0}
    for key, epoch in keys.items():
        spec = find_param(key)
        assert spec is not None
        assert moves_from(spec, history) == epoch, key
