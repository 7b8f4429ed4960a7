"""Trainers that are killed by the system at drawn moments, in real processes: the same adapter, to the byte."""

import subprocess
import threading
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.tiny import make_base

from openledger_node.factory import child
from openledger_node.factory.child import ChildTrainer
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.runner import Runner, TrainingParts
from openledger_node.factory.runs import Runs
from openledger_node.factory.trainer import TrainingProgress
from openledger_node.factory.training_run import TrainingRun
from openledger_node.home import Home
from openledger_node.models.bases import Base, describe_folder
from openledger_node.models.library import list_adapters

from .conftest import ROWS, STARTED_NS, waiting_run

pytestmark = [
    pytest.mark.process,
    pytest.mark.deep(
        reason="test_peft_lora.py kills a training at every step, test_runner.py at every point after the last one, "
        "and tests/network/test_training_kills.py a node that trains"
    ),
]


MOMENTS, EPOCHS = 10, 20
STEPS = 3 * EPOCHS  # with a checkpoint after every tenth of them
DELAY_S_MAX = 0.2
"""A step of the tiny base takes about 0.05 s, so a kill may meet a checkpoint, a measurement or the answers."""


@dataclass
class Killer:
    """Kills the process of a training at drawn steps, each a drawn time after the report of the step.

    A process is killed once: a step that it reaches before it dies is left to the next one.
    """

    random: Random
    steps: list[int]
    started: list["subprocess.Popen[str]"] = field(default_factory=list)
    doomed: list["subprocess.Popen[str]"] = field(default_factory=list)

    def note(self, worker: "subprocess.Popen[str]") -> "subprocess.Popen[str]":
        self.started.append(worker)
        return worker

    def look(self, progress: TrainingProgress) -> None:
        if self.steps and progress.step >= self.steps[0] and self.started[-1] not in self.doomed:
            self.steps.pop(0)
            self.doomed.append(self.started[-1])
            threading.Timer(self.random.uniform(0, DELAY_S_MAX), self.started[-1].kill).start()


def draw_moments(random: Random) -> list[int]:
    """A step from each of as many equal parts of the training; the last one may be its end, before the evaluation."""
    edges = [number * (STEPS + 1) // MOMENTS for number in range(MOMENTS + 1)]
    return [random.randrange(first, after) for first, after in pairwise(edges)]


def carry_out(home: Home, base: Base, **parts: Any) -> TrainingRun:
    job = TrainingJob(name="numbers", rank=2, layers=1, epochs=EPOCHS, dropout=0.1, device="cpu")
    run = waiting_run(job=job, trainer="peft_lora", base=base.name)
    Runs(home).begin(run, ROWS, ROWS[:2])
    given = TrainingParts(base=base, trainer=ChildTrainer("peft_lora"), now_ns=lambda: STARTED_NS, **parts)
    return Runner(home, 1, given).carry_out()


def test_a_trainer_that_is_killed_at_drawn_moments_leaves_the_adapter_of_one_that_never_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = describe_folder(make_base(tmp_path / "tiny", num_hidden_layers=2))
    whole = carry_out(Home(tmp_path / "whole"), base)
    assert (whole.state, whole.restarts) == ("done", ())
    random = Random(19)
    killer = Killer(random, draw_moments(random))
    start = child.start_worker
    monkeypatch.setattr(child, "start_worker", lambda *given, **how: killer.note(start(*given, **how)))
    cut = carry_out(Home(tmp_path / "cut"), base, report=killer.look)
    assert killer.steps == []
    assert (len(killer.doomed), len(cut.restarts)) == (MOMENTS, MOMENTS)
    assert (cut.state, cut.adapter_id) == ("done", whole.adapter_id)
    [adapter] = list_adapters(Home(tmp_path / "cut"))
    [expected] = list_adapters(Home(tmp_path / "whole"))
    files = sorted(file.relative_to(expected.folder) for file in expected.folder.rglob("*") if file.is_file())
    for file in files:
        assert (adapter.folder / file).read_bytes() == (expected.folder / file).read_bytes(), file
