"""Orders to the factory, from commands and the page: reading them, and gathering rows, base and job."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any, Final

from openledger_protocol.constants import NAME_LENGTH_MAX
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import DatanetId, Digest

from ..config import Config
from ..datanets.held import is_datanet_id, pulled_training_rows
from ..datanets.near import distinct_rows
from ..datanets.rows import read_rows, rows_digest
from ..datanets.sample import SAMPLE_ID, draw_sample
from ..datanets.store import OwnDatanets
from ..datanets.version import VersionLabel, keep_version, make_version
from ..engine.tokenizer import open_tokenizer
from ..errors import ConfigError, ModelError
from ..home import Home
from ..models.adapter_files.layout import MODULES
from ..models.bases import Base, find_base
from ..models.decoder_config import read_config
from .base_format import AUTO, check_format
from .evaluation import ROWS_MAX, ROWS_USUAL
from .job import (
    DEFAULT_PRESET,
    PERCENT,
    PRESETS,
    ROWS_MIN,
    TrainingJob,
    check_job,
    choose_sites,
    default_alpha,
    split_rows,
)
from .preview import Measured, RowReader, Tell, fitting
from .shelve import BuildIndex
from .signal_pass import IsOver, SignalPass, run_signal_pass

ONE_SOURCE: Final = "give exactly one of --rows FILE, --sample and --datanet NAME"
NO_NAME: Final = "preview"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOrder:
    """An order for a training; None takes the default."""

    name: str = NO_NAME
    base: str | None = None
    datanet: str | None = None  # NAME, or the id of one that was pulled; each may be followed by @VERSION
    sample: bool = False
    rows: str | None = None  # a file
    held_out: str | None = None  # a file
    preset: str | None = None
    rank: int | None = None
    layers: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    tokens_max: int | None = None
    method: str | None = None
    alpha: int | None = None
    sites: str | None = None
    dropout: float | None = None
    schedule: str | None = None
    warm_up_percent: float | None = None
    weight_decay: float | None = None
    quantisation: str | None = None  # None and `auto` leave it to the estimate of memory
    gradient_checkpointing: bool = False
    held_out_percent: float | None = None  # of the rows, if no held-out rows are given
    evaluate: int | None = None  # held-out rows to answer before the adapter is added to the library
    trainer: str | None = None
    signals: bool = False  # build the index that poa-v3 needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """An order with its rows, base and job."""

    job: TrainingJob
    base: Base
    trainer: str
    measured: tuple[Measured, ...]  # the rows to learn
    held_out: tuple[Row, ...]
    dropped: tuple[Row, ...]
    datanet: VersionLabel
    evaluated_rows: int
    reader: RowReader

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows to learn."""
        return tuple(each.row for each in self.measured)


def order_from(wanted: Mapping[str, Any]) -> TrainingOrder:
    """Read an order from the fields of a request.

    Raises:
        MalformedError: a field is unknown or has the wrong type.
    """
    known = {spec.name: spec.type for spec in fields(TrainingOrder)}
    if unknown := wanted.keys() - known.keys():
        raise MalformedError(f"a training has no field {min(unknown)!r}")
    given = {name: value for name, value in wanted.items() if value not in (None, "")}
    for name, value in given.items():
        if not isinstance(value, _TYPES.get(name, str)) or (isinstance(value, bool) and name not in _FLAGS):
            raise MalformedError(f"{name} is {_TYPES.get(name, str)}, not {str(value)[:80]!r}")
    return TrainingOrder(**given)


_FLAGS: Final = ("sample", "signals", "gradient_checkpointing")
_TYPES: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("rank", "alpha", "layers", "epochs", "batch_size", "seed", "tokens_max", "evaluate"), int),
    **dict.fromkeys(("learning_rate", "dropout", "warm_up_percent", "weight_decay", "held_out_percent"), int | float),
    **dict.fromkeys(_FLAGS, bool),
}


def job_of(order: TrainingOrder, *, device: str) -> TrainingJob:
    """Make the job of an order. Given values override the preset, which overrides the defaults.

    Raises:
        MalformedError: the name can't be an adapter's.
        ConfigError: there is no such preset, or a value is out of bounds.
    """
    preset: Mapping[str, Any] | None = next(
        (values for name, values in PRESETS.items() if name == (order.preset or DEFAULT_PRESET)), None
    )
    if preset is None:
        raise ConfigError(f"no preset is called {order.preset!r}: choose from {', '.join(PRESETS)}")
    job = TrainingJob(name=order.name, device=device, **preset)
    given = {name: value for name in SAME_NAMES if (value := getattr(order, name)) is not None}
    shares: dict[str, Any] = {
        name: round(value * PERCENT) if isfinite(value) else -1
        for name, value in (("warm_up_ppm", order.warm_up_percent), ("held_out_ppm", order.held_out_percent))
        if value is not None
    }
    job = replace(job, **given, **shares)
    alpha = default_alpha(job.method, job.rank) if order.alpha is None else order.alpha
    chosen: Any = "none" if order.quantisation in (None, AUTO) else order.quantisation
    return check_job(replace(job, alpha=alpha, quantisation=chosen))


SAME_NAMES: Final = (
    "rank", "layers", "epochs", "batch_size", "learning_rate", "seed", "tokens_max", "method", "sites", "dropout",
    "schedule", "weight_decay", "gradient_checkpointing",
)  # fmt: skip
"""Fields that an order and a job have in common."""


