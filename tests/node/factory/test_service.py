from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openledger_node import __version__
from openledger_node.errors import ConfigError, ModelError, NodeError
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.service import open_workspace
from openledger_node.factory.trainers.fake import FakeTrainer
from openledger_node.home import Home
from openledger_node.inference.adapters import artifact_digest, list_adapters
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import Digest

from .conftest import DATANET, ROWS, Train


class BrokenTrainer(FakeTrainer):
    def train(self, *args: Any) -> Any:
        (args[0].folder / "half").touch()
        raise ModelError("out of memory")


class EmptyTrainer(FakeTrainer):
    def train(self, *args: Any) -> Any:
        result = super().train(*args)
        (args[0].folder / "adapter_config.json").unlink()
        return result


class EndlessLossTrainer(FakeTrainer):
    def train(self, *args: Any) -> Any:
        return replace(super().train(*args), loss_after=float("nan"))


def test_what_was_trained_is_kept_when_it_cannot_be_put_on_the_shelf(home: Home, train: Train) -> None:
    with pytest.raises(NodeError, match="openledger-node adapters add") as failure:
        train(EndlessLossTrainer())
    kept = Path(str(failure.value).partition("adapters add ")[2].partition("`")[0])
    assert (kept / "adapter_model.safetensors").is_file()
    assert list_adapters(home) == []
    train(FakeTrainer())
    assert kept.is_dir(), "the next training leaves it alone"


def test_a_trained_adapter_is_on_the_shelf_and_says_how_it_came_about(home: Home, train: Train) -> None:
    adapter = train(FakeTrainer())
    assert list_adapters(home) == [adapter]
    manifest = adapter.manifest
    assert manifest.name == "numbers"
    assert manifest.base.name == "fake"
    assert manifest.datanets == (DATANET,)
    assert manifest.artifact_digest == artifact_digest(adapter.folder)
    assert manifest.training is not None
    assert manifest.training["started"] == "2023-11-14T22:13:20Z"
    assert manifest.training["code_version"] == __version__
    assert (manifest.training["seed"], manifest.training["steps"], manifest.training["rows"]) == (1, 18, 20)
    assert TrainingJob(**manifest.training["config"]) == TrainingJob(name="numbers")
    assert manifest.evaluation == {
        "loss_before": 4.0,
        "loss_after": 0.5,
        "rows": 1,
        "rows_digest": canonical_digest(ROWS[:1]),
    }


def test_without_held_out_rows_some_of_the_rows_are_held_out(train: Train) -> None:
    adapter = train(FakeTrainer(), held_out=None)
    assert adapter.manifest.training is not None
    assert adapter.manifest.evaluation is not None
    assert adapter.manifest.training["rows"] + adapter.manifest.evaluation["rows"] == len(ROWS)


def test_what_was_learned_is_indexed_and_the_manifest_names_the_index(train: Train) -> None:
    indexed: list[Row] = []

    def build_index(folder: Path, rows: tuple[Row, ...]) -> Digest:
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")
        indexed.extend(rows)
        return Digest("0x" + "1d" * 32)

    adapter = train(FakeTrainer(), held_out=None, build_index=build_index)
    assert adapter.manifest.index_root == "0x" + "1d" * 32
    assert (adapter.folder / "attribution" / "manifest.json").is_file()
    assert adapter.manifest.training is not None
    assert len(indexed) == adapter.manifest.training["rows"] < len(ROWS)
    assert train(FakeTrainer()).manifest.index_root is None


@pytest.mark.parametrize(("trainer", "error"), [(BrokenTrainer, ModelError), (EmptyTrainer, AdapterRefusedError)])
def test_a_training_that_fails_leaves_nothing_behind(
    home: Home, train: Train, trainer: type[FakeTrainer], error: type[Exception]
) -> None:
    with pytest.raises(error):
        train(trainer())
    assert list_adapters(home) == []
    assert files_below(home.root) == ["training/lock"]


def test_what_a_killed_training_left_is_removed_by_the_next(home: Home) -> None:
    leftover = home.root / "training" / "run" / "adapter_model.safetensors"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    with open_workspace(home) as folder:
        assert list(folder.iterdir()) == []


def test_two_trainings_at_once_are_refused(home: Home, train: Train) -> None:
    with open_workspace(home) as folder:
        with pytest.raises(ConfigError, match="another training"):
            train(FakeTrainer())
        assert folder.exists()
    train(FakeTrainer())


def test_a_job_out_of_bounds_trains_nothing(home: Home, train: Train) -> None:
    with pytest.raises(ConfigError, match="rank"):
        train(FakeTrainer(), job=replace(TrainingJob(name="numbers"), rank=0))
    assert not home.root.exists()


def files_below(root: Path) -> list[str]:
    return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())
