"""One simulation in a process of its own: `python tests/support/simulator/run.py --seed 1 num_nodes=200`.

The last line is the result as JSON. The seed repeats the run.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.simulator.scenario import read_scenario
from support.simulator.simulation import simulate


def main() -> None:
    """Simulate, and print the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("change", nargs="*", help="name=value: a field of the scenario, such as num_nodes=200")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != str(args.seed):
        # The order of sets of strings is part of what the seed repeats, and is fixed when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": str(args.seed)})
    print(json.dumps(simulate(read_scenario(args.seed, args.change)).to_plain()))


if __name__ == "__main__":
    main()
