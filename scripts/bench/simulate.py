"""A simulated network of many nodes: offers known, calls served, traffic, and recovery from faults.

The nodes run the real code of market and peers, without engine, chain and money, over a network inside this process
and on a clock that jumps. The seed is printed, and repeats the run. `--json` prints one object on the last line.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from random import SystemRandom
from typing import Any

from bars import Bar, bar, environment, show_bars

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from support.simulator.scenario import Result, read_scenario
from support.simulator.simulation import simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("change", nargs="*", help="name=value: a field of the scenario, such as num_nodes=200")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != str(args.seed):
        # The order of sets of strings is part of what the seed repeats, and is fixed when a process starts.
        words = [*sys.argv, *(() if "--seed" in sys.argv else ("--seed", str(args.seed)))]
        os.execve(sys.executable, [sys.executable, *words], {**os.environ, "PYTHONHASHSEED": str(args.seed)})
    scenario = read_scenario(args.seed, args.change)
    print(f"again: {scenario.replay}", flush=True)
    load = os.getloadavg()[0]
    result = simulate(scenario)
    bars = bars_of(result)
    show_bars(f"{scenario.num_nodes} simulated nodes, {scenario.num_hostile} of them hostile", bars)
    for name, value in result.to_plain().items():
        print(f"{name:28} {value:.4g}" if isinstance(value, float) else f"{name:28} {value}")
    if args.json:
        told: dict[str, Any] = {"bench": "simulate", "bars": bars, "env": environment(load, 1)}
        print(json.dumps({**told, "runs": result.to_plain()}))


def bars_of(result: Result) -> list[Bar]:
    """The bars of a network's scale."""
    late = "" if None not in (result.newcomer_s, result.point_lost_s) else "not reached while the simulation waited"
    return [
        bar("offers_known", result.share_known, "share", 0.999),
        bar("offers_known_at_the_end", result.share_known_after_churn, "share", 0.999),
        bar("calls_served", result.share_served, "share", 0.99),
        bar("sent", result.sent_bytes_per_s / 1_000, "KB/s", 20, better="lower"),
        bar("received", result.received_bytes_per_s / 1_000, "KB/s", 20, better="lower"),
        bar("core", result.core_percent, "%", 2, better="lower"),
        bar("newcomer_ready", result.newcomer_s, "s", 30, better="lower", why=late),
        bar("point_lost", result.point_lost_s, "s", 30, better="lower", why=late),
    ]


if __name__ == "__main__":
    main()
