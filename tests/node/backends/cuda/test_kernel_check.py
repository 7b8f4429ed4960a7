"""The self-check of the kernels: right ones serve, wrong ones leave the base to plain torch, and one sentence why."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import make_base
from torch import Tensor

from openledger_node.backends import torch_lora
from openledger_node.backends.cuda import decoder, opening
from openledger_node.backends.cuda import selfcheck as kernel_check
from openledger_node.backends.cuda.backend import CudaBackend
from openledger_node.backends.torch_lora import selfcheck
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.backends.torch_lora.chosen_base import choose_base
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.kernel_verdict import read_verdict

CPU = torch.device("cpu")
FEW = ({"one": 3, "other": 2}, {"one": 1, "bare": 1})


@pytest.fixture(autouse=True)
def small_check(monkeypatch: pytest.MonkeyPatch, fewer_programs: None) -> None:
    """Two steps are enough on the interpreter, which runs one program after the other."""
    monkeypatch.setattr(
        selfcheck, "SEQUENCES", {name: selfcheck.SEQUENCES[name] for name in ("one", "other", "bare")}
    )
    monkeypatch.setattr(selfcheck, "PIECES", FEW)


def wrong_attention(right: Any) -> Any:
    """Scores are scaled twice."""
    return lambda *inputs, scale, **rest: right(*inputs, scale=scale**2, **rest)


def wrong_expand(right: Any) -> Any:
    """The last row of a segment gets no adapter."""

    def expand(low: Tensor, arena: Any, segments: Tensor, *inputs: Any, **rest: Any) -> None:
        right(low, arena, segments - torch.tensor([0, 1, 0], dtype=torch.int32), *inputs, **rest)

    return expand


# ---- The engine's start.


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackendSettings:
    """Of a machine that seems to have a card; what it computes, it computes on the interpreter."""
    monkeypatch.setattr(opening, "will_find_gpu", lambda: True)
    monkeypatch.setattr(opening, "missing_for_kernels", lambda: None)
    monkeypatch.setattr(torch_lora, "open_native", lambda _: None, raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "compiled"))
    base = make_base(tmp_path / "base", num_hidden_layers=1)
    given: dict[str, Any] = {"dtype": "float32", "threads": 1, "batch_max": 2, "context_max": 64}
    return BackendSettings(
        base_folder=str(base), cache_folder=str(tmp_path), device="auto", adapter_bytes=1 << 20, **given
    )


def run_here(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Let the check run in this process, where a test can make a mistake; returns the runs so far."""
    runs: list[tuple[str, ...]] = []

    def run_check(*arguments: str) -> str:
        runs.append(arguments)
        try:
            kernel_check.main(*arguments)
        except SystemExit as ended:
            return str(ended.code)
        return ""

    monkeypatch.setattr(kernel_check, "run_check", run_check)
    return runs


def test_right_kernels_serve_and_are_checked_once(
    settings: BackendSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = run_here(monkeypatch)
    for _ in range(2):
        opened = opening.open_accelerated(settings)
        assert isinstance(opened, CudaBackend)
        assert opened.profile.kernel == "triton"
    assert [arguments[1:] for arguments in runs] == [("cpu", "float32", "none")]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "mistake",
    [(decoder.attention, "attend", wrong_attention), (decoder.lora, "expand", wrong_expand)],
    ids=["attention", "expand"],
)
def test_wrong_kernels_leave_the_base_to_plain_torch_with_one_sentence_why(
    settings: BackendSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mistake: Any
) -> None:
    run_here(monkeypatch)
    module, name, wrong = mistake
    monkeypatch.setattr(module, name, wrong(getattr(module, name)))
    opened = torch_lora.open_backend(settings)
    assert isinstance(opened, TorchLoraBackend)
    assert opened.profile.kernel == "torch"
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "without the node's own kernels (they compute wrong numbers in torch.float32 (error" in warning
    verdict = read_verdict(Path(settings.cache_folder or ""))
    assert verdict
    assert "wrong numbers" in verdict.fault


def test_another_version_is_checked_again_and_so_is_a_fault(
    settings: BackendSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, placement = ["wrong", "", "wrong"], Placement(CPU, torch.float32)
    monkeypatch.setattr(kernel_check, "run_check", lambda *_: faults.pop(0))
    found = []
    for triton in ("3.7.1", "3.7.1", "3.7.1", "3.8.0"):
        monkeypatch.setattr(kernel_check.triton, "__version__", triton)
        found.append(kernel_check.fault_on_card(choose_base(settings, placement), placement))
    assert found == ["wrong", "", "", "wrong"], "the third is known"


@pytest.mark.process
def test_the_check_in_a_process_of_its_own_says_what_went_wrong(tmp_path: Path) -> None:
    missing = kernel_check.run_check(str(tmp_path / "none"), "cpu", "float32", "none")
    assert "none" in missing
    assert "config.json" in missing
    slow = kernel_check.run_check(str(tmp_path), "cpu", "float32", "none", timeout_s=0.01)
    assert slow == "their self-check did not end within 0 s"
