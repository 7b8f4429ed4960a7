"""LoRA with PEFT on a transformers model: the upper layers are trained, the rest is frozen."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import isfinite
from pathlib import Path
from pickle import UnpicklingError
from random import Random
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.optim import AdamW
from transformers.utils import logging

from ...errors import ModelError
from ...models.adapter_files.layout import MODULES
from ...models.bases import hub_name
from ...models.causal_lm import open_causal_lm
from ...models.decoder_config import OtherDecoderError, read_config
from ..estimate import recomputes
from ..job import ALL_SITES, Quantisation, TrainingJob, choose_sites, is_checkpoint, learning_rate_at, num_steps
from ..trainer import (
    EvaluationInput,
    EvaluationResult,
    PausedError,
    Report,
    ReportEvaluation,
    TrainingInput,
    TrainingProgress,
    TrainingResult,
    Wish,
)
from .evaluating import evaluate_adapter, probe_trained
from .examples import Example, draw_batches, encode_rows, in_batches
from .narrow_base import open_narrow_base
from .split_model import SplitModel, text_model

GRADIENT_NORM_MAX = 1.0

DROPOUT = "lora_dropout"


def open_trainer() -> "PeftLoraTrainer":
    """Open the trainer. It loads the base when a run starts, and frees it when the run ends."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return PeftLoraTrainer()


class PeftLoraTrainer:
    """Trains on the GPU if there is one, else on the CPU."""

    def train(self, given: TrainingInput, report: Report) -> TrainingResult:
        """Train as `Trainer.train` describes; the adapter is written in float32."""
        job, base = given.job, given.base
        if base.folder is None:
            raise ModelError(f"base {base.name!r} has no weights: choose another base, or the trainer `fake`")
        examples = encode_rows(given.rows, base.folder, job.tokens_max)
        measured = encode_rows(given.held_out, base.folder, job.tokens_max)
        torch.manual_seed(job.seed)
        name = hub_name(base) or base.name
        model = load_base(name, base.folder, *choose_placement(job.device), job.quantisation)
        num_layers = len(text_model(model).layers)
        first_adapted = max(0, num_layers - job.layers) if job.layers else 0
        targets = choose_targets(model, base.folder, first_adapted, job.sites)
        adapted = adapt(model, job, targets)
        groups = (*in_batches(measured, job.batch_size), *in_batches(examples, job.batch_size))
        split = SplitModel(model, first_adapted, groups, recomputes=recomputes(job))
        result = Run(job, split, Trained(adapted), examples, measured, report, given.checkpoint).run()
        save(adapted, given.folder, targets)
        del model, adapted, split  # free memory, because the probe loads the base again, in float32
        return replace(result, probe=probe_trained(base.folder, given.folder))

    def evaluate(self, given: EvaluationInput, report: ReportEvaluation) -> EvaluationResult:
        """Evaluate as `Trainer.evaluate` describes, on the device that trains."""
        base = given.base
        if base.folder is None:
            raise ModelError(f"base {base.name!r} has no weights: choose another base, or the trainer `fake`")
        model = load_base(base.name, base.folder, *choose_placement(given.job.device), given.job.quantisation)
        return evaluate_adapter(model, given, base.folder, report)


def choose_placement(device_name: str) -> tuple[torch.device, torch.dtype]:
    """Choose the device, and the format of the frozen weights: bfloat16 if the hardware multiplies it."""
    has_gpu = torch.cuda.is_available()
    if device_name == "cuda" and not has_gpu:
        raise ModelError('device is "cuda", but torch finds none: set it to "auto" or "cpu"')
    if device_name in ("auto", "cuda") and has_gpu:
        return torch.device("cuda"), torch.bfloat16 if torch.cuda.is_bf16_supported(
            including_emulation=False
        ) else torch.float32
    return torch.device("cpu"), torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def load_base(
    name: str, folder: Path, device: torch.device, dtype: torch.dtype, quantisation: Quantisation = "none"
) -> Any:
    """Load the frozen base, wide or in 4 bits.

    Raises:
        ModelError: transformers can't load it, or the engine does not read it in 4 bits.
    """
    try:
        is_narrow = quantisation != "none"
        model: Any = open_narrow_base(folder, device, dtype) if is_narrow else open_causal_lm(folder, dtype)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:  # as transformers raises them
        raise ModelError(f"cannot load base {name} from {folder}: {error}") from error
    model.name_or_path = name  # PEFT writes it into the files, and a local path means nothing elsewhere
    return model.to(device).eval()  # eval disables dropout, so that a run can be repeated