def gather(home: Home, config: Config, order: TrainingOrder, *, keep: bool, tell: Tell = lambda *_: None) -> Gathered:
    """Find base and rows, leave out rows that are too long, and hold some out; `keep` stores the contributors.

    `tell`: takes the progress of counting tokens, which takes longest.

    Raises:
        ConfigError: the order names no source of rows or several, or no row is left.
        MalformedError: a row is invalid.
        ModelError: the base is not here.
    """
    job = job_of(order, device=config.inference.device)
    base = find_base(home, order.base or config.inference.base)
    if job.name == base.name:
        raise ConfigError(f"{base.name} is the name of the base: give the adapter another one with --name")
    if order.signals and base.folder is None:
        raise ConfigError(f"{base.name} has no files, so no signals of its rows can be built: leave out --signals")
    check_sites(job, base)
    check_format(order.quantisation, base, order.trainer or config.factory.trainer)
    if order.held_out_percent is not None and (order.sample or order.held_out):
        raise ConfigError(
            "held_out_percent has no effect here, because the held-out rows are given: leave it out, "
            "or leave out the file of held-out rows"
        )
    evaluated = ROWS_USUAL if order.evaluate is None else order.evaluate
    if not 0 <= evaluated <= ROWS_MAX:
        raise ConfigError(f"evaluate must be from 0 to {ROWS_MAX}")
    rows, held_out, label = _read(home, order, job.seed, keep=keep)
    reader = RowReader(base.folder)
    used, dropped = fitting(reader.measure_all(rows, tell), job.tokens_max)
    if dropped and held_out is None and len(used) < ROWS_MIN:
        raise ConfigError(
            f"{len(dropped)} of {len(rows)} rows have more than {job.tokens_max} tokens and are left out, so "
            f"{len(used)} are left: shorten the rows, or raise --tokens-max"
        )
    if held_out is None:
        learned, measured = split_rows([each.row for each in used], job.held_out_ppm)
    else:
        kept, long = fitting(reader.measure_all(held_out), job.tokens_max)
        learned, measured = tuple(each.row for each in used), tuple(each.row for each in kept)
        dropped = [*dropped, *long]
    if not learned or not measured:
        raise ConfigError(f"no row has at most {job.tokens_max} tokens: shorten the rows, or raise --tokens-max")
    found = {each.row: each for each in used}
    return Gathered(
        job=job,
        base=base,
        trainer=order.trainer or config.factory.trainer,
        measured=tuple(found[row] for row in learned),
        held_out=measured,
        dropped=tuple(each.row for each in dropped),
        datanet=label,
        evaluated_rows=min(evaluated, len(measured)),
        reader=reader,
    )


def check_sites(job: TrainingJob, base: Base) -> None:
    """Check that the base has the linear maps that a job names, before anything is trained.

    Raises:
        ConfigError: it has no map of a name.
    """
    modules: Iterable[str] = MODULES
    if base.folder is not None:
        with suppress(ModelError):  # of another architecture
            modules = read_config(base.folder).site_dims
    choose_sites(job.sites, modules)


def index_builder(
    base: Base,
    datanet: VersionLabel,
    job: TrainingJob | None = None,
    *,
    yields: bool = False,
    is_over: IsOver = lambda: False,
) -> BuildIndex:
    """Return a function that writes the attribution index of the learned rows; with `job`, also their signals.

    `yields` lets the pass for the signals take only what other processes leave. `is_over` ends that pass.
    """

    def build(folder: Path, rows: tuple[Row, ...]) -> Digest:
        from ..attribution.index import build_index  # importing numpy takes longer than most commands

        def add_signals(target: Path) -> None:
            assert job is not None, "it is called with a job only"
            assert base.folder is not None, "an order for signals of a base without files is refused"
            given = SignalPass(
                base_folder=str(base.folder),
                adapter_folder=str(target.parent),
                folder=str(target),
                rows_root=datanet.rows_root,
                rows=tuple(distinct_rows(rows)),
                device=job.device,
                tokens_max=job.tokens_max,
                yields=yields,
                quantisation=job.quantisation if job.quantisation != "none" else AUTO,
            )
            run_signal_pass(given, is_over)

        tokenizer = open_tokenizer(base.folder)
        return build_index(
            folder,
            [(datanet, distinct_rows(rows))],
            tokenizer,
            base.tokenizer_digest,
            add_signals=add_signals if job else None,
        )

    return build


def datanet_name(rows_file: Path) -> str:
    """Turn a file's name into a Datanet's name; characters that are not allowed become `-`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", rows_file.stem).lstrip("._-")[:NAME_LENGTH_MAX] or "rows"


def _read(
    home: Home, order: TrainingOrder, seed: int, *, keep: bool
) -> tuple[tuple[Row, ...], tuple[Row, ...] | None, VersionLabel]:
    """Read the training rows, the held-out rows if they are given, and the label of the Datanet's version.

    `keep` stores the version of rows that are of no Datanet, with the contributor of each. To find near-duplicates
    for it takes longer than all the rest.
    """
    if (order.datanet is not None) + (order.rows is not None) + order.sample != 1:
        raise ConfigError(ONE_SOURCE)
    held_out = read_rows(Path(order.held_out)) if order.held_out else None
    if order.datanet is not None:
        name, _, chosen = order.datanet.partition("@")
        if is_datanet_id(name):
            pulled, rows = pulled_training_rows(home, DatanetId(name), chosen or None)
            return rows, held_out, pulled.label
        version, rows = OwnDatanets(home).training_rows(name, chosen or None)
        return rows, held_out, version.label
    if order.rows is not None:
        file = Path(order.rows)
        rows = read_rows(file)
        root = rows_digest(rows)
        label = VersionLabel(id=datanet_name(file), version=root[2:10], rows_root=root)
    else:
        drawn = draw_sample(seed)
        rows, held_out = drawn.rows, held_out or drawn.held_out
        label = VersionLabel(id=SAMPLE_ID, version=f"seed-{seed}", rows_root=rows_digest(rows))
    if keep:
        keep_version(home, make_version(label.id, label.version, rows))
    return rows, held_out, label
