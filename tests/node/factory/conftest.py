from collections.abc import Callable
from typing import Any

import pytest
from support.fake_trained import train_adapter

from openledger_node.datanets.version import VersionLabel
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.trainer import Trainer
from openledger_node.factory.training_run import TrainingRun
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Digest

ROWS = tuple(Row(prompt=f"What is {number}?", completion="A number.", contributor="ada") for number in range(20))
DATANET = VersionLabel(id="numbers", version="1", rows_root=Digest("0x" + "ab" * 32))
STARTED_NS = 1_700_000_000_000_000_000

Train = Callable[..., Adapter]


def waiting_run(**changes: Any) -> TrainingRun:
    given: dict[str, Any] = {"number": 1, "state": "waiting", "job": TrainingJob(name="numbers"), "trainer": "fake"}
    given |= {"base": "fake", "datanet": DATANET, "num_rows": len(ROWS), "num_held_out": 2, "num_dropped": 0}
    given |= {"evaluated_rows": 2, "started_ns": STARTED_NS, "changed_ns": STARTED_NS, **changes}
    return TrainingRun(**given)


@pytest.fixture
def train(home: Home) -> Train:
    """Train on the fake base by a given trainer; `changes` replaces other arguments."""

    def run(trainer: Trainer, **changes: Any) -> Adapter:
        given: dict[str, Any] = {"datanet": DATANET, "rows": ROWS, "started_ns": STARTED_NS}
        return train_adapter(home, "numbers", trainer=trainer, **{**given, **changes})

    return run
