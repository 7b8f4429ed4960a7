from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openledger_node import __version__
from openledger_node.errors import NodeError
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.trainers.fake import FakeTrainer
from openledger_node.home import Home
from openledger_node.models.adapters import artifact_digest
from openledger_node.models.library import list_adapters
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row, datanet_id
from openledger_protocol.primitives import ZERO_ADDRESS, Digest

from .conftest import DATANET, ROWS, Train


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
    (datanet,) = manifest.datanets or ()
    assert (datanet.id, datanet.version) == (datanet_id(ZERO_ADDRESS, "numbers"), "1")
    assert (datanet.rows_root, datanet.weight_ppm) == (DATANET.rows_root, 1_000_000)
    assert manifest.owner is None, "there is no wallet"
    assert manifest.artifact_digest == artifact_digest(adapter.folder)
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


def test_what_was_learned_is_indexed_and_the_manifest_names_the_index(train: Train) -> None:
    indexed: list[Row] = []

    def build_index(folder: Path, rows: tuple[Row, ...]) -> Digest:
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")
        indexed.extend(rows)
        return Digest("0x" + "1d" * 32)

    adapter = train(FakeTrainer(), build_index=build_index)
    assert adapter.manifest.index_root == "0x" + "1d" * 32
    assert (adapter.folder / "attribution" / "manifest.json").is_file()
    assert len(indexed) == adapter.manifest.training["rows"] == len(ROWS)
    assert train(FakeTrainer()).manifest.index_root is None
