"""Trainings on pulled rows: where they come from, and whose Datanet the adapter names."""

from pathlib import Path

import pytest
from support.contributors import ACCOUNTS, ADA

from openledger_node.config import Config
from openledger_node.datanets.held import PulledVersion, keep_pulled, rows_file, write_canonical
from openledger_node.datanets.version import DatanetVersion, VersionLabel, make_version, write_published
from openledger_node.errors import NodeError
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.order import gather, index_builder, order_from
from openledger_node.factory.runner import Runner, TrainingParts
from openledger_node.factory.runs import Runs
from openledger_node.factory.trainers.fake import FakeTrainer
from openledger_node.home import Home
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import list_adapters
from openledger_protocol.primitives import DatanetId

from .conftest import DATANET, ROWS, waiting_run

LAKE = DatanetId("0x" + "ab" * 32)


def hold(home: Home, *, number: int = 1) -> DatanetVersion:
    rows = ROWS[:-1] if number == 1 else ROWS
    version = make_version("lake", str(number), rows, {**ACCOUNTS, "ada": ADA})
    write_published(home, LAKE, version)
    write_canonical(rows_file(home, LAKE, version.rows_root), rows)
    pulled = PulledVersion(
        id=LAKE, name="lake", version=number, rows_root=version.rows_root, num_rows=len(rows), licence="MIT"
    )
    keep_pulled(home, pulled)
    return version


def test_a_pulled_version_is_trained_on_by_its_id(home: Home) -> None:
    old, new = hold(home), hold(home, number=2)
    order = {"name": "mine", "base": "fake", "datanet": LAKE}
    newest = gather(home, Config(), order_from(order), keep=False)
    assert (newest.datanet.on_chain, newest.datanet.rows_root) == (LAKE, new.rows_root)
    assert {*newest.rows, *newest.held_out} == set(ROWS)
    first = gather(home, Config(), order_from({**order, "datanet": f"{LAKE}@1"}), keep=False)
    assert first.datanet.rows_root == old.rows_root
    with pytest.raises(NodeError, match=f"{LAKE}@3 is not here: `openledger-node datanet pull {LAKE}@3`"):
        gather(home, Config(), order_from({**order, "datanet": f"{LAKE}@3"}), keep=False)


def test_a_pulled_version_gets_its_index(home: Home, tmp_path: Path) -> None:
    hold(home)
    found = gather(home, Config(), order_from({"name": "mine", "base": "fake", "datanet": LAKE}), keep=False)
    build = index_builder(FAKE_BASE, found.datanet)
    assert build(tmp_path / "index", found.rows).startswith("0x")


def test_a_training_remembers_whose_datanet_it_learns_from(home: Home) -> None:
    label = VersionLabel(id="lake", version="1", rows_root=DATANET.rows_root, on_chain=LAKE)
    run = waiting_run(job=TrainingJob(name="mine"), datanet=label)
    Runs(home).begin(run, ROWS, ROWS[:2])
    assert Runs(home).find(1) == run
    parts = TrainingParts(base=FAKE_BASE, trainer=FakeTrainer(), owner=ADA)
    Runner(home, 1, parts).carry_out()
    ((datanet,),) = [adapter.manifest.datanets or () for adapter in list_adapters(home)]
    assert (datanet.id, datanet.rows_root) == (LAKE, DATANET.rows_root), "and not one of the trainer's own"
