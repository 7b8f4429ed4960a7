"""Trainings on pulled and on private rows: where they come from, and what never leaves with the adapter."""

from pathlib import Path

import pytest
from support.contributors import ACCOUNTS, ADA

from openledger_node.config import Config
from openledger_node.datanets.held import PulledVersion, keep_pulled, rows_file, write_canonical
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.sharing import Sharing, is_private, write_sharing
from openledger_node.datanets.store import OwnDatanets
from openledger_node.datanets.version import DatanetVersion, VersionLabel, make_version, write_published
from openledger_node.errors import ConfigError, NodeError
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.order import gather, index_builder_of, order_from
from openledger_node.factory.runner import Runner, TrainingParts
from openledger_node.factory.runs import Runs
from openledger_node.factory.trainers.fake import FakeTrainer
from openledger_node.factory.training_run import TrainingRun, run_from_json
from openledger_node.home import Home
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import list_adapters
from openledger_protocol.adapter import public_probes
from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import DatanetId

from .conftest import DATANET, ROWS

LAKE = DatanetId("0x" + "ab" * 32)


def hold(home: Home, *, is_private: bool = False, number: int = 1) -> DatanetVersion:
    rows = ROWS[:-1] if number == 1 else ROWS
    version = make_version("lake", str(number), rows, {**ACCOUNTS, "ada": ADA})
    write_published(home, LAKE, version)
    write_canonical(rows_file(home, LAKE, version.rows_root), rows)
    pulled = PulledVersion(
        id=LAKE,
        name="lake",
        version=number,
        rows_root=version.rows_root,
        num_rows=len(rows),
        licence="MIT",
        is_private=is_private,
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


def test_a_private_version_gets_no_index_and_no_signals(home: Home) -> None:
    hold(home, is_private=True)
    order = {"name": "mine", "base": "fake", "datanet": LAKE}
    found = gather(home, Config(), order_from(order), keep=False)
    assert index_builder_of(home, FAKE_BASE, found.datanet, None, yields=False, is_over=lambda: False) is None
    with pytest.raises(ConfigError, match=r"fake has no files|is a private Datanet"):
        gather(home, Config(), order_from({**order, "signals": True}), keep=False)


def test_a_public_version_gets_its_index(home: Home, tmp_path: Path) -> None:
    hold(home)
    found = gather(home, Config(), order_from({"name": "mine", "base": "fake", "datanet": LAKE}), keep=False)
    build = index_builder_of(home, FAKE_BASE, found.datanet, None, yields=False, is_over=lambda: False)
    assert build is not None
    assert build(tmp_path / "index", found.rows).startswith("0x")


def test_a_damaged_record_of_another_datanet_stops_no_training_and_its_own_opens_nothing(home: Home) -> None:
    roots = {}
    for name, rows, sharing in (("lake", ROWS, Sharing()), ("sea", ROWS[:-1], Sharing(is_private=True))):
        own = OwnDatanets(home)
        own.create(new_datanet(name, licence="MIT", treasury=ADA, owner_ppm=0))
        version = make_version(name, "1", rows, {**ACCOUNTS, "ada": ADA})
        own.keep_version(version, 0)
        write_sharing(home, name, sharing)
        roots[name] = version.rows_root
    (home.datanets / "sea" / "own" / "datanet.json").write_text("{")
    assert {name: is_private(home, root) for name, root in roots.items()} == {"lake": False, "sea": True}


def begun(home: Home, label: VersionLabel) -> TrainingRun:
    run = TrainingRun(
        number=1,
        state="waiting",
        job=TrainingJob(name="mine"),
        trainer="fake",
        base="fake",
        datanet=label,
        num_rows=len(ROWS),
        num_held_out=2,
        num_dropped=0,
        evaluated_rows=2,
        started_ns=0,
        changed_ns=0,
    )
    Runs(home).begin(run, ROWS, ROWS[:2])
    return run


def test_a_training_remembers_whose_datanet_it_learns_from(home: Home) -> None:
    run = begun(home, VersionLabel(id="lake", version="1", rows_root=DATANET.rows_root, on_chain=LAKE))
    assert Runs(home).find(1) == run
    parts = TrainingParts(base=FAKE_BASE, trainer=FakeTrainer(), owner=ADA)
    Runner(home, 1, parts).carry_out()
    ((datanet,),) = [adapter.manifest.datanets or () for adapter in list_adapters(home)]
    assert (datanet.id, datanet.rows_root) == (LAKE, DATANET.rows_root), "and not one of the trainer's own"
    plain = to_plain(run)
    assert isinstance(plain, dict)
    del plain["datanet"]["on_chain"]  # type: ignore[attr-defined]  # a dict
    assert run_from_json(plain).datanet.on_chain is None, "a record of an earlier version"


@pytest.mark.parametrize("tells_rows", [True, False])
def test_no_prompt_of_a_private_row_is_in_the_manifest(home: Home, tells_rows: bool) -> None:
    begun(home, DATANET)
    parts = TrainingParts(base=FAKE_BASE, trainer=FakeTrainer(), tells_rows=tells_rows)
    Runner(home, 1, parts).carry_out()
    [adapter] = list_adapters(home)
    assert bool(public_probes(adapter.manifest)) is tells_rows
    told = "".join(file.read_text(errors="replace") for file in adapter.folder.rglob("*") if file.is_file())
    assert (ROWS[0].prompt in told) is tells_rows, "neither in its card nor anywhere else"
