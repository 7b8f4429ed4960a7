"""What is PEFT's own; the rest is in the conformance suite."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from peft import PeftModel
from support.tiers import depth
from support.tiny import greedy, make_base, make_seeing_base
from support.torch_bases import ADAPTER, load, logits, open_backend, wanted_logits
from transformers import AutoModelForCausalLM

from openledger_node.engine.probe import PROBE_TOKENS
from openledger_node.engine.tokenizer import open_tokenizer
from openledger_node.errors import ModelError
from openledger_node.factory.job import Method, TrainingJob
from openledger_node.factory.trainer import TrainingInput, TrainingProgress, TrainingResult, Wish
from openledger_node.factory.trainers import peft_lora
from openledger_node.factory.trainers.peft_lora import choose_placement, open_trainer
from openledger_node.models.adapter_files.layout import read_layout
from openledger_node.models.adapters import artifact_digest
from openledger_node.models.bases import FAKE_BASE, Base, describe_folder
from openledger_node.models.decoder_config import read_config
from openledger_protocol.adapter import probe_digest

from .conftest import ROWS

JOB = TrainingJob(name="numbers", rank=2, layers=1, epochs=1, batch_size=8, device="cpu")


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return describe_folder(make_base(tmp_path / "tiny", num_hidden_layers=3))


def train(base: Base, folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    given = TrainingInput(job=replace(JOB, **changes), rows=ROWS, held_out=ROWS[:2], base=base, folder=folder)
    open_trainer().train(given, lambda _: None)
    return folder


@pytest.mark.parametrize(("layers", "adapted"), [(2, [1, 2]), (0, [0, 1, 2])])
def test_layers_are_counted_from_the_top(base: Base, tmp_path: Path, layers: int, adapted: list[int]) -> None:
    folder = train(base, tmp_path / "out", layers=layers)
    assert sorted({site.layer for site in read_layout(folder).sites}) == adapted
    assert json.loads((folder / "adapter_config.json").read_text())["layers_to_transform"] == adapted


def test_a_loss_that_is_no_number_stops_the_run(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lower the learning rate"):
        train(base, tmp_path / "out", learning_rate=1e30, epochs=3)


def test_a_base_that_cannot_be_loaded_is_named(base: Base, tmp_path: Path) -> None:
    (base.folder / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(ModelError, match="cannot load base tiny"):
        train(base, tmp_path / "out")
    with pytest.raises(ModelError, match="base 'fake' has no weights"):
        train(FAKE_BASE, tmp_path / "out2")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is refused")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="finds none"):
        choose_placement("cuda")


def test_what_it_writes_is_read_by_peft_and_states_what_peft_answers(base: Base, tmp_path: Path) -> None:
    given = begin(base, tmp_path / "out", epochs=1)
    probe = open_trainer().train(given, lambda _: None).probe
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(model, str(given.folder))
    prompt_ids = open_tokenizer(base.folder).render(probe["prompt"])
    assert probe["digest"] == probe_digest(probe["prompt"], greedy(adapted, prompt_ids, PROBE_TOKENS))


GEMMA = {"sliding_window": 9, "query_pre_attn_scalar": 20, "num_hidden_layers": 3}
FAMILIES: dict[str, dict[str, Any]] = {
    "gemma2": {"model_type": "gemma2", **GEMMA},
    "gemma3": {},  # with a part that takes images
    "phi3": {"model_type": "phi3", "sliding_window": 9, "num_hidden_layers": 3},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_each_family_is_served_as_peft_answers(family: str, tmp_path: Path) -> None:
    is_seeing = family == "gemma3"
    folder = make_seeing_base(tmp_path / "b") if is_seeing else make_base(tmp_path / "b", **FAMILIES[family])
    adapter = train(describe_folder(folder), tmp_path / "out", layers=2, learning_rate=0.05)
    sites = read_layout(adapter).sites
    assert {(site.layer, site.module) for site in sites} == set(product((1, 2), read_config(folder).site_dims))
    check_served(folder, adapter)


@pytest.mark.parametrize("method", ["rslora", "dora"])
def test_an_adapter_of_each_method_is_served_as_peft_answers(base: Base, tmp_path: Path, method: Method) -> None:
    adapter = train(base, tmp_path / "out", method=method, sites="attention,up_proj", layers=2, learning_rate=0.05)
    layout = read_layout(adapter)
    assert (layout.is_rslora, layout.is_dora) == (method == "rslora", method == "dora")
    assert {site.module for site in layout.sites} == {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj"}
    check_served(base.folder, adapter)


def check_served(folder: Path, adapter: Path) -> None:
    """Require that our backend's logits with the adapter are PEFT's, and others than the base's."""
    backend, model = open_backend(folder), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    load(backend, adapter)
    bare = wanted_logits(model)
    wanted = wanted_logits(PeftModel.from_pretrained(model, str(adapter)))
    assert torch.allclose(logits(backend, ADAPTER), wanted, atol=1e-4)
    assert not torch.allclose(wanted, bare, atol=1e-2)


