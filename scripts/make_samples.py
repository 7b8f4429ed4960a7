"""Train the sample adapters of the package again, from their rows: `python scripts/make_samples.py HOME`.

HOME is a data directory with the demo base. The same machine gives the same bytes each time. Processors that round
differently give other bytes of the same quality. An adapter that is too large or knows too little is not kept.
"""

import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file

from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.sample import SAMPLE_ID, SAMPLE_SEEDS, named_sample
from openledger_node.datanets.version import VersionLabel
from openledger_node.factory.evaluation import ANSWER_TOKENS_MAX, GENERAL_ROWS, probe_set, summarise
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.order import index_builder
from openledger_node.factory.samples import SAMPLES
from openledger_node.factory.shelve import Trained, write_manifest
from openledger_node.factory.trainer import EvaluationInput, TrainingInput
from openledger_node.factory.trainers.evaluating import probe_trained
from openledger_node.factory.trainers.peft_lora import open_trainer
from openledger_node.home import Home
from openledger_node.models.adapter_files.layout import WEIGHTS_FILE
from openledger_node.models.adapters import LIBRARY_FILES, MANIFEST_FILE
from openledger_node.models.bases import Base, find_base
from openledger_protocol.codec import to_plain
from openledger_protocol.constants import DEMO_BASE_NAME

RANK, LAYERS, EPOCHS = 4, 12, 10
SIZE_BYTES_MAX: Final = 1_000_000
LICENSE: Final = "Apache-2.0"
"""Of the base, and of this project."""

RIGHT_MIN: Final = 27
"""Of the 30 held-out questions of a sample, so many answers must state the fact."""

STARTED_NS: Final = 1_795_824_000 * 10**9
"""The date in the manifests, 28 November 2026: it is fixed, because an adapter's id depends on it."""


def main(home: Home) -> None:
    """Train all sample adapters, and replace those of the package."""
    torch.set_num_threads(1)  # sums of several threads have no fixed order
    base = find_base(home, DEMO_BASE_NAME)
    for name in SAMPLE_SEEDS:
        with tempfile.TemporaryDirectory() as root:
            make(name, base, Path(root))
            target = SAMPLES / name
            target.mkdir(parents=True, exist_ok=True)
            for file in LIBRARY_FILES:
                shutil.copyfile(Path(root) / file, target / file)


def make(name: str, base: Base, folder: Path) -> None:
    """Write one adapter and its manifest into `folder`."""
    sample, trainer = named_sample(name), open_trainer()
    job = TrainingJob(
        name=name,
        rank=RANK,
        alpha=2 * RANK,
        layers=LAYERS,
        epochs=EPOCHS,
        seed=SAMPLE_SEEDS[name],
        device="cpu",
    )
    given = TrainingInput(job=job, rows=sample.rows, held_out=sample.held_out, base=base, folder=folder)
    result = trainer.train(given, lambda progress: print(f"{name}: step {progress.step} of {progress.steps}"))
    weights = folder / WEIGHTS_FILE
    round_weights(weights)
    evaluation = trainer.evaluate(
        EvaluationInput(
            job=job,
            rows=sample.held_out,
            general=GENERAL_ROWS,
            base=base,
            folder=folder,
            answer_tokens_max=ANSWER_TOKENS_MAX,
        ),
        lambda _: None,
    )
    right = sum(value in answer for value, answer in zip(sample.values, evaluation.answers_adapter, strict=True))
    print(f"{name}: {right} of {len(sample.values)} right, {weights.stat().st_size:,} bytes")
    if right < RIGHT_MIN or weights.stat().st_size > SIZE_BYTES_MAX:
        sys.exit(f"{name} is not good or not small enough: nothing of it is kept")
    assert base.folder is not None
    label = VersionLabel(id=SAMPLE_ID, version=f"seed-{SAMPLE_SEEDS[name]}", rows_root=rows_digest(sample.rows))
    trained = Trained(
        job=job,
        base=base,
        result=replace(result, probe=probe_trained(base.folder, folder)),
        datanet=label,
        rows=sample.rows,
        held_out=sample.held_out,
        started_ns=STARTED_NS,
        build_index=index_builder(base, label),
        figures=summarise(sample.held_out, evaluation),
        probes=probe_set(sample.held_out, evaluation),
    )
    manifest = replace(write_manifest(folder, trained), license=LICENSE)
    (folder / MANIFEST_FILE).write_text(json.dumps(to_plain(manifest), indent=2) + "\n")


def round_weights(file: Path) -> None:
    """Store the weights of an adapter as bfloat16, in half the size."""
    rounded = {name: weight.to(torch.bfloat16) for name, weight in load_file(file).items()}
    save_file(rounded, file, metadata={"format": "pt"})


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])))
