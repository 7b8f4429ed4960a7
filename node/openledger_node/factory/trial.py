"""Numbers of a batch that need a model: the loss of the base, and that of an adapter trained for a short while.

Both take a sample of the rows, so that a large batch costs no more than a small one. A child process does the work.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openledger_protocol.datanet import Row

from ..config import Config
from ..datanets.gate import GateNumber, base_number, trial_number
from ..errors import ConfigError, ModelError
from ..home import Home
from ..models.bases import Base, find_base
from .child import ChildTrainer
from .job import ROWS_MIN, TrainingJob, split_rows
from .preview import RowReader, fitting
from .runs import Runs
from .trainer import PausedError, TrainingInput, TrainingProgress

BASE_ROWS: Final = 32
TRIAL_ROWS: Final = 256
TRIAL_JOB: Final = TrainingJob(name="trial", epochs=2, tokens_max=1_024)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBase:
    """The base and the trainer that measure a batch."""

    base: Base
    trainer: str
    home: Home  # no training runs in it at the same time


def open_trial(home: Home, config: Config, name: str | None) -> TrialBase:
    """Find the base, by default that of the settings.

    Raises:
        ModelError: it is not here.
    """
    return TrialBase(base=find_base(home, name or config.inference.base), trainer=config.factory.trainer, home=home)


def measure_base(trial: TrialBase, rows: Sequence[Row]) -> GateNumber:
    """Measure the loss of the base on the completions of up to 32 rows.

    Raises:
        ModelError: the base can't be used, or a training is running.
    """
    sample = _fitting_sample(trial.base, rows, BASE_ROWS)
    if not sample:
        return base_number(None, why=f"not measured: no row has at most {TRIAL_JOB.tokens_max} tokens")
    found: list[float] = []

    def stop_after_first(progress: TrainingProgress) -> None:
        if progress.held_out_loss is not None:
            found.append(progress.held_out_loss)
        raise PausedError

    with _alone(trial) as folder:
        given = TrainingInput(job=TRIAL_JOB, rows=sample[:1], held_out=sample, base=trial.base, folder=folder)
        with suppress(PausedError):
            ChildTrainer(trial.trainer).train(given, stop_after_first)
    return base_number(found[0] if found else None, rows=len(sample))


def measure_trial(trial: TrialBase, rows: Sequence[Row]) -> GateNumber:
    """Train for two epochs on up to 256 rows but a tenth, and measure the loss on that tenth.

    Raises:
        ModelError: the base can't be used, a training is running, or fewer than two rows are short enough.
    """
    sample = _fitting_sample(trial.base, rows, TRIAL_ROWS)
    if len(sample) < ROWS_MIN:
        raise ModelError(f"a trial needs {ROWS_MIN} rows of at most {TRIAL_JOB.tokens_max} tokens, not {len(sample)}")
    learned, held_out = split_rows(sample, TRIAL_JOB.held_out_ppm)
    with _alone(trial) as folder:
        given = TrainingInput(job=TRIAL_JOB, rows=learned, held_out=held_out, base=trial.base, folder=folder)
        result = ChildTrainer(trial.trainer).train(given, lambda _: None)
    return trial_number(result.loss_before, result.loss_after, rows=len(held_out))


@contextmanager
def _alone(trial: TrialBase) -> Iterator[Path]:
    """A folder for a trial, which holds the lock of trainings: two of them may not fit into memory."""
    with ExitStack() as stack:
        try:
            stack.enter_context(Runs(trial.home).hold())
        except ConfigError as error:
            raise ModelError(
                "a training or another trial is running, and both may not fit into memory: try again when it has "
                "ended, or pause a training with `openledger-node factory pause`"
            ) from error
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openledger-trial-")))


def _fitting_sample(base: Base, rows: Sequence[Row], count: int) -> tuple[Row, ...]:
    """Rows spread over the batch that are short enough."""
    step = max(1, len(rows) // count)
    measured = RowReader(base.folder).measure_all(rows[::step][:count])
    return tuple(each.row for each in fitting(measured, TRIAL_JOB.tokens_max)[0])
