from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openledger_node.factory.job import TrainingJob
from openledger_node.factory.service import train_adapter
from openledger_node.factory.trainer import Trainer
from openledger_node.home import Home
from openledger_node.inference.adapters import Adapter
from openledger_node.inference.bases import FAKE_BASE
from openledger_protocol.adapter import DatanetReference
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Digest

ROWS = tuple(Row(prompt=f"What is {number}?", completion="A number.", contributor="ada") for number in range(20))
DATANET = DatanetReference(id="numbers", version="1", rows_root=Digest("0x" + "ab" * 32), weight_ppm=1_000_000)
STARTED_NS = 1_700_000_000_000_000_000

Train = Callable[..., Adapter]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def train(home: Home) -> Train:
    """Train on the fake base by a given trainer; whatever the service takes can be changed."""

    def run(trainer: Trainer, **changes: Any) -> Adapter:
        given: dict[str, Any] = {
            "base": FAKE_BASE,
            "job": TrainingJob(name="numbers"),
            "report": lambda _: None,
            "datanet": DATANET,
            "rows": ROWS,
            "held_out": ROWS[:1],
            "started_ns": STARTED_NS,
        }
        return train_adapter(home, trainer=trainer, **{**given, **changes})

    return run
