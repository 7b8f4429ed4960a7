"""The factory's desk: rows in, an adapter on the shelf out."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.adapter import AdapterManifest, BaseReference, DatanetReference
from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.errors import ProtocolError
from openledger_protocol.primitives import Digest

from .. import __version__
from ..errors import ConfigError, NodeError
from ..home import Home, take_lock
from ..inference.adapter_files.layout import read_layout
from ..inference.adapters import INDEX_FOLDER, MANIFEST_FILE, Adapter, add_adapter, artifact_digest
from ..inference.bases import Base
from ..moments import rfc3339
from .job import TrainingJob, check_job, split_rows
from .trainer import Report, Trainer, TrainingInput, TrainingResult

BuildIndex = Callable[[Path, tuple[Row, ...]], Digest]
"""Writes the attribution index of the rows that were learned into a new folder, and returns its root."""


def train_adapter(
    home: Home,
    base: Base,
    job: TrainingJob,
    trainer: Trainer,
    report: Report,
    *,
    datanet: DatanetReference,
    rows: tuple[Row, ...],
    held_out: tuple[Row, ...] | None,
    started_ns: int,
    build_index: BuildIndex | None = None,
) -> Adapter:
    """Train an adapter and put it on the shelf; without `held_out`, some of the rows are held out.

    Its manifest says from what, how and when it was trained, and what it gained on the held-out rows.

    Raises:
        ConfigError: the job is out of bounds, or another training runs on this home.
        ModelError: the trainer gave up.
        AdapterRefusedError: what the trainer wrote is no adapter that can be served.
        NodeError: it was trained, and could not be put on the shelf; the message says where it is kept.
    """
    check_job(job)
    if held_out is None:
        rows, held_out = split_rows(rows, job.held_out_ppm)
    with open_workspace(home) as folder:
        given = TrainingInput(job=job, rows=rows, held_out=held_out, base=base, folder=folder)
        result = trainer.train(given, report)
        trained = Trained(
            job=job,
            base=base,
            result=result,
            datanet=datanet,
            rows=rows,
            held_out=held_out,
            started_ns=started_ns,
            build_index=build_index,
        )
        return put_on_shelf(home, folder, trained)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a folder with a fresh adapter has to be described by."""

    job: TrainingJob
    base: Base
    result: TrainingResult
    datanet: DatanetReference
    rows: tuple[Row, ...]  # that were learned
    held_out: tuple[Row, ...]
    started_ns: int
    build_index: BuildIndex | None = None
    figures: dict[str, Any] | None = None  # of its evaluation beside the base


def put_on_shelf(home: Home, folder: Path, trained: Trained) -> Adapter:
    """Describe what was trained and add it; if that fails, hours of work are kept for another try.

    Raises:
        AdapterRefusedError: what the trainer wrote is no adapter that can be served.
        NodeError: it could not be put on the shelf; the message says where it is kept.
    """
    read_layout(folder)
    base, build_index = trained.base, trained.build_index
    manifest = AdapterManifest(
        name=trained.job.name,
        base=BaseReference(name=base.name, digest=base.digest),
        artifact_digest=artifact_digest(folder),
        tokenizer_digest=base.tokenizer_digest,
        chat_template_digest=base.chat_template_digest,
        index_root=build_index(folder / INDEX_FOLDER, trained.rows) if build_index else None,
        datanets=(trained.datanet,),
        training=_training(trained),
        evaluation=_evaluation(trained),
        probe=trained.result.probe,
    )
    (folder / MANIFEST_FILE).write_text(json.dumps(to_plain(manifest), indent=2) + "\n")
    try:
        return add_adapter(home, folder, base)
    except (OSError, ProtocolError) as error:
        kept = folder.rename(home.training / f"{trained.job.name}-{trained.started_ns}")
        raise NodeError(
            f"trained, but not on the shelf ({error}): the adapter is kept; "
            f"`openledger-node adapters add {kept}` tries again"
        ) from error


@contextlib.contextmanager
def open_workspace(home: Home) -> Iterator[Path]:
    """An empty folder for one run, one run at a time; what a killed one left behind is removed first."""
    root = home.training
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root / "run"
    with (root / "lock").open("a") as lock:
        try:
            take_lock(lock)
        except BlockingIOError as error:
            raise ConfigError(f"another training runs on {home.root}: wait until it has ended") from error
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _training(trained: Trained) -> dict[str, Any]:
    return {
        "config": to_plain(trained.job),
        "seed": trained.job.seed,
        "code_version": __version__,
        "started": rfc3339(trained.started_ns // 10**9),
        "steps": trained.result.steps,
        "rows": len(trained.rows),
    }


def _evaluation(trained: Trained) -> dict[str, Any]:
    """Losses are nats a completion token; the digest tells on which rows they were measured."""
    figures = {"figures": trained.figures} if trained.figures else {}
    return {
        "loss_before": round(trained.result.loss_before, 6),
        "loss_after": round(trained.result.loss_after, 6),
        "rows": len(trained.held_out),
        "rows_digest": canonical_digest(trained.held_out),
        **figures,
    }
