"""Adapters made in one call, by a fake trainer and without a run of the factory."""

import shutil
from collections.abc import Callable
from pathlib import Path

from openledger_node.attribution.index import build_index
from openledger_node.datanets.near import distinct_rows
from openledger_node.datanets.version import VersionLabel
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.shelve import Trained, add_to_library, write_manifest
from openledger_node.factory.trainer import Report, Trainer, TrainingInput
from openledger_node.factory.trainers.fake import FakeTrainer
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Address, Digest


def train_adapter(
    home: Home,
    name: str,
    *,
    datanet: VersionLabel,
    rows: tuple[Row, ...],
    owner: Address | None = None,
    trainer: Trainer | None = None,
    report: Report = lambda _: None,
    started_ns: int = 0,
    build_index: Callable[[Path, tuple[Row, ...]], Digest] | None = None,
) -> Adapter:
    """Train an adapter of the fake base on `rows`, hold out the first of them, and add it to the library."""
    job, held_out = TrainingJob(name=name), rows[:1]
    folder = home.training / "test"
    folder.mkdir(mode=0o700, parents=True)
    try:
        given = TrainingInput(job=job, rows=rows, held_out=held_out, base=FAKE_BASE, folder=folder)
        result = (trainer or FakeTrainer()).train(given, report)
        trained = Trained(
            job=job,
            base=FAKE_BASE,
            result=result,
            datanet=datanet,
            rows=rows,
            held_out=held_out,
            started_ns=started_ns,
            owner=owner,
            build_index=build_index,
        )
        write_manifest(folder, trained)
        return add_to_library(home, folder, trained)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def train_indexed_adapter(
    home: Home,
    datanet: VersionLabel,
    rows: tuple[Row, ...],
    owner: Address | None = None,
) -> Adapter:
    """Train an adapter with the index of its rows, named `lake`."""

    def index(folder: Path, learned: tuple[Row, ...]) -> Digest:
        return build_index(folder, [(datanet, distinct_rows(learned))], ByteTokenizer(), None)

    return train_adapter(home, "lake", datanet=datanet, rows=rows, owner=owner, build_index=index)
