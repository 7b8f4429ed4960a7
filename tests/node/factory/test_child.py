"""The training process, with the fake trainer in it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openledger_node.errors import ModelError
from openledger_node.factory.child import ChildTrainer
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.messages import StartMessage, encode_start
from openledger_node.factory.trainer import TrainingInput, TrainingProgress
from openledger_node.factory.trainers.fake import FakeTrainer
from openledger_node.factory.worker import YIELDING
from openledger_node.models.bases import FAKE_BASE

from .conftest import ROWS, Train

pytestmark = pytest.mark.process

Plug = Callable[[str], ChildTrainer]
WORKER = [sys.executable, "-m", "openledger_node.factory.worker"]
SITE = """
import os, sys, time

class Trainer:
    def train(self, given, report):
        print("chatter of a library")
        {body}
"""


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plug:
    """Install a trainer of another package's, called `odd`, for child processes to find."""
    site, metadata = tmp_path / "site", tmp_path / "site" / "odd-1.dist-info"
    monkeypatch.setenv("PYTHONPATH", str(site))

    def install(body: str) -> ChildTrainer:
        metadata.mkdir(parents=True)
        (site / "odd.py").write_text(SITE.format(body=body))
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text("[openledger_node.trainer]\nodd = odd:Trainer\n")
        return ChildTrainer("odd")

    return install


def test_a_trainer_in_its_own_process_does_what_it_does_in_ours(train: Train) -> None:
    ours: list[TrainingProgress] = []
    theirs: list[TrainingProgress] = []
    adapter = train(FakeTrainer(), report=ours.append)
    assert train(ChildTrainer("fake"), report=theirs.append) == adapter
    assert theirs == ours


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("from openledger_node.errors import ModelError; raise ModelError('no such device')", "no such device"),
        ("raise RuntimeError('a bug')", "ended with status 1: RuntimeError: a bug"),
        ("os.kill(os.getpid(), 9)", "killed by signal 9: if memory ran out"),
    ],
)
def test_a_trainer_that_fails_is_quoted(train: Train, plug: Plug, body: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        train(plug(body))


def test_the_trainer_of_a_node_yields_to_its_answers(train: Train, plug: Plug) -> None:
    plug("raise __import__('openledger_node.errors').errors.ModelError(f'niceness {os.nice(0)}')")
    expected = min(19, os.nice(0) + YIELDING)
    with pytest.raises(ModelError, match=f"niceness {expected}$"):
        train(ChildTrainer("odd", yields=True))


def test_an_interrupt_ends_the_training_process(train: Train) -> None:
    def interrupt(_: TrainingProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(ChildTrainer("fake"), report=interrupt)
    ours = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True, check=False
    )
    assert "factory.worker" not in ours.stdout
    assert "defunct" not in ours.stdout, "it was waited for"


def test_the_training_process_ends_with_its_parent(tmp_path: Path, plug: Plug) -> None:
    plug("time.sleep(600)")
    job = TrainingJob(name="n")
    given = TrainingInput(job=job, rows=ROWS, held_out=ROWS, base=FAKE_BASE, folder=tmp_path)
    order = StartMessage(trainer="odd", given=given)
    # Its whole input, then the end of it.
    run = subprocess.run(WORKER, input=encode_start(order), capture_output=True, text=True, timeout=20, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert "Traceback" not in run.stderr
