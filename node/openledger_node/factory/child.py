"""A trainer in a process of its own: torch's gigabytes come and go with it, and never enter the daemon."""

import os
import subprocess
import sys
import tempfile
from typing import IO

from ..errors import ModelError
from .lines import Failure, Order, decode_news, encode_order
from .trainer import Report, TrainingInput, TrainingProgress, TrainingResult

LOG_TAIL_BYTES = 4096

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "GOMP_SPINCOUNT": "1000"}
"""Threads that wait for another spin for microseconds, then sleep: with libgomp's default of milliseconds, a run on
cores that others use took ten times as long, and asleep at once, a run on idle ones takes 1.4 times as long."""


class ChildTrainer:
    """Fits the trainer socket and lets the plug called `name` do the work; Ctrl-C here ends it there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        """Train as the plug does.

        Raises:
            ModelError: the plug gave up or its process died; the message holds its last words.
        """
        order = Order(trainer=self._name, given=given)
        with tempfile.TemporaryFile() as log, _start_worker(log) as worker:
            try:
                return _follow(worker, order, report, log)
            finally:
                worker.kill()  # nothing happens if it has ended


def _start_worker(log: IO[bytes]) -> subprocess.Popen[str]:
    """Start it in a session of its own, so that the terminal's Ctrl-C reaches this process alone."""
    return subprocess.Popen(
        [sys.executable, "-m", "openledger_node.factory.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        env={**os.environ, **ENVIRONMENT},
    )


def _follow(worker: subprocess.Popen[str], order: Order, report: Report, log: IO[bytes]) -> TrainingResult:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(encode_order(order))
        worker.stdin.flush()  # it stays open: its end tells the worker that we are gone
    except BrokenPipeError:
        pass  # it died at once; its log says of what
    for line in worker.stdout:
        match decode_news(line):
            case TrainingProgress() as progress:
                report(progress)
            case TrainingResult() as result:
                return result
            case Failure(message=message):
                raise ModelError(f"training failed: {message}")
    if (status := worker.wait()) < 0:
        raise ModelError(f"training was killed by signal {-status}: if memory ran out, try a smaller batch")
    raise ModelError(f"the training process ended with status {status}: {_last_words(log)}")


def _last_words(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
    return (log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