def choose_targets(model: Any, folder: Path, first_adapted: int, sites: str = ALL_SITES) -> dict[str, Any]:
    """PEFT's settings for the chosen linear maps of the text layers from `first_adapted` on."""
    try:
        modules = list(choose_sites(sites, read_config(folder).site_dims))
    except OtherDecoderError:
        modules = list(choose_sites(sites, MODULES))
    layers = list(range(first_adapted, len(text_model(model).layers)))
    if text_model(model) is model.model:
        return {"target_modules": modules, "layers_to_transform": layers, "layers_pattern": "layers"}
    # The layers that see images have maps of the same names, and PEFT takes no list of layers beside a pattern.
    chosen, named = ("|".join(map(str, each)) for each in (layers, modules))
    return {"target_modules": rf".*language_model\.layers\.({chosen})\..*\.({named})"}


def adapt(model: Any, job: TrainingJob, targets: dict[str, Any]) -> Any:
    """Add LoRA in float32 to the chosen linear maps."""
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=job.rank,
        lora_alpha=job.alpha,
        lora_dropout=job.dropout,
        use_rslora=job.method == "rslora",
        use_dora=job.method == "dora",
        **targets,
    )
    return get_peft_model(model, config)


def save(adapted: Any, folder: Path, targets: dict[str, Any]) -> None:
    """Write the adapter with the same bytes in every process; PEFT keeps the modules in a set, which has no order."""
    adapted.peft_config["default"].target_modules = targets["target_modules"]
    adapted.save_pretrained(folder, save_embedding_layers=False)


class Trained:
    """The part of an adapted model that learns."""

    def __init__(self, adapted: Any) -> None:
        self.weights: list[nn.Parameter] = [weight for weight in adapted.parameters() if weight.requires_grad]
        self._dropouts: list[nn.Module] = [
            module for name, module in adapted.named_modules() if name.endswith(f".{DROPOUT}.default")
        ]

    def drop_out(self, *, is_on: bool, seed: int) -> None:
        """Turn the dropout on or off. Each step has a seed of its own, so that a later process draws the same."""
        if any(isinstance(module, nn.Dropout) for module in self._dropouts):
            torch.manual_seed(seed)
            for module in self._dropouts:
                module.train(is_on)


