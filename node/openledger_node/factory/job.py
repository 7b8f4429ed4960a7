"""A training job and its rules: states and moves, bounds, split of rows, learning rate. All of it is pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, cos, isfinite, pi
from typing import Final, Literal, get_args

from openledger_protocol.codec import canonical_digest
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import check_name

from ..errors import ConfigError

RunState = Literal["waiting", "training", "paused", "evaluating", "done", "stopped", "failed"]
"""State of a training. `done`: its adapter is in the library; `stopped`: its owner discarded it."""

RunEvent = Literal["begin", "pause", "resume", "learned", "evaluated", "evaluate", "stop", "fail"]

MOVES: Final[Mapping[RunState, Mapping[RunEvent, RunState]]] = {
    "waiting": {"begin": "training", "stop": "stopped", "fail": "failed"},
    "training": {
        "begin": "training",
        "pause": "paused",
        "learned": "evaluating",
        "stop": "stopped",
        "fail": "failed",
    },
    "paused": {"resume": "training", "stop": "stopped", "fail": "failed"},
    "evaluating": {"begin": "evaluating", "evaluated": "done", "stop": "stopped", "fail": "failed"},
    "done": {"evaluate": "evaluating"},
    "stopped": {},
    "failed": {},
}
"""All moves. `begin` while it is training means that its process ended, and another process continues it."""

LIVE: Final[frozenset[RunState]] = frozenset({"waiting", "training", "evaluating"})
"""States in which a process works on the training, or should."""

CHECKPOINT_STEPS: Final = 50
CHECKPOINTS_MIN: Final = 10

RANK_MAX = 512
EPOCHS_MAX = 10_000_000
"""More is a typing error."""

SEED_MAX = 2**32 - 1
WARM_UP_PPM = 60_000
"""Part of the steps over which the learning rate rises, because Adam does not know the size of gradients at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One run of a trainer. The defaults train the demo base on the sample Datanet in 30 s on two cores."""

    name: str  # of the adapter
    rank: int = 8
    alpha: int = 16
    layers: int = 12  # number of adapted layers, counted from the top; 0 is all
    epochs: int = 6
    batch_size: int = 8
    learning_rate: float = 3e-3
    seed: int = 1
    tokens_max: int = 2048  # of one row, its chat template included
    held_out_ppm: int = 100_000  # of the rows, if no held-out rows are given
    device: str = "auto"


Preset = Literal["quick", "balanced", "thorough"]
DEFAULT_PRESET: Final[Preset] = "balanced"
PRESETS: Final[Mapping[Preset, Mapping[str, int]]] = {
    "quick": {"rank": 8, "layers": 12, "epochs": 2},
    "balanced": {"rank": 8, "layers": 12, "epochs": 6},
    "thorough": {"rank": 16, "layers": 0, "epochs": 10},
}
"""Presets for most people; values that are given separately override them."""


def move(state: RunState, event: RunEvent) -> RunState:
    """Return the state after an event.

    Raises:
        ConfigError: the event is not allowed in this state; the message names the states that allow it.
    """
    if event in MOVES[state]:
        return MOVES[state][event]
    starts = sorted(each for each in get_args(RunState) if event in MOVES[each])
    raise ConfigError(f"this training is {state}: only one that is {' or '.join(starts)} takes {event!r}")


def is_checkpoint(step: int, steps: int) -> bool:
    """Return True if a checkpoint is written after this step; a kill loses only the steps since the last one."""
    return step % max(1, min(CHECKPOINT_STEPS, steps // CHECKPOINTS_MIN)) == 0


def check_job(job: TrainingJob) -> TrainingJob:
    """Return `job` when every field is within its bounds.

    Raises:
        MalformedError: the name can't be an adapter's.
        ConfigError: a field is out of bounds; the message names the first one.
    """
    check_name(job.name)
    bounds: tuple[tuple[str, bool], ...] = (
        (f"rank must be from 1 to {RANK_MAX}", 1 <= job.rank <= RANK_MAX),
        ("alpha must be at least 1", job.alpha >= 1),
        ("layers must be 0, for all, or more", job.layers >= 0),
        (f"epochs must be from 1 to {EPOCHS_MAX:,}", 1 <= job.epochs <= EPOCHS_MAX),
        ("batch_size must be at least 1", job.batch_size >= 1),
        ("learning_rate must be over 0", isfinite(job.learning_rate) and job.learning_rate > 0),
        (f"seed must be from 0 to {SEED_MAX}", 0 <= job.seed <= SEED_MAX),
        ("tokens_max must be at least 16", job.tokens_max >= 16),
        (f"held_out_ppm must be from 1 to {PPM - 1}", 0 < job.held_out_ppm < PPM),
    )
    for rule, is_kept in bounds:
        if not is_kept:
            raise ConfigError(rule)
    return job


ROWS_MIN = 2
"""One to learn, and one to hold out."""


def split_rows(rows: Sequence[Row], held_out_ppm: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Split rows into training rows and held-out rows, at least one each, and keep their order.

    The digest of a row decides, so that a row stays on its side when the Datanet grows.

    Raises:
        ConfigError: there are fewer than two rows.
    """
    if len(rows) < ROWS_MIN:
        raise ConfigError("training needs at least two rows, one to learn and one to hold out: add more rows")
    draws = [int(canonical_digest(row), 16) * PPM >> 256 for row in rows]  # each from 0 to 999,999
    num_held_out = min(max(sum(draw < held_out_ppm for draw in draws), 1), len(rows) - 1)
    held_out = set(sorted(range(len(rows)), key=draws.__getitem__)[:num_held_out])
    return (
        tuple(row for index, row in enumerate(rows) if index not in held_out),
        tuple(row for index, row in enumerate(rows) if index in held_out),
    )


def num_steps(job: TrainingJob, num_rows: int) -> int:
    """Count the steps of the optimizer; every epoch sees every row once."""
    return job.epochs * ceil(num_rows / job.batch_size)


def learning_rate_at(job: TrainingJob, step: int, steps: int) -> float:
    """Return the learning rate of a step, from 1 to `steps`: a linear warm-up, then a half cosine towards zero."""
    warm_up = ceil(steps * WARM_UP_PPM / PPM)
    if step <= warm_up:
        return job.learning_rate * (step / warm_up)
    return job.learning_rate * (1 + cos(pi * (step - warm_up) / (steps - warm_up + 1))) / 2
