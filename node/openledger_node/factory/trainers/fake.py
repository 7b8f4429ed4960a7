"""A trainer without a model: a tiny adapter drawn from the seed, and losses that fall as they should."""

import json
from array import array
from math import prod
from random import Random

from ...inference.peft_format import CONFIG_FILE, WEIGHTS_FILE
from ..job import TrainingJob, num_steps
from ..trainer import Report, TrainingInput, TrainingProgress, TrainingResult

D_MODEL = 8
LOSS_BEFORE = 4.0
STEP_S = 0.01
MODULES = ("q_proj", "v_proj")


def open_trainer() -> "FakeTrainer":
    """Open the fake."""
    return FakeTrainer()


class FakeTrainer:
    """Learns nothing, in no time."""

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        """Halve the loss every step and write a sound adapter that fits no real base."""
        job, folder = given.job, given.folder
        steps = num_steps(job, len(given.rows))
        for step in range(steps + 1):
            loss = LOSS_BEFORE * 0.5**step
            report(
                TrainingProgress(
                    step=step,
                    steps=steps,
                    loss=loss if step else None,
                    held_out_loss=loss if step in (0, steps) else None,
                    time_left_s=(steps - step) * STEP_S,
                )
            )
        config = {"peft_type": "LORA", "r": job.rank, "lora_alpha": job.alpha, "target_modules": list(MODULES)}
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        (folder / WEIGHTS_FILE).write_bytes(_draw_weights(job))
        return TrainingResult(steps=steps, loss_before=LOSS_BEFORE, loss_after=loss)


def _draw_weights(job: TrainingJob) -> bytes:
    """A safetensors file: the header's length, the header, then every tensor's float32 numbers."""
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
