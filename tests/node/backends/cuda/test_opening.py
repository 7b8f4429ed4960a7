"""The GPU path opens only where its kernels are right; else one sentence says why, and torch serves."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import make_base
from support.torch_bases import cpu_settings

from openledger_node import card
from openledger_node.backends.cuda import backend, opening, selfcheck
from openledger_node.backends.cuda.opening import open_accelerated
from openledger_node.backends.torch_lora import placement as placements
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.card import Trouble, missing_for_kernels
from openledger_node.engine.backend import BackendSettings
from openledger_node.errors import DeviceError

pytestmark = pytest.mark.usefixtures("opened")

CARD = Placement(torch.device("meta"), torch.float16)  # stands for a card, which this test has not


@pytest.fixture
def settings(tmp_path: Path) -> BackendSettings:
    base = make_base(tmp_path / "base")
    return cpu_settings(
        base, device="auto", dtype="auto", batch_max=1, context_max=64, cache_folder=str(tmp_path / "cache")
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Placement]:
    """A machine with a card and all that its kernels need; the list has the cards on which a base was loaded."""
    found: list[Placement] = []
    monkeypatch.setattr(opening, "will_find_gpu", lambda: True)
    monkeypatch.setattr(opening, "missing_for_kernels", lambda: None)
    monkeypatch.setattr(placements, "choose_placement", lambda *_: CARD)
    monkeypatch.setattr(selfcheck, "fault_on_card", lambda *_: "")
    monkeypatch.setattr(backend, "CudaBackend", lambda _, placement: found.append(placement) or "opened")
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    monkeypatch.delenv("TRITON_CACHE_DIR")
    return found


def test_a_card_with_right_kernels_is_used_and_they_are_kept_in_the_data_directory(
    settings: BackendSettings, opened: list[Placement]
) -> None:
    assert open_accelerated(settings) == "opened"
    assert opened == [CARD]
    assert os.environ["TRITON_CACHE_DIR"] == f"{settings.cache_folder}/kernels"


@pytest.mark.parametrize(
    ("changes", "model_type"),
    [({"acceleration": "off"}, ""), ({"device": "cpu"}, ""), ({"base_folder": None}, ""), ({}, "mamba")],
)
def test_other_settings_and_architectures_leave_the_kernels_alone(
    settings: BackendSettings, opened: list[Placement], tmp_path: Path, changes: dict[str, Any], model_type: str
) -> None:
    if model_type:
        (tmp_path / "base" / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    assert open_accelerated(replace(settings, **changes)) is None
    assert opened == []


def test_what_is_missing_is_said_with_its_fix_and_nothing_is_loaded(
    settings: BackendSettings,
    opened: list[Placement],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(opening, "missing_for_kernels", lambda: Trouble("there is no C compiler", "install gcc"))
    assert open_accelerated(settings) is None
    assert opened == []
    assert "without the node's own kernels (there is no C compiler), more slowly: install gcc" in caplog.text


def test_a_base_that_does_not_fit_the_card_is_an_error_and_not_a_reason_to_try_torch(
    settings: BackendSettings, opened: list[Placement], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(backend, "CudaBackend", full)
    with pytest.raises(DeviceError, match="do not fit the device"):
        open_accelerated(settings)


# ---- What the kernels need.


LACKS: dict[str, tuple[Any, str, Any, str]] = {
    "another system": (sys, "platform", "win32", "no build for win32"),
    "no Triton": (card, "find_spec", lambda _: None, "Triton is not installed"),
    "an old Triton": (card, "_triton_version", lambda: (3, 2), "Triton 3.2 is too old"),
    "no compiler": (card.shutil, "which", lambda _: None, "no C compiler"),
    "no headers": (card, "get_paths", lambda: {"include": "/nowhere"}, "header files are not installed"),
}


def test_a_node_with_a_card_runs_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    trouble = missing_for_kernels()
    assert "TRITON_INTERPRET" in trouble.found


@pytest.mark.parametrize("lack", LACKS)
def test_what_a_machine_lacks_for_the_kernels_is_named_with_a_remedy(
    lack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(card.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(card, "get_paths", lambda: {"include": str(tmp_path)})
    assert missing_for_kernels() is None
    owner, name, instead, found = LACKS[lack]
    monkeypatch.setattr(owner, name, instead)
    trouble = missing_for_kernels()
    assert found in trouble.found
    assert trouble.fix
