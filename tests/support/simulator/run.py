"""One simulation in a process of its own: `PYTHONHASHSEED=1 python tests/support/simulator/run.py '{"seed": 1}'`.

The last line is the result as JSON. The seed repeats the run, as far as it is the hash seed too.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.simulator.scenario import Scenario
from support.simulator.simulation import simulate

if __name__ == "__main__":
    print(json.dumps(asdict(simulate(Scenario(**json.loads(sys.argv[1]))))))
