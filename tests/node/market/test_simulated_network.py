"""Whole networks on a clock that jumps: honest nodes know each other and are served, whatever hostile ones do.

A failure prints the command that repeats it. `tests/support/simulator` has the nodes and the network.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from support.depth import depth
from support.processes.nodes import ROOT
from support.simulator.scenario import KINDS, Result, Scenario, read_scenario

SEEDS = depth(light=(1,), deep=(1, 2, 3))
SMALL = Scenario(seed=1, num_nodes=12, share_hostile=0.0, share_churn=0.0, start_s=5.0, settle_s=20.0, calls_s=5.0)
LARGE = Scenario(seed=1, num_nodes=1_000, share_hostile=0.0, num_calls=100, offers_times=10, start_s=60.0)


def simulated(scenario: Scenario) -> Result:
    """Simulate in a process of its own, in which the seed decides the order of sets too."""
    print(f"again: {scenario.replay}")
    done = subprocess.run(
        [sys.executable, "tests/support/simulator/run.py", *scenario.words],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(scenario.seed)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = Result(**json.loads(done.stdout.splitlines()[-1]))
    print(result)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_sixty_nodes_know_and_serve_each_other_among_hostile_ones(seed: int) -> None:
    result = simulated(Scenario(seed=seed))
    assert result.share_known >= 0.999
    assert result.share_known_after_churn >= 0.999
    assert result.share_served >= 0.99
    assert result.share_paid_hostile <= 0.02
    check_costs_and_times(result)


@pytest.mark.slow
def test_a_network_that_was_cut_in_two_is_one_again_within_half_a_minute() -> None:
    result = simulated(replace(SMALL, part_s=20.0, loss=0.05))
    assert result.share_known_after_churn == 1.0
    assert result.healed_s is not None
    assert result.healed_s <= 30


@pytest.mark.slow
def test_a_seed_repeats_a_simulation() -> None:
    scenario = replace(SMALL, num_nodes=8, share_hostile=0.3, kinds=KINDS[:2], share_churn=0.2, loss=0.1)
    results = [simulated(each) for each in (scenario, scenario, replace(scenario, seed=2))]
    first, again, other = (replace(each, cpu_s=0.0, check_ms=0.0, core_percent=0.0) for each in results)
    assert first == again
    assert first.sent_bytes_per_s != other.sent_bytes_per_s


def test_a_scenario_is_read_from_the_words_that_it_writes() -> None:
    scenario = replace(LARGE, kinds=KINDS[:2], loss=0.25)
    assert read_scenario(1, scenario.words[2:]) == scenario
    with pytest.raises(ValueError, match="no 'nodes': it has num_nodes"):
        read_scenario(1, ["nodes=3"])


@pytest.mark.deep(reason="the test with sixty nodes has the same bars")
@pytest.mark.parametrize("scenario", [Scenario(seed=1, num_nodes=200), LARGE], ids=["200", "1,000"])
def test_large_networks_meet_their_bars(scenario: Scenario) -> None:
    result = simulated(scenario)
    assert result.share_known >= 0.999
    assert result.share_served >= 0.99
    check_costs_and_times(result)


def check_costs_and_times(result: Result) -> None:
    assert max(result.sent_bytes_per_s, result.received_bytes_per_s) <= 20_000
    assert result.core_percent <= 2
    assert result.newcomer_s is not None
    assert result.newcomer_s <= 30
    assert result.point_lost_s is not None
    assert result.point_lost_s <= 30
