"""A trainer without a model: it writes a tiny adapter drawn from the seed, and reports falling losses."""

import json
from array import array
from math import prod
from pathlib import Path
from random import Random

from ...models.adapter_files.layout import CONFIG_FILE, WEIGHTS_FILE
from ..job import TrainingJob, is_checkpoint, num_steps
from ..trainer import (
    EvaluationInput,
    EvaluationProgress,
    EvaluationResult,
    PausedError,
    Report,
    ReportEvaluation,
    TrainingInput,
    TrainingProgress,
    TrainingResult,
)

D_MODEL = 8
LOSS_BEFORE = 4.0
HALVINGS = 3
MEASURED = 10
"""Number of held-out losses to report, without that of the base."""

STEP_S = 0.01
MODULES = ("q_proj", "v_proj")
UNKNOWN = "I do not know."


def open_trainer() -> "FakeTrainer":
    """Open the fake trainer."""
    return FakeTrainer()


class FakeTrainer:
    """Learns nothing and takes no time."""

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        """Let the loss fall to an eighth, and write a valid adapter that fits no real base."""
        steps = num_steps(given.job, len(given.rows))
        first = int(given.checkpoint.read_text()) if given.checkpoint and given.checkpoint.exists() else 0
        for step in range(first, steps + 1):
            wish = report(_progress(step, steps, tokens_per_s=given.job.batch_size / STEP_S))
            if given.checkpoint and (wish == "pause" or is_checkpoint(step, steps)):
                _keep(given.checkpoint, step)
            if wish == "pause" and step < steps:
                raise PausedError
            if wish == "keep":
                break
        write_adapter(given.job, given.folder)
        return TrainingResult(steps=step, loss_before=LOSS_BEFORE, loss_after=_loss(step, steps))

    def evaluate(self, given: EvaluationInput, report: ReportEvaluation) -> EvaluationResult:
        """Answer every second row correctly with the adapter, and none with the base."""
        for done in range(2 * len(given.rows) + 1):
            report(EvaluationProgress(done=done, total=2 * len(given.rows)))
        return EvaluationResult(
            loss_base=LOSS_BEFORE,
            loss_adapter=LOSS_BEFORE / 4,
            general_base=2.0,
            general_adapter=2.125,
            answers_base=tuple(UNKNOWN for _ in given.rows),
            answers_adapter=tuple(row.completion if n % 2 == 0 else UNKNOWN for n, row in enumerate(given.rows)),
        )


def _progress(step: int, steps: int, *, tokens_per_s: float) -> TrainingProgress:
    loss = _loss(step, steps)
    return TrainingProgress(
        step=step,
        steps=steps,
        loss=loss if step else None,
        held_out_loss=loss if step * MEASURED // steps > (step - 1) * MEASURED // steps else None,
        time_left_s=(steps - step) * STEP_S,
        tokens_per_s=tokens_per_s,
    )


def _loss(step: int, steps: int) -> float:
    return LOSS_BEFORE / float(2 ** (HALVINGS * step / steps))


def _keep(checkpoint: Path, step: int) -> None:
    partial = checkpoint.with_suffix(".partial")
    partial.write_text(f"{step}")
    partial.replace(checkpoint)


def write_adapter(job: TrainingJob, folder: Path) -> None:
    """Write the adapter files."""
    config = {"peft_type": "LORA", "r": job.rank, "lora_alpha": job.alpha, "target_modules": list(MODULES)}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    (folder / WEIGHTS_FILE).write_bytes(_draw_weights(job))


def _draw_weights(job: TrainingJob) -> bytes:
    """Build a safetensors file: the length of the header, the header, then the float32 numbers of every tensor."""
    random, header, tensors, offset = Random(job.seed), {}, [], 0
    for key, shape in _shapes(job.rank).items():
        tensors.append(array("f", [random.uniform(-1, 1) for _ in range(prod(shape))]).tobytes())
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(tensors[-1])]}
        offset += len(tensors[-1])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(tensors)


def _shapes(rank: int) -> dict[str, list[int]]:
    prefix = "base_model.model.model.layers.0.self_attn"
    shapes = {}
    for module in MODULES:
        shapes[f"{prefix}.{module}.lora_A.weight"] = [rank, D_MODEL]
        shapes[f"{prefix}.{module}.lora_B.weight"] = [D_MODEL, rank]
    return shapes