def begin(base: Base, folder: Path, **changes: Any) -> TrainingInput:
    folder.mkdir()
    job = replace(JOB, **{"epochs": 4, **changes})
    checkpoint = folder.with_suffix(".pt")
    return TrainingInput(job=job, rows=ROWS, held_out=ROWS[:2], base=base, folder=folder, checkpoint=checkpoint)


class Killed(Exception):
    """Ends a process at this step, as a signal would: nothing is written any more."""


TEN_STEPS = {"epochs": 5, "batch_size": 12, "layers": 2, "rank": 2}


def train_killed(given: TrainingInput, kill_at: Sequence[int]) -> TrainingResult:
    """Train, be killed at these steps, and continue from the checkpoint each time."""
    kills = iter(kill_at)
    kill = next(kills, None)
    while True:

        def die(progress: TrainingProgress, at: int | None = kill) -> Wish | None:
            if progress.step == at:
                raise Killed
            return None

        try:
            return open_trainer().train(given, die)
        except Killed:
            kill = next(kills, None)


KILLED: list[dict[str, Any]] = [
    {"dropout": 0.5, "schedule": "linear", "weight_decay": 0.1, "method": "rslora"},
    {"quantisation": "int4", "method": "dora", "dropout": 0.5},
]


@pytest.mark.parametrize("changes", depth(light=KILLED[:1], deep=KILLED))
def test_a_run_that_is_killed_at_every_step_writes_the_bytes_of_one_that_never_was(
    base: Base, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peft_lora, "probe_trained", lambda *_: None)
    whole, cut = (begin(base, tmp_path / name, **{**TEN_STEPS, **changes}) for name in ("whole", "cut"))
    expected = open_trainer().train(replace(whole, checkpoint=None), lambda _: None)
    assert expected.steps == 10
    assert train_killed(cut, kill_at=range(11)) == expected
    assert artifact_digest(cut.folder) == artifact_digest(whole.folder)


def test_a_kill_in_the_middle_of_a_checkpoint_leaves_the_one_before(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, steps = begin(base, tmp_path / "out", **TEN_STEPS), list[int]()
    save, saved = torch.save, list[object]()

    def save_half(content: object, stream: BinaryIO) -> None:
        saved.append(content)
        if len(saved) == 3:
            stream.write(b"half")
            raise Killed
        save(content, stream)

    monkeypatch.setattr(peft_lora, "probe_trained", lambda *_: None)
    monkeypatch.setattr(torch, "save", save_half)
    with pytest.raises(Killed):
        open_trainer().train(given, lambda _: None)
    open_trainer().train(given, lambda progress: steps.append(progress.step))
    assert steps == list(range(2, 11))


def test_a_run_that_is_stopped_early_writes_what_it_has_and_measures_it(base: Base, tmp_path: Path) -> None:
    given = begin(base, tmp_path / "out")
    result = open_trainer().train(given, lambda progress: "keep" if progress.step == 5 else None)
    assert (result.steps, result.loss_after < result.loss_before) == (5, True)
    assert read_layout(given.folder).rank_max == 2
