"""Whole networks on a clock that jumps: honest nodes know each other and are served, whatever hostile ones do.

`tests/support/simulator` has the nodes and the network.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from support.processes.nodes import ROOT
from support.simulator.scenario import Result, Scenario
from support.tiers import depth

SEEDS = depth(light=(1,), deep=(1, 2, 3))
pytestmark = pytest.mark.process


def simulated(scenario: Scenario) -> Result:
    """Simulate in a process of its own, in which the seed decides the order of sets too."""
    done = subprocess.run(
        [sys.executable, "tests/support/simulator/run.py", json.dumps(asdict(scenario))],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(scenario.seed)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = Result(**json.loads(done.stdout.splitlines()[-1]))
    print(scenario, result)
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_sixty_nodes_know_and_serve_each_other_among_hostile_ones(seed: int) -> None:
    result = simulated(Scenario(seed=seed))
    assert result.share_known >= 0.999
    assert result.share_known_after_churn >= 0.999
    assert result.share_served >= 0.99
    assert result.share_paid_hostile <= 0.02
    assert max(result.sent_bytes_per_s, result.received_bytes_per_s) <= 20_000
    assert result.newcomer_s is not None
    assert result.newcomer_s <= 30
    assert result.point_lost_s is not None
    assert result.point_lost_s <= 30


def test_a_network_that_was_cut_in_two_is_one_again_within_half_a_minute() -> None:
    few = Scenario(seed=1, num_nodes=12, share_hostile=0.0, share_churn=0.0, start_s=5.0, settle_s=20.0, calls_s=5.0)
    result = simulated(replace(few, part_s=20.0, loss=0.05))
    assert result.share_known_after_churn == 1.0
    assert result.healed_s is not None
    assert result.healed_s <= 30
