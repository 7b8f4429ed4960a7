"""The socket for whatever trains: rows and a base in, a folder in PEFT format out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from openledger_protocol.datanet import Row

from ..models.bases import Base
from .job import TrainingJob


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """How far a run is. Losses are nats, the mean over the tokens of the completions."""

    step: int
    steps: int
    loss: float | None  # of this step's batch; None before the first
    held_out_loss: float | None  # None where it was not measured at this step
    time_left_s: float | None  # None until it can be told
    tokens_per_s: float | None = None  # of the rows that it learns from, since this process began


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What came of a run; both losses are over the held-out rows."""

    steps: int  # that were made: fewer than were planned where the owner stopped it and kept what there was
    loss_before: float  # of the base alone
    loss_after: float
    probe: dict[str, str] | None = None  # of the manifest, in float32; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingInput:
    """All that a run starts from, and the folder that its adapter is to be written into."""

    job: TrainingJob
    rows: tuple[Row, ...]
    held_out: tuple[Row, ...]
    base: Base
    folder: Path
    checkpoint: Path | None = None  # a file: what a run before this one left there is gone on from


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationInput:
    """What an adapter is measured on, beside its base."""

    job: TrainingJob
    rows: tuple[Row, ...]  # asked as a person would ask, and their losses taken
    general: tuple[Row, ...]  # whose losses alone are taken: a loss that rises tells of forgetting
    base: Base
    folder: Path  # the adapter's
    answer_tokens_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """What base and adapter made of it. Losses are nats, the mean over the tokens of the completions."""

    loss_base: float
    loss_adapter: float
    general_base: float
    general_adapter: float
    answers_base: tuple[str, ...]  # one a row, each token the likeliest
    answers_adapter: tuple[str, ...]


class PausedError(Exception):
    """The trainer was asked to pause: its checkpoint holds where it is."""


Wish = Literal["pause", "keep"]
"""What the owner may want of a trainer: to write a checkpoint and leave, or to take what there is as the adapter."""

Report = Callable[[TrainingProgress], Wish | None]


class Trainer(Protocol):
    """Teaches a base the completions of some rows, by an adapter."""

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        """Write `adapter_config.json` and `adapter_model.safetensors` into the folder, which is there and empty.

        The same job, rows and base give the same bytes on the same machine. `report` is called at step 0 with the
        held-out loss of the base, then after every step, the last time with step == steps and a held-out loss.
        Held-out rows are measured and never learned. Nothing is fetched from any network. What `report` returns is
        done after the step that it was told of. A run that goes on from a checkpoint reports that step first.

        Raises:
            PausedError: `report` said so, and there is a checkpoint.
            ModelError: the base, a row or the device does not do; the message says what would.
        """

    def evaluate(self, given: EvaluationInput) -> EvaluationResult:
        """Have base and adapter answer the rows, and measure both.

        Raises:
            ModelError: the base, the adapter or the device does not do.
        """
