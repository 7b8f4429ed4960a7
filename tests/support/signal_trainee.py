"""A random base, an adapter of it, and its place in a library with the index of its rows and their signals."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_node.datanets.version import write_version
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.order import index_builder
from openledger_node.factory.shelve import Trained, add_to_library, write_manifest
from openledger_node.factory.trainer import TrainingResult
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import Base, describe_folder
from support.chain_world.seller import LAKE, VERSION
from support.contributors import ROWS
from support.tiny import make_adapter, make_base

CONTEXT_MAX = 192


@dataclass
class Trainee:
    """A random base and an adapter of it, with the index of its rows."""

    root: Path
    base: Base
    folder: Path


def make_trainee(root: Path) -> Trainee:
    base = describe_folder(make_base(root / "base"))
    return Trainee(root, base, make_adapter(root / "base", root / "adapter", seed=1))


def shelve(home: Home, trainee: Trainee, owner: Any, *, has_signals: bool) -> Adapter:
    """Add the adapter to a library, as the end of a training does."""
    job = TrainingJob(name="lake", device="cpu", tokens_max=CONTEXT_MAX)
    write_version(home, VERSION)
    trained = Trained(
        job=job,
        base=trainee.base,
        result=TrainingResult(steps=1, loss_before=2.0, loss_after=1.0),
        datanet=LAKE,
        rows=ROWS,
        held_out=ROWS[:1],
        started_ns=0,
        owner=owner,
        build_index=index_builder(trainee.base, LAKE, job if has_signals else None),
    )
    folder = home.training / "run"
    folder.mkdir(mode=0o700, parents=True)
    for file in trainee.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    write_manifest(folder, trained)
    return add_to_library(home, folder, trained)
