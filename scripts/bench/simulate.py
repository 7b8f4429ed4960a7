"""A simulated network of many nodes: offers known, calls served, traffic, and recovery from faults.

The nodes run the real code of market and peers over a network inside this process, on a clock that jumps. The seed is
printed, and repeats the run. `--json` prints one object on the last line.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from random import SystemRandom

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from support.simulator.scenario import Result, Scenario


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=60)
    parser.add_argument("--hostile", type=float, default=0.2, help="share of the nodes that are hostile")
    parser.add_argument("--steady", type=float, default=30.0, help="seconds in which traffic is counted")
    parser.add_argument("--part", type=float, default=0.0, help="seconds for which a third is cut off")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != str(args.seed):
        # The order of sets of strings is part of what the seed repeats, and is fixed when a process starts.
        words = [*sys.argv, *(() if "--seed" in sys.argv else ("--seed", str(args.seed)))]
        os.execve(sys.executable, [sys.executable, *words], {**os.environ, "PYTHONHASHSEED": str(args.seed)})
    scenario = Scenario(
        seed=args.seed, num_nodes=args.nodes, share_hostile=args.hostile, steady_s=args.steady, part_s=args.part
    )
    print(f"again: {scenario.replay}", flush=True)
    from support.simulator.simulation import simulate

    result = simulate(scenario)
    show(result)
    if args.json:
        print(json.dumps({"bench": "simulate", "result": result.to_plain()}))


def show(result: Result) -> None:
    for name, value in result.to_plain().items():
        print(f"{name:28} {value:.4g}" if isinstance(value, float) else f"{name:28} {value}")


if __name__ == "__main__":
    main()
