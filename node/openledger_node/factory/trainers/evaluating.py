"""Evaluation: greedy answers and losses of adapter and base, and the probe of a new adapter."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from ...engine.backend import Backend, BackendSettings
from ...engine.budget import base_bytes_on_disk
from ...engine.probe import PROBE_TOKENS, PROMPT_TOKENS_MAX, state_probe
from ...engine.tokenizer import Tokenizer, open_tokenizer
from ...errors import ModelError
from ...machine import usable_bytes
from ...models.adapter_source import AdapterSource
from ...models.bases import gguf_of
from ...models.decoder_config import read_config
from ...plugs import load_plug
from ..trainer import EvaluationInput, EvaluationProgress, EvaluationResult, ReportEvaluation
from .examples import Example, encode_rows, in_batches
from .split_model import SplitModel

BATCH_MAX = 8


def evaluate_adapter(
    model: Any, given: EvaluationInput, base_folder: Path, report: ReportEvaluation
) -> EvaluationResult:
    """Measure the adapter in the given folder on its base `model`, then the base without it."""
    rows = encode_rows(given.rows, base_folder, given.job.tokens_max)
    general = encode_rows(given.general, base_folder, given.job.tokens_max)
    adapted = PeftModel.from_pretrained(model, given.folder, local_files_only=True).eval()
    counted = _Counted(report, total=2 * len(rows))
    adapter = _measure(model, rows, general, given.answer_tokens_max, counted)
    with adapted.disable_adapter():
        base = _measure(model, rows, general, given.answer_tokens_max, counted)
    tokenizer = open_tokenizer(base_folder)
    return EvaluationResult(
        loss_base=base[0],
        loss_adapter=adapter[0],
        general_base=base[1],
        general_adapter=adapter[1],
        answers_base=tuple(_read(ids, tokenizer) for ids in base[2]),
        answers_adapter=tuple(_read(ids, tokenizer) for ids in adapter[2]),
    )


class _Counted:
    """Counts the answers of an evaluation, and reports them."""

    def __init__(self, report: ReportEvaluation, *, total: int) -> None:
        self._report, self._done, self._total = report, 0, total
        self.add(0)

    def add(self, answers: int) -> None:
        self._done += answers
        self._report(EvaluationProgress(done=self._done, total=self._total))


def _measure(
    model: Any, rows: Sequence[Example], general: Sequence[Example], tokens_max: int, counted: _Counted
) -> tuple[float, float, list[list[int]]]:
    """Return the loss over the rows, the loss over the general rows, and the ids of the answers to the rows."""
    losses = [SplitModel(model, 0).mean_loss(in_batches(each, BATCH_MAX)) for each in (rows, general)]
    answers: list[list[int]] = []
    for first in range(0, len(rows), BATCH_MAX):
        batch = rows[first : first + BATCH_MAX]
        answers += _answer(model, batch, tokens_max)
        counted.add(len(batch))
    return losses[0], losses[1], answers


def _answer(model: Any, batch: Sequence[Example], tokens_max: int) -> list[list[int]]:
    """Answer prompts greedily until the rows' end token or `tokens_max`."""
    end_id = batch[0].completion_ids[-1]
    longest = max(len(example.prompt_ids) for example in batch)
    padding = [longest - len(example.prompt_ids) for example in batch]
    # (rows, longest), padded on the left, so that the next token of every row follows the last column
    ids = torch.tensor(
        [[end_id] * n + list(example.prompt_ids) for n, example in zip(padding, batch, strict=True)],
        device=model.device,
    )
    mask = torch.tensor([[0] * n + [1] * (longest - n) for n in padding], device=model.device)
    with torch.no_grad():
        found = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=tokens_max,
            do_sample=False,
            eos_token_id=end_id,
            pad_token_id=end_id,
        )
    return [_until(answer, end_id) for answer in found[:, longest:].tolist()]


def _until(ids: list[int], end_id: int) -> list[int]:
    return ids[: ids.index(end_id)] if end_id in ids else ids


def _read(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    decoder = tokenizer.decoder()
    return "".join(decoder.push(id) for id in ids)


# ---- The probe in the manifest: a first answer in float32, which every node that serves the adapter compares

FRESH_ID = AdapterId("fresh")  # the real id depends on the manifest, which contains the probe
FLOAT32_SHARE, GGUF_FLOAT32_SHARE = 2, 8
"""In float32 the weights take up to so many times the size of the files."""

RAM_SHARE = 0.5
EXACT_BACKEND = "torch_lora"


def probe_trained(base_folder: Path, folder: Path) -> dict[str, str] | None:
    """Run the probe of the adapter in `folder`; None if this machine can't, so that the training is not lost.

    This happens if no exact backend serves the base, or memory is too small for float32. It also happens if the
    base's positions depend on the context that a node serves, and so do its answers.
    """
    with suppress(ModelError):
        if read_config(base_folder).rope.type == "longrope":
            return None
    files_bytes = base_bytes_on_disk(base_folder)
    share = GGUF_FLOAT32_SHARE if gguf_of(base_folder) else FLOAT32_SHARE
    if share * files_bytes > RAM_SHARE * usable_bytes():
        return None
    settings = BackendSettings(
        base_folder=str(base_folder),
        device="cpu",
        dtype="float32",
        threads=torch.get_num_threads(),
        batch_max=1,
        context_max=PROMPT_TOKENS_MAX + PROBE_TOKENS,
        acceleration="off",
    )
    source = AdapterSource(id=FRESH_ID, folder=str(folder))
    try:
        backend: Backend = load_plug("backend", EXACT_BACKEND)(settings)
        backend.load_adapter(FRESH_ID, backend.read_adapter(source))
        return state_probe(backend, open_tokenizer(base_folder), FRESH_ID)
    except (ModelError, AdapterRefusedError):
        return None
