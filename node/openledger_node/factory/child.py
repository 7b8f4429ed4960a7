"""A trainer in a child process, so that the gigabytes of torch never enter the daemon and are freed at the end."""

import contextlib
import os
import subprocess
import sys
import tempfile
from typing import IO

from ..errors import ModelError
from .messages import FailureMessage, Paused, StartMessage, decode_worker_message, encode_start
from .trainer import (
    EvaluationInput,
    EvaluationProgress,
    EvaluationResult,
    PausedError,
    Report,
    ReportEvaluation,
    TrainingInput,
    TrainingProgress,
    TrainingResult,
    Wish,
)

WORKER = "openledger_node.factory.worker"
LOG_TAIL_BYTES = 4096

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "GOMP_SPINCOUNT": "1000"}
"""A waiting thread spins for microseconds, then sleeps. With libgomp's default of milliseconds, a run on busy cores
took 10 times as long; without spinning, a run on idle cores takes 1.4 times as long."""


class DiedError(ModelError):
    """The training process ended without a message; its checkpoint is not lost."""


class ChildTrainer:
    """A trainer that runs the plug called `name` in a child process; Ctrl-C here ends the child as well."""

    def __init__(self, name: str, *, yields: bool = False) -> None:
        """`yields` lets other processes go first, which a node needs for the answers it sells."""
        self._name = name
        self._yields = yields

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        """Train as the plug does.

        Raises:
            PausedError: the owner asked for a pause.
            DiedError: the process died; the message has the last line of its log.
            ModelError: the plug failed.
        """
        result = self._ask(given, report)
        assert isinstance(result, TrainingResult)
        return result

    def evaluate(self, given: EvaluationInput, report: ReportEvaluation) -> EvaluationResult:
        """Evaluate as the plug does.

        Raises:
            DiedError: the process died.
            ModelError: the plug failed.
        """
        result = self._ask(given, lambda _: None, report)
        assert isinstance(result, EvaluationResult)
        return result

    def _ask(
        self, given: TrainingInput | EvaluationInput, report: Report, tell: ReportEvaluation = lambda _: None
    ) -> TrainingResult | EvaluationResult:
        order = StartMessage(trainer=self._name, given=given, yields=self._yields)
        with tempfile.TemporaryFile() as log, start_worker(WORKER, log) as worker:
            try:
                return _follow(worker, order, report, tell, log)
            finally:
                worker.kill()  # does nothing if it has ended
                hang_up(worker)


def start_worker(module: str, log: IO[bytes], *, stdout: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a module in its own session, so that the terminal's Ctrl-C reaches only this process."""
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=log,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        env={**os.environ, **ENVIRONMENT},
    )


def _follow(
    worker: subprocess.Popen[str], order: StartMessage, report: Report, tell: ReportEvaluation, log: IO[bytes]
) -> TrainingResult | EvaluationResult:
    assert worker.stdout is not None
    say(worker, encode_start(order))  # its stdin stays open; when it closes, the worker knows that we are gone
    said: Wish | None = None
    for line in worker.stdout:
        match decode_worker_message(line):
            case TrainingProgress() as progress:
                wish = report(progress)
                if wish and wish != said:
                    said = wish
                    say(worker, f"{wish}\n")
            case EvaluationProgress() as progress:
                tell(progress)
            case Paused():
                raise PausedError
            case FailureMessage(message=message):
                raise ModelError(f"training failed: {message}")
            case result:
                return result
    if (status := worker.wait()) < 0:
        raise DiedError(f"training was killed by signal {-status}: if memory ran out, try a smaller batch")
    raise DiedError(f"the training process ended with status {status}: {last_words(log)}")


def say(worker: subprocess.Popen[str], line: str) -> None:
    """Write a line to a worker's stdin, which stays open."""
    assert worker.stdin is not None
    try:
        worker.stdin.write(line)
        worker.stdin.flush()
    except BrokenPipeError:
        pass  # the worker died; its log says why


def hang_up(worker: subprocess.Popen[str]) -> None:
    """Close the worker's stdin; unread lines are lost, which is harmless."""
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.close()


def last_words(log: IO[bytes]) -> str:
    """The last line of a worker's log."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
    return (log.read().decode(errors="replace").strip().splitlines() or ["its log is empty"])[-1]