class Run:
    """One training: epochs of steps, the held-out loss after each epoch, and checkpoints."""

    def __init__(
        self,
        job: TrainingJob,
        model: SplitModel,
        trained: Trained,
        examples: Sequence[Example],
        measured: Sequence[Example],
        report: Report,
        checkpoint: Path | None = None,
    ) -> None:
        self._job = job
        self._model = model
        self._trained = trained
        self._weights = trained.weights
        self._examples = examples
        self._measured = measured
        self._report = report
        self._checkpoint = checkpoint
        self._optimizer = AdamW(trained.weights, weight_decay=job.weight_decay)
        self._steps = num_steps(job, len(examples))
        self._loss_before = self._loss_after = 0.0
        self._first_step = self._num_tokens = 0
        self._started_s = time.monotonic()

    def run(self) -> TrainingResult:
        """Train, and report every step.

        Raises:
            PausedError: the owner asked for a pause, and a checkpoint is written.
            ModelError: the loss diverged.
        """
        if not self._go_on():
            self._loss_before = self._loss_after = self._measure()
        wish = self._tell(self._first_step, None, None if self._first_step else self._loss_before)
        self._started_s = time.monotonic()
        step = self._first_step
        schedule = islice(enumerate(self._schedule(), 1), self._first_step, None)
        while wish != "keep" and (scheduled := next(schedule, None)):
            self._leave_if(wish, step)
            step, (batch, ends_epoch) = scheduled
            loss = self._learn(batch, step)
            if ends_epoch:
                self._loss_after = self._measure()
            wish = self._tell(step, loss, self._loss_after if ends_epoch else None)
            if is_checkpoint(step, self._steps):
                self._keep(step)
        if step < self._steps:
            self._loss_after = self._measure()
        return TrainingResult(steps=step, loss_before=self._loss_before, loss_after=self._loss_after)

    def _go_on(self) -> bool:
        """Load the checkpoint, and return True if there is one."""
        found = _read_checkpoint(self._checkpoint, self._weights) if self._checkpoint else None
        if found is None:
            return False
        self._optimizer.load_state_dict(found.optimizer)
        self._first_step = found.step
        self._loss_before, self._loss_after = found.loss_before, found.loss_after
        return True

    def _leave_if(self, wish: Wish | None, step: int) -> None:
        if wish == "pause" and self._checkpoint:
            self._keep(step)
            raise PausedError

    def _keep(self, step: int) -> None:
        if self._checkpoint:
            kept = Checkpoint(
                step=step,
                loss_before=self._loss_before,
                loss_after=self._loss_after,
                optimizer=self._optimizer.state_dict(),
            )
            _write_checkpoint(self._checkpoint, kept, self._weights)

    def _schedule(self) -> Iterator[tuple[list[Example], bool]]:
        """Yield the batch of every step, with True for the last one of an epoch."""
        random = Random(self._job.seed)
        for _ in range(self._job.epochs):
            *batches, last = draw_batches(self._examples, self._job.batch_size, random)
            yield from ((batch, False) for batch in batches)
            yield last, True

    def _learn(self, batch: list[Example], step: int) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate_at(self._job, step, self._steps)
        self._trained.drop_out(is_on=True, seed=self._job.seed << 32 | step)
        loss = self._model.token_losses(batch).mean()
        if not isfinite(loss.item()):
            raise ModelError(f"the loss diverged at step {step}: lower the learning rate")
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._weights, GRADIENT_NORM_MAX)
        self._optimizer.step()
        self._num_tokens += sum(len(example.ids) for example in batch)
        return loss.item()

    def _measure(self) -> float:
        self._trained.drop_out(is_on=False, seed=self._job.seed)
        return self._model.mean_loss(in_batches(self._measured, self._job.batch_size))

    def _tell(self, step: int, loss: float | None, held_out_loss: float | None) -> Wish | None:
        elapsed_s, made = time.monotonic() - self._started_s, step - self._first_step
        return self._report(
            TrainingProgress(
                step=step,
                steps=self._steps,
                loss=loss,
                held_out_loss=held_out_loss,
                time_left_s=elapsed_s / made * (self._steps - step) if made else None,
                tokens_per_s=self._num_tokens / elapsed_s if made else None,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """State of a training without its weights; a training that continues from it writes the same bits."""

    step: int
    loss_before: float
    loss_after: float  # newest held-out loss
    optimizer: dict[str, Any]


def _write_checkpoint(file: Path, checkpoint: Checkpoint, weights: Sequence[nn.Parameter]) -> None:
    """Write a checkpoint atomically, even in a power cut."""
    content = {
        "step": checkpoint.step,
        "loss_before": checkpoint.loss_before,
        "loss_after": checkpoint.loss_after,
        "optimizer": checkpoint.optimizer,
        "weights": [weight.detach() for weight in weights],
    }
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def _read_checkpoint(file: Path, weights: Sequence[nn.Parameter]) -> Checkpoint | None:
    """Restore the weights; return None if there is no checkpoint, or it is of another adapter."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        kept = content.pop("weights")
        if [each.shape for each in kept] != [weight.shape for weight in weights]:
            return None
        checkpoint = Checkpoint(**content)
    except (OSError, UnpicklingError, RuntimeError, KeyError, TypeError, EOFError):
        return None  # missing or damaged, so the run starts from the beginning
    with torch.no_grad():
        for weight, value in zip(weights, kept, strict=True):
            weight.copy_(value)
    return checkpoint
