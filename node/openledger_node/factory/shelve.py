"""Adding a trained adapter to the library, with its manifest."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.adapter import AdapterManifest, BaseReference, DatanetReference, PublicProbe
from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row, datanet_id
from openledger_protocol.errors import ProtocolError
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Digest

from .. import __version__
from ..datanets.version import VersionLabel
from ..errors import NodeError
from ..home import Home
from ..models.adapter_files.layout import read_layout
from ..models.adapters import INDEX_FOLDER, MANIFEST_FILE, Adapter, add_adapter, artifact_digest
from ..models.bases import Base
from ..text import rfc3339
from .job import TrainingJob
from .trainer import TrainingResult

BuildIndex = Callable[[Path, tuple[Row, ...]], Digest]
"""Writes the attribution index of the learned rows into a new folder, and returns its root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A new adapter's job, base, result and rows, for its manifest."""

    job: TrainingJob
    base: Base
    result: TrainingResult
    datanet: VersionLabel
    rows: tuple[Row, ...]  # learned rows
    held_out: tuple[Row, ...]
    started_ns: int
    owner: Address | None = None  # None: publishing the adapter will name one
    build_index: BuildIndex | None = None
    figures: dict[str, Any] | None = None  # of the evaluation
    probes: tuple[PublicProbe, ...] = ()  # answers of the evaluation that everybody may attribute


def add_to_library(home: Home, folder: Path, trained: Trained) -> Adapter:
    """Add the adapter, whose manifest is written. If this fails, the trained files are kept for another try.

    Raises:
        NodeError: the adapter could not be added; the message says where it is kept.
    """
    try:
        return add_adapter(home, folder, trained.base)
    except (OSError, ProtocolError) as error:
        kept = folder.rename(home.training / f"{trained.job.name}-{trained.started_ns}")
        raise NodeError(
            f"the training is complete, but its adapter could not be added to the library ({error}): "
            f"try again with `openledger-node adapters add {kept}`"
        ) from error


def write_manifest(folder: Path, trained: Trained) -> AdapterManifest:
    """Write the attribution index and `adapter.json` of the adapter in `folder`.

    Raises:
        AdapterRefusedError: the trainer wrote an adapter that can't be served.
    """
    read_layout(folder)
    base, build_index = trained.base, trained.build_index
    shutil.rmtree(folder / INDEX_FOLDER, ignore_errors=True)  # of a process that was killed while it wrote one
    manifest = AdapterManifest(
        name=trained.job.name,
        base=BaseReference(name=base.name, digest=base.digest),
        artifact_digest=artifact_digest(folder),
        tokenizer_digest=base.tokenizer_digest,
        chat_template_digest=base.chat_template_digest,
        index_root=build_index(folder / INDEX_FOLDER, trained.rows) if build_index else None,
        datanets=(_reference(trained),),
        training=_training(trained),
        evaluation=_evaluation(trained),
        probe=trained.result.probe,
        owner=trained.owner,
    )
    (folder / MANIFEST_FILE).write_text(json.dumps(to_plain(manifest), indent=2) + "\n")
    return manifest


def _reference(trained: Trained) -> DatanetReference:
    """The Datanet that was pulled, or the owner's of this name; without an owner, one that nobody can register."""
    label = trained.datanet
    return DatanetReference(
        id=label.on_chain or datanet_id(trained.owner or ZERO_ADDRESS, label.id),
        version=label.version,
        rows_root=label.rows_root,
        weight_ppm=PPM,
    )


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
    """Losses in nats per completion token; the digest identifies the rows they were measured on."""
    figures = {"figures": trained.figures} if trained.figures else {}
    probes = {"probes": [to_plain(probe) for probe in trained.probes]} if trained.probes else {}
    return {
        "loss_before": round(trained.result.loss_before, 6),
        "loss_after": round(trained.result.loss_after, 6),
        "rows": len(trained.held_out),
        "rows_digest": canonical_digest(trained.held_out),
        **figures,
        **probes,
    }
