"""What is to be trained and how: pure values and the decisions that follow from them."""

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
"""Where a training is. `done`: its adapter is on the shelf; `stopped`: its owner wanted nothing of it."""

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
"""Every move there is. `begin` where it trains already: whoever trained it ended, and another one goes on."""

LIVE: Final[frozenset[RunState]] = frozenset({"waiting", "training", "evaluating"})
"""States in which somebody works on it, or should."""

CHECKPOINT_STEPS: Final = 50
CHECKPOINTS_MIN: Final = 10

RANK_MAX = 512
SEED_MAX = 2**32 - 1
WARM_UP_PPM = 60_000
"""Part of the steps over which the learning rate rises: Adam's first steps know nothing of the gradients' size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One run of a trainer; the defaults teach the demo base the sample Datanet in half a minute on two cores."""

    name: str  # of the adapter
    rank: int = 8
    alpha: int = 16
    layers: int = 12  # how many are adapted, counted from the top; 0 is all of them
    epochs: int = 6
    batch_size: int = 8
    learning_rate: float = 3e-3
    seed: int = 1
    tokens_max: int = 2048  # of one row, its chat template included
    held_out_ppm: int = 100_000  # of the rows, where none are given to be held out
    device: str = "auto"


Preset = Literal["quick", "balanced", "thorough"]
DEFAULT_PRESET: Final[Preset] = "balanced"
PRESETS: Final[Mapping[Preset, Mapping[str, int]]] = {
    "quick": {"rank": 8, "layers": 12, "epochs": 2},
    "balanced": {"rank": 8, "layers": 12, "epochs": 6},
    "thorough": {"rank": 16, "layers": 0, "epochs": 10},
}
"""What most people choose between; whatever else is given goes before it."""


def move(state: RunState, event: RunEvent) -> RunState:
    """Where a training is after an event.

    Raises:
        ConfigError: there is no such move; the message says what there is.
    """
    if event in MOVES[state]:
        return MOVES[state][event]
    starts = sorted(each for each in get_args(RunState) if event in MOVES[each])
    raise ConfigError(f"this training is {state}: only one that is {' or '.join(starts)} takes {event!r}")


def is_checkpoint(step: int, steps: int) -> bool:
    """Whether what was learned is written down after this step: a kill loses at most what came since."""
    return step % max(1, min(CHECKPOINT_STEPS, steps // CHECKPOINTS_MIN)) == 0


def check_job(job: TrainingJob) -> TrainingJob:
    """Return `job` when every field is within its bounds.

    Raises:
        MalformedError: the name can't be an adapter's.
        ConfigError: naming the first field that is not.
    """
    check_name(job.name)
    bounds: tuple[tuple[str, bool], ...] = (
        (f"rank must be from 1 to {RANK_MAX}", 1 <= job.rank <= RANK_MAX),
        ("alpha must be at least 1", job.alpha >= 1),
        ("layers must be 0, for all, or more", job.layers >= 0),
        ("epochs must be at least 1", job.epochs >= 1),
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


def split_rows(rows: Sequence[Row], held_out_ppm: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Part the rows into those to train on and those to hold out, at least one each, both in their old order.

    A row's own digest decides, so that a row stays on its side when others join the Datanet.

    Raises:
        ConfigError: there are fewer than two rows.
    """
    if len(rows) < 2:
        raise ConfigError("training needs two rows or more: one to learn and one to be held out")
    draws = [int(canonical_digest(row), 16) * PPM >> 256 for row in rows]  # each from 0 to 999,999
    num_held_out = min(max(sum(draw < held_out_ppm for draw in draws), 1), len(rows) - 1)
    held_out = set(sorted(range(len(rows)), key=draws.__getitem__)[:num_held_out])
    return (
        tuple(row for index, row in enumerate(rows) if index not in held_out),
        tuple(row for index, row in enumerate(rows) if index in held_out),
    )


def num_steps(job: TrainingJob, num_rows: int) -> int:
    """Steps of the optimizer: every epoch sees every row once."""
    return job.epochs * ceil(num_rows / job.batch_size)


def learning_rate_at(job: TrainingJob, step: int, steps: int) -> float:
    """The rate of step 1, 2, …, `steps`: a linear rise, then half a cosine down towards zero."""
    warm_up = ceil(steps * WARM_UP_PPM / PPM)
    if step <= warm_up:
        return job.learning_rate * (step / warm_up)
    return job.learning_rate * (1 + cos(pi * (step - warm_up) / (steps - warm_up + 1))) / 2
