"""Carries out one training from its current state until it ends or pauses."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from openledger_protocol.errors import ProtocolError, UnknownModelError
from openledger_protocol.primitives import Address

from ..errors import ConfigError, ModelError, NodeError
from ..home import Home
from ..models.adapters import find_adapter
from ..models.bases import Base
from ..models.library import list_adapters
from ..text import rfc3339
from .child import DiedError
from .evaluation import ANSWER_TOKENS_MAX, GENERAL_ROWS, Evaluated, evaluated_from
from .job import RunEvent
from .runs import ADAPTER_FOLDER, CHECKPOINT_FILE, HELD_OUT_FILE, Runs
from .shelve import BuildIndex, Trained, add_to_library, write_manifest
from .signal_pass import PassEndedError
from .trainer import (
    EvaluationInput,
    EvaluationProgress,
    PausedError,
    Trainer,
    TrainingInput,
    TrainingProgress,
    TrainingResult,
    Wish,
)
from .training_run import Restart, Stage, StageName, TrainingRun, moved, progressed

WRITE_EVERY_S: Final = 0.5
"""Interval at which progress is written for other processes to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingParts:
    """Base, trainer and callbacks of a training."""

    base: Base
    trainer: Trainer
    owner: Address | None = None  # of the adapter
    build_index: BuildIndex | None = None
    report: Callable[[TrainingProgress], None] = lambda _: None
    report_stage: Callable[[Stage], None] = lambda _: None
    now_ns: Callable[[], int] = time.time_ns


class _StoppedError(Exception):
    """The owner discarded the training."""


