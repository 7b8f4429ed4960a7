"""The part of a model that learns, and its checkpoints: a training that continues from one writes the same bits."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

DROPOUT = "lora_dropout"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """State of a training without its weights."""

    step: int
    loss_before: float
    loss_after: float  # newest held-out loss
    optimizer: dict[str, Any]


def write_checkpoint(file: Path, checkpoint: Checkpoint, weights: Sequence[nn.Parameter]) -> None:
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


def read_checkpoint(file: Path, weights: Sequence[nn.Parameter]) -> Checkpoint | None:
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
