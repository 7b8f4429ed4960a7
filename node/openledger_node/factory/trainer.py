"""The socket for whatever trains: rows and a base in, a folder in PEFT format out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from openledger_protocol.datanet import Row

from ..inference.bases import Base
from .job import TrainingJob


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """How far a run is. Losses are nats, the mean over the tokens of the completions."""

    step: int
    steps: int
    loss: float | None  # of this step's batch; None before the first
    held_out_loss: float | None  # None where it was not measured at this step
    time_left_s: float | None  # None until it can be told


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What came of a run; both losses are over the held-out rows."""

    steps: int
    loss_before: float  # of the base alone
    loss_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingInput:
    """All that a run starts from, and the folder that its adapter is to be written into."""

    job: TrainingJob
    rows: tuple[Row, ...]
    held_out: tuple[Row, ...]
    base: Base
    folder: Path


Report = Callable[[TrainingProgress], None]


class Trainer(Protocol):
    """Teaches a base the completions of some rows, by an adapter."""

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        """Write `adapter_config.json` and `adapter_model.safetensors` into the folder, which is there and empty.

        The same job, rows and base give the same bytes on the same machine. `report` is called at step 0 with the
        held-out loss of the base, then after every step, the last time with step == steps and a held-out loss.
        Held-out rows are measured and never learned. Nothing is fetched from any network.

        Raises:
            ModelError: the base, a row or the device does not do; the message says what would.
        """