class Runner:
    """Works on one training, and blocks the calling thread until it ends or pauses."""

    def __init__(self, home: Home, number: int, parts: TrainingParts) -> None:
        self._home = home
        self._runs = Runs(home)
        self._parts = parts
        self._run = self._runs.find(number)
        self._written_s = 0.0
        self._began_at: list[int] = []  # the first step of each process that trained it
        self._has_begun = False  # this process has reported
        self._why_cut: str | None = None
        self._yields = False
        self._answering_since_s = 0.0

    def carry_out(self) -> TrainingRun:
        """Do the remaining steps: train, evaluate, add to the library. A failure is stored with the training.

        Raises:
            LockedError: another training or a trial is running.
        """
        with self._runs.hold(self._run.number):
            self._run = self._runs.find(self._run.number)
            try:
                self._do_what_is_left()
            except PausedError:
                self._leave()
            except _StoppedError:
                self._end("stop")
            except (NodeError, ProtocolError, OSError) as error:
                self._end("fail", error=str(error))
        return self._run

    def _do_what_is_left(self) -> None:
        if self._run.adapter:
            self._evaluate_again()
            return
        if self._run.is_live and self._run.state != "waiting":
            self._why_cut = "the process that trained it had ended"
        self._move("resume" if self._run.state == "paused" else "begin")
        result = self._runs.learned(self._run.number)
        if result is None:
            result = self._learn()
            self._runs.keep_learned(self._run.number, result)
        if self._run.state == "training":
            self._move("learned")
        self._shelve(result)

    # ---- Training

    def _learn(self) -> TrainingResult:
        """Train. If the process of the trainer dies, start another one from the last checkpoint."""
        runs, number = self._runs, self._run.number
        folder = runs.folder(number) / ADAPTER_FOLDER
        given = TrainingInput(
            job=self._run.job,
            rows=runs.rows(number),
            held_out=runs.rows(number, HELD_OUT_FILE),
            base=self._parts.base,
            folder=folder,
            checkpoint=runs.folder(number) / CHECKPOINT_FILE,
        )
        while True:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            self._has_begun = False
            try:
                return self._parts.trainer.train(given, self._hear)
            except DiedError as error:
                if not self._has_begun:  # while it loaded the base
                    self._began_at.append(self._began_at[-1] if self._began_at else 0)
                if not may_go_on(self._began_at):
                    raise
                self._why_cut = str(error)

    def _hear(self, progress: TrainingProgress) -> Wish | None:
        if not self._has_begun:
            self._note_start(progress.step)
        self._run = progressed(self._run, progress, now_ns=self._parts.now_ns())
        self._parts.report(progress)
        wish = self._runs.wished(self._run.number)
        if wish == "stop":
            raise _StoppedError
        self._write_sometimes()
        if wish == "yield":
            self._yields = True
            return "pause"
        return wish

    def _note_start(self, step: int) -> None:
        self._has_begun = True
        self._began_at.append(step)
        if self._why_cut:
            restart = Restart(at=rfc3339(self._parts.now_ns() // 10**9), step=step, why=self._why_cut)
            self._run = replace(self._run, restarts=(*self._run.restarts, restart))
            self._why_cut = None

    def _leave(self) -> None:
        """Leave after a checkpoint: the owner paused, or the node stops and its next start continues the training."""
        self._runs.forget_wish(self._run.number)
        if self._yields:
            self._write()
        else:
            self._move("pause")

    # ---- After training

    def _shelve(self, result: TrainingResult) -> None:
        runs, number = self._runs, self._run.number
        folder = runs.folder(number) / ADAPTER_FOLDER
        found = runs.evaluated(number)
        if found is None and self._run.evaluated_rows:
            found = self._measure(folder)
            runs.keep_evaluated(number, found)
        trained = Trained(
            job=self._run.job,
            base=self._parts.base,
            result=result,
            datanet=self._run.datanet,
            rows=runs.rows(number),
            held_out=runs.rows(number, HELD_OUT_FILE),
            started_ns=self._run.started_ns,
            owner=self._parts.owner,
            build_index=self._parts.build_index,
            figures=None if found is None or found.is_failed else found.figures,
            probes=found.probes if found else (),
        )
        self._enter("indexing")
        try:
            write_manifest(folder, trained)
        except PassEndedError:  # its half index is deleted when the training ends, or before it is written again
            self._obey()
            self._yields = True  # the wish is gone again, so another process may continue
            raise PausedError from None
        self._enter("adding")
        adapter = add_to_library(self._home, folder, trained)
        evaluation = found.to_plain() if found else None
        self._end("evaluated", adapter=adapter.full_name, adapter_id=adapter.id, evaluation=evaluation)

    def _evaluate_again(self) -> None:
        """Measure an adapter of the library. Its manifest stays as it is, because its id depends on it."""
        if self._run.state == "done":
            self._move("evaluate")
        before = self._run.evaluation
        try:
            adapter = find_adapter(list_adapters(self._home), self._run.adapter or "")
            evaluation: dict[str, Any] | None = self._measure(adapter.folder).to_plain()
        except UnknownModelError as error:  # it was removed in the meantime
            evaluation = {"error": str(error)}
        except _StoppedError:  # the adapter stays, and so does what is known of it
            evaluation = before
            self._runs.forget_wish(self._run.number)
        self._move("evaluated", evaluation=evaluation, stage=None)

    def _measure(self, folder: Path) -> Evaluated:
        """Return the evaluation, or its error: a failed evaluation must not cost the adapter."""
        rows = self._runs.rows(self._run.number, HELD_OUT_FILE)[: self._run.evaluated_rows]
        given = EvaluationInput(
            job=self._run.job,
            rows=rows,
            general=GENERAL_ROWS,
            base=self._parts.base,
            folder=folder,
            answer_tokens_max=ANSWER_TOKENS_MAX,
        )
        self._enter("answering", total=2 * len(rows))
        for is_last in (False, True):
            try:
                return evaluated_from(rows, self._parts.trainer.evaluate(given, self._hear_answers))
            except DiedError as error:
                if is_last:
                    return Evaluated(figures={"error": str(error)})
            except ModelError as error:
                return Evaluated(figures={"error": str(error)})
        raise AssertionError("the second try returns")

    def _hear_answers(self, progress: EvaluationProgress) -> None:
        if progress.done == 0:
            self._answering_since_s = time.monotonic()
        elapsed_s = time.monotonic() - self._answering_since_s
        left = progress.total - progress.done
        stage = Stage(
            name="answering",
            done=progress.done,
            total=progress.total,
            time_left_s=elapsed_s / progress.done * left if progress.done else None,
        )
        self._note_stage(stage)
        self._write_sometimes()
        self._obey()

    def _obey(self) -> None:
        """Leave the work after the last step if the owner or the node wishes it."""
        match self._runs.wished(self._run.number):
            case "stop":
                raise _StoppedError
            case "yield":
                self._yields = True
                raise PausedError

    # ---- Storing progress

    def _enter(self, name: StageName, *, total: int = 1) -> None:
        if self._runs.wished(self._run.number) == "stop":
            raise _StoppedError
        self._note_stage(Stage(name=name, total=total))
        self._write()

    def _note_stage(self, stage: Stage) -> None:
        self._run = replace(self._run, stage=stage, changed_ns=self._parts.now_ns())
        self._parts.report_stage(stage)

    def _write_sometimes(self) -> None:
        if time.monotonic() - self._written_s >= WRITE_EVERY_S:
            self._write()

    def _move(self, event: RunEvent, **changes: Any) -> None:
        self._run = moved(self._run, event, now_ns=self._parts.now_ns(), **changes)
        self._write()

    def _end(self, event: RunEvent, **changes: Any) -> None:
        self._move(event, stage=None, **changes)
        self._runs.clear_work(self._run.number)

    def _write(self) -> None:
        self._written_s = time.monotonic()
        self._runs.write(self._run)


FRUITLESS_MAX: Final = 3
"""Processes that may begin at the same step. One may be killed by accident, several have the same reason to die."""


def may_go_on(began_at: list[int]) -> bool:
    """Return True to continue after a process died, unless the last ones all began at the same step."""
    last = began_at[-FRUITLESS_MAX:]
    return len(last) < FRUITLESS_MAX or last[-1] > last[0]


def check_free(runs: Runs, *, is_worked_on: bool) -> None:
    """Check that no training is open; `is_worked_on` is true if a process works on one.

    Raises:
        ConfigError: a training is open; the message names it.
    """
    resume = "" if is_worked_on else ", `openledger-node factory resume` continues it"
    for run in runs.all():
        if run.is_live or run.state == "paused":
            raise ConfigError(
                f"training {run.number} ({run.job.name}) is {run.state}: one runs at a time; "
                f"`openledger-node factory stop` ends it{resume}"
            )
