"""What is PEFT's own; the rest is in the conformance suite."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import make_base

from openledger_node.errors import ModelError
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.trainer import TrainingInput
from openledger_node.factory.trainers.peft_lora import choose_placement, open_trainer
from openledger_node.inference.bases import FAKE_BASE, Base, describe_folder
from openledger_node.inference.peft_format import MODULES, read_layout

from .conftest import ROWS

JOB = TrainingJob(name="numbers", rank=2, layers=1, epochs=1, batch_size=8, device="cpu")


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return describe_folder(make_base(tmp_path / "tiny", num_hidden_layers=3))


def train(base: Base, folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    given = TrainingInput(job=replace(JOB, **changes), rows=ROWS, held_out=ROWS[:2], base=base, folder=folder)
    open_trainer().train(given, lambda _: None)
    return folder


@pytest.mark.parametrize(("layers", "adapted"), [(1, [2]), (2, [1, 2]), (0, [0, 1, 2]), (9, [0, 1, 2])])
def test_layers_are_counted_from_the_top(base: Base, tmp_path: Path, layers: int, adapted: list[int]) -> None:
    folder = train(base, tmp_path / "out", layers=layers)
    assert sorted({site.layer for site in read_layout(folder).sites}) == adapted
    assert json.loads((folder / "adapter_config.json").read_text())["layers_to_transform"] == adapted


def test_the_config_is_the_same_on_every_machine(base: Base, tmp_path: Path) -> None:
    config = json.loads((train(base, tmp_path / "out") / "adapter_config.json").read_text())
    assert config["target_modules"] == list(MODULES)
    assert config["base_model_name_or_path"] == "tiny"


def test_a_loss_that_is_no_number_stops_the_run(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lower the learning rate"):
        train(base, tmp_path / "out", learning_rate=1e30, epochs=3)


def test_a_base_that_cannot_be_loaded_is_named(base: Base, tmp_path: Path) -> None:
    assert base.folder is not None
    (base.folder / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(ModelError, match="cannot load base tiny"):
        train(base, tmp_path / "out")
    with pytest.raises(ModelError, match="base 'fake' has no weights"):
        train(FAKE_BASE, tmp_path / "out2")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is refused")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="finds none"):
        choose_placement("cuda")
