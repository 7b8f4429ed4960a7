"""The trainer socket: rows and a base in, a folder in PEFT format out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from openledger_protocol.datanet import Row

from ..models.bases import Base
from .job import TrainingJob


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """Progress of a run. Losses are in nats, the mean over the tokens of the completions."""

    step: int
    steps: int
    loss: float | None  # of this step's batch; None before the first
    held_out_loss: float | None  # None if it was not measured at this step
    time_left_s: float | None  # None until it can be estimated
    tokens_per_s: float | None = None  # tokens of training rows, since this process began


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationProgress:
    """Progress of an evaluation."""

    done: int  # answers, those of the base included
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """Result of a run; both losses are over the held-out rows."""

    steps: int  # steps made: fewer than planned if the owner stopped it and kept the result
    loss_before: float  # of the base alone
    loss_after: float
    probe: dict[str, str] | None = None  # of the manifest, in float32; None if unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingInput:
    """Input of a run, and the folder to write the adapter into."""

    job: TrainingJob
    rows: tuple[Row, ...]
    held_out: tuple[Row, ...]
    base: Base
    folder: Path
    checkpoint: Path | None = None  # file of an earlier run to continue from, and for new checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationInput:
    """Input of an evaluation of an adapter beside its base."""

    job: TrainingJob
    rows: tuple[Row, ...]  # answered, and their losses measured
    general: tuple[Row, ...]  # only their losses are measured: a higher loss means forgetting
    base: Base
    folder: Path  # the adapter's
    answer_tokens_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """Losses and answers of base and adapter. Losses are in nats, the mean over the tokens of the completions."""

    loss_base: float
    loss_adapter: float
    general_base: float
    general_adapter: float
    answers_base: tuple[str, ...]  # one per row, always the likeliest token
    answers_adapter: tuple[str, ...]


class PausedError(Exception):
    """The trainer paused as asked, and wrote a checkpoint."""


Wish = Literal["pause", "keep"]
"""Request to a trainer: write a checkpoint and end, or finish now and keep the adapter as it is."""

Report = Callable[[TrainingProgress], Wish | None]
ReportEvaluation = Callable[[EvaluationProgress], None]


class Trainer(Protocol):
    """Trains an adapter of a base on the completions of rows."""

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        """Write `adapter_config.json` and `adapter_model.safetensors` into the folder, which exists and is empty.

        The same job, rows and base give the same bytes on the same machine. `report` is called at step 0 with the
        held-out loss of the base, then after every step, the last time with step == steps and a held-out loss.
        Held-out rows are measured and never learned. Nothing is downloaded. A request that `report` returns is
        carried out after the reported step. A run that continues from a checkpoint reports that step first, and
        writes the bytes that it would have written without the interruption.

        Raises:
            PausedError: `report` returned "pause", and a checkpoint is written.
            ModelError: the base, a row or the device can't be used; the message says what can.
        """

    def evaluate(self, given: EvaluationInput, report: ReportEvaluation) -> EvaluationResult:
        """Let base and adapter answer the rows, and measure both. The same input gives the same result.

        `report` is called before the first answers, and after each batch of them.

        Raises:
            ModelError: the base, the adapter or the device can't be used.
        """
