"""LoRA by PEFT on a transformers model: the upper layers learn, everything below them is frozen."""

import time
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from random import Random
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.optim import AdamW
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from ...errors import ModelError
from ...inference.peft_format import MODULES
from ..job import TrainingJob, learning_rate_at, num_steps
from ..trainer import Report, TrainingInput, TrainingProgress, TrainingResult
from .examples import Example, draw_batches, encode_rows, in_batches
from .split_model import SplitModel

GRADIENT_NORM_MAX = 1.0


def open_trainer() -> "PeftLoraTrainer":
    """Open the trainer; the base is loaded when a run starts and freed when it ends."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return PeftLoraTrainer()


class PeftLoraTrainer:
    """Trains on the GPU if there is one, else on the CPU."""

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        """Train as the socket says; the adapter is written in float32."""
        job, base = given.job, given.base
        if base.folder is None:
            raise ModelError(f"base {base.name!r} has no weights: choose another base, or the trainer `fake`")
        examples = encode_rows(given.rows, base.folder, job.tokens_max)
        measured = encode_rows(given.held_out, base.folder, job.tokens_max)
        torch.manual_seed(job.seed)
        model = load_base(base.name, base.folder, *choose_placement(job.device))
        first_adapted = max(0, model.config.num_hidden_layers - job.layers) if job.layers else 0
        adapted = adapt(model, job, first_adapted)
        weights = [weight for weight in adapted.parameters() if weight.requires_grad]
        result = Run(job, SplitModel(model, first_adapted), weights, examples, measured, report).run()
        save(adapted, given.folder)
        return result


def choose_placement(device_name: str) -> tuple[torch.device, torch.dtype]:
    """Where to train, and how the frozen weights are written: bfloat16 where the hardware multiplies it."""
    has_gpu = torch.cuda.is_available()
    if device_name == "cuda" and not has_gpu:
        raise ModelError('device is "cuda", but torch finds none: set it to "auto" or "cpu"')
    if device_name in ("auto", "cuda") and has_gpu:
        return torch.device("cuda"), torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.device("cpu"), torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def load_base(name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the frozen base.

    Raises:
        ModelError: transformers can't.
    """
    try:
        # NOTE: SplitModel passes no mask, which only this attention reads as causal.
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load base {name} from {folder}: {error}") from error
    model.name_or_path = name  # PEFT writes it down, and a path of this machine means nothing elsewhere
    return model.to(device).eval()  # eval: no dropout, so that a run can be repeated


def adapt(model: Any, job: TrainingJob, first_adapted: int) -> Any:
    """Put LoRA, in float32, beside every linear map of the layers from `first_adapted` on."""
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=job.rank,
        lora_alpha=job.alpha,
        target_modules=list(MODULES),
        layers_to_transform=list(range(first_adapted, model.config.num_hidden_layers)),
        layers_pattern="layers",
    )
    return get_peft_model(model, config)


def save(adapted: Any, folder: Path) -> None:
    """Write the adapter, the same bytes in every process: PEFT keeps the modules in a set, which has no order."""
    adapted.peft_config["default"].target_modules = list(MODULES)
    adapted.save_pretrained(folder, save_embedding_layers=False)


class Run:
    """One training: epochs of steps, and the held-out loss after each epoch."""

    def __init__(
        self,
        job: TrainingJob,
        model: SplitModel,
        weights: Sequence[nn.Parameter],
        examples: Sequence[Example],
        measured: Sequence[Example],
        report: Report,
    ) -> None:
        self._job = job
        self._model = model
        self._weights = weights
        self._examples = examples
        self._measured = measured
        self._report = report
        self._optimizer = AdamW(weights, weight_decay=0.0)
        self._steps = num_steps(job, len(examples))
        self._started_s = time.monotonic()

    def run(self) -> TrainingResult:
        """Train, and report every step.

        Raises:
            ModelError: the loss is no number any more.
        """
        loss_before = loss_after = self._measure()
        self._tell(0, None, loss_before)
        self._started_s = time.monotonic()
        for step, (batch, ends_epoch) in enumerate(self._schedule(), 1):
            loss = self._learn(batch, step)
            if ends_epoch:
                loss_after = self._measure()
            self._tell(step, loss, loss_after if ends_epoch else None)
        return TrainingResult(steps=self._steps, loss_before=loss_before, loss_after=loss_after)

    def _schedule(self) -> Iterator[tuple[list[Example], bool]]:
        """The batch of every step, and whether an epoch ends with it."""
        random = Random(self._job.seed)
        for _ in range(self._job.epochs):
            *batches, last = draw_batches(self._examples, self._job.batch_size, random)
            yield from ((batch, False) for batch in batches)
            yield last, True

    def _learn(self, batch: list[Example], step: int) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate_at(self._job, step, self._steps)
        loss = self._model.token_losses(batch).mean()
        if not isfinite(loss.item()):
            raise ModelError(f"the loss diverged at step {step}: lower the learning rate")
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._weights, GRADIENT_NORM_MAX)
        self._optimizer.step()
        return loss.item()

    def _measure(self) -> float:
        return self._model.mean_loss(in_batches(self._measured, self._job.batch_size))

    def _tell(self, step: int, loss: float | None, held_out_loss: float | None) -> None:
        elapsed_s = time.monotonic() - self._started_s
        self._report(
            TrainingProgress(
                step=step,
                steps=self._steps,
                loss=loss,
                held_out_loss=held_out_loss,
                time_left_s=elapsed_s / step * (self._steps - step) if step else None,
            )
        )
