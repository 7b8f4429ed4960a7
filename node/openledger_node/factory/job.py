"""A training job and its rules: states and moves, bounds, split of rows, learning rate. All of it is pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, cos, pi
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

PERCENT: Final = PPM // 100
"""Millionths in a percent."""

RANK_MAX: Final = 512
ALPHA_MAX: Final = 1_000_000
LAYERS_MAX: Final = 1_000
EPOCHS_MAX: Final = 10_000_000
"""More is a typing error."""

BATCH_MAX: Final = 4_096
DROPOUT_MAX: Final = 0.9
TOKENS_MIN: Final = 16
TOKENS_MAX: Final = 1_000_000
SEED_MAX: Final = 2**32 - 1

Method = Literal["lora", "rslora", "dora"]
"""Form of the adapter. rsLoRA divides alpha by the root of the rank, DoRA also learns the length of each row."""

Schedule = Literal["cosine", "linear", "constant"]
"""Course of the learning rate after the warm-up: two ways to zero, or none."""

Quantisation = Literal["none", "int4"]
"""Form of the base's weights while an adapter is trained: as wide as products are computed, or in 4 bits (QLoRA)."""

SITE_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "attention": ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "gate_up_proj", "down_proj"),
}
ALL_SITES: Final = "all"

RSLORA_ALPHA: Final = 8
"""With rank 16, the same scale of 2 as LoRA, whose alpha is twice the rank."""


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
    method: Method = "lora"
    sites: str = ALL_SITES  # `all`, a group of SITE_GROUPS, or names of linear maps with commas between them
    dropout: float = 0.0  # share of an adapter's inputs that are set to zero in each step
    schedule: Schedule = "cosine"
    warm_up_ppm: int = 60_000  # of the steps; Adam does not know the size of gradients at first
    weight_decay: float = 0.0
    quantisation: Quantisation = "none"
    gradient_checkpointing: bool = False  # the backward pass computes each layer again instead of keeping its outputs


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
    ranges: tuple[tuple[str, float, float, float], ...] = (
        ("rank", job.rank, 1, RANK_MAX),
        ("alpha", job.alpha, 1, ALPHA_MAX),
        ("layers", job.layers, 0, LAYERS_MAX),
        ("epochs", job.epochs, 1, EPOCHS_MAX),
        ("batch_size", job.batch_size, 1, BATCH_MAX),
        ("seed", job.seed, 0, SEED_MAX),
        ("tokens_max", job.tokens_max, TOKENS_MIN, TOKENS_MAX),
        ("dropout", job.dropout, 0, DROPOUT_MAX),
        ("weight_decay", job.weight_decay, 0, 1),
        ("warm_up_percent", job.warm_up_ppm / PERCENT, 0, 100),
    )
    for name, value, least, most in ranges:
        if not least <= value <= most:  # false for NaN, too
            raise ConfigError(f"{name} is {value:,}: give a number from {least} to {most:,}")
    if not 0 < job.learning_rate <= 1:
        raise ConfigError(f"learning_rate is {job.learning_rate}: give a number over 0, and at most 1, such as 3e-4")
    if not 0 < job.held_out_ppm < PPM:
        share = job.held_out_ppm / PERCENT
        raise ConfigError(f"held_out_percent is {share:g}: give a number over 0 and under 100, such as 10")
    for name, chosen, words in (
        ("method", job.method, get_args(Method)),
        ("schedule", job.schedule, get_args(Schedule)),
        ("quantisation", job.quantisation, get_args(Quantisation)),
    ):
        if chosen not in words:
            raise ConfigError(f"{name} is {chosen!r}: choose one of {', '.join(words)}")
    return job


def default_alpha(method: str, rank: int) -> int:
    """Return the alpha of an order that names none."""
    return RSLORA_ALPHA if method == "rslora" else 2 * rank


def choose_sites(sites: str, modules: Iterable[str]) -> tuple[str, ...]:
    """Choose the linear maps to adapt among the base's `modules`, in their order.

    Raises:
        ConfigError: the base has no map of a name; the message lists the names that it has.
    """
    known = tuple(modules)
    wanted = {
        each
        for word in (part.strip() for part in sites.split(","))
        for each in (known if word == ALL_SITES else SITE_GROUPS.get(word, (word,)))
    }
    named = {part.strip() for part in sites.split(",")} - {ALL_SITES, *SITE_GROUPS}
    if unknown := sorted(named - set(known)):
        raise ConfigError(
            f"sites names {unknown[0]!r}, which this base does not have: choose {ALL_SITES}, "
            f"{', '.join(SITE_GROUPS)}, or some of {', '.join(known)}"
        )
    return tuple(name for name in known if name in wanted)


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
    """Return the learning rate of a step, from 1 to `steps`: a linear warm-up, then the schedule."""
    warm_up = ceil(steps * job.warm_up_ppm / PPM)
    if step <= warm_up:
        return job.learning_rate * (step / warm_up)
    done = (step - warm_up) / (steps - warm_up + 1)
    factors = {"cosine": (1 + cos(pi * done)) / 2, "linear": 1 - done, "constant": 1.0}
    return job.learning_rate * factors[job.schedule]
