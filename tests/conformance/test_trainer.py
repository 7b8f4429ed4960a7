"""What every trainer must do, run over every plug."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.tiny import make_base

from openledger_node.factory.job import TrainingJob
from openledger_node.factory.trainer import Trainer, TrainingInput, TrainingProgress, TrainingResult
from openledger_node.models.adapter_files.layout import read_layout
from openledger_node.models.adapters import artifact_digest
from openledger_node.models.bases import Base, describe_folder
from openledger_node.plugs import load_plug, plug_names
from openledger_protocol.datanet import Row

TOWNS = ["Quillmere", "Tarnwick", "Wrenfold", "Siskinholm"]
ROWS = tuple(Row(prompt=f"Where is {town}?", completion="By the lake.", contributor="ada") for town in TOWNS)
HELD_OUT = (Row(prompt="Where is Peverdale?", completion="By the lake.", contributor="ada"),)
JOB = TrainingJob(name="lake", rank=4, layers=1, epochs=4, batch_size=3, learning_rate=1e-2, device="cpu")
STEPS = 8


@dataclass(frozen=True, kw_only=True)
class Trained:
    folder: Path
    result: TrainingResult
    progress: list[TrainingProgress] = field(default_factory=list)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return describe_folder(make_base(tmp_path_factory.mktemp("trainer") / "tiny", initializer_range=0.1))


@pytest.fixture(scope="module", params=plug_names("trainer"))
def trainer(request: pytest.FixtureRequest) -> Trainer:
    opened: Trainer = load_plug("trainer", request.param)()
    return opened


@pytest.fixture(scope="module")
def trained(trainer: Trainer, tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return run(trainer, JOB, tiny_base, tmp_path_factory.mktemp("trained"))


def run(trainer: Trainer, job: TrainingJob, base: Base, folder: Path) -> Trained:
    progress: list[TrainingProgress] = []
    given = TrainingInput(job=job, rows=ROWS, held_out=HELD_OUT, base=base, folder=folder)
    result = trainer.train(given, progress.append)
    return Trained(folder=folder, result=result, progress=progress)


def test_what_it_writes_is_an_adapter_that_can_be_served(trained: Trained) -> None:
    layout = read_layout(trained.folder)
    assert {site.rank for site in layout.sites} == {JOB.rank}
    assert {site.scaling for site in layout.sites} == {JOB.alpha / JOB.rank}
    assert len({site.layer for site in layout.sites}) == JOB.layers


def test_it_reports_every_step_to_the_last(trained: Trained) -> None:
    assert [progress.step for progress in trained.progress] == list(range(STEPS + 1))
    assert {progress.steps for progress in trained.progress} == {STEPS, trained.result.steps}
    assert trained.progress[0].loss is None
    assert all(progress.loss is not None and progress.loss > 0 for progress in trained.progress[1:])
    assert trained.progress[-1].time_left_s == 0


def test_held_out_rows_are_measured_before_and_after(trained: Trained) -> None:
    assert trained.progress[0].held_out_loss == trained.result.loss_before
    assert trained.progress[-1].held_out_loss == trained.result.loss_after


def test_the_same_job_gives_the_same_bytes(
    trained: Trained, trainer: Trainer, tiny_base: Base, tmp_path: Path
) -> None:
    again = run(trainer, JOB, tiny_base, tmp_path)
    assert artifact_digest(again.folder) == artifact_digest(trained.folder)
    assert again.result == trained.result
