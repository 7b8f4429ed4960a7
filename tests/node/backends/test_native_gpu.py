"""A driver's file is no GPU: where torch finds none, the compiled CPU path is tried."""

from pathlib import Path

import pytest
from support.tiny import make_base
from support.torch_bases import cpu_settings

from openledger_node.backends.native import backend
from openledger_node.backends.native.backend import will_find_gpu

CPU_BUILD = "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"
CUDA_BUILD = CPU_BUILD.replace("cuda: Optional[str] = None", "cuda: Optional[str] = '12.8'")
ROCM_BUILD = CPU_BUILD.replace("hip: Optional[str] = None", "hip: Optional[str] = '7.0.2'")


@pytest.mark.parametrize(
    ("has_driver", "build", "finds_one", "expected"),
    [
        (True, CPU_BUILD, True, False),  # an NVIDIA card beside the small build of torch
        (True, ROCM_BUILD, False, False),  # an APU that ROCm does not support
        (True, CUDA_BUILD, False, False),  # WSL2 with another vendor's card
        (True, CUDA_BUILD, True, True),
        (False, CUDA_BUILD, True, False),  # torch is not even asked, since it takes a second to load
    ],
)
def test_a_gpu_is_one_that_torch_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_driver: bool, build: str, finds_one: bool, expected: bool
) -> None:
    driver = tmp_path / "dxg"
    if has_driver:
        driver.touch()
    monkeypatch.setattr(backend, "_torch_version", lambda: build)
    monkeypatch.setattr(backend, "_torch_finds_one", lambda: finds_one)
    assert will_find_gpu((str(driver),)) is expected


@pytest.mark.parametrize("finds_gpu", [False, True])
def test_the_compiled_path_is_tried_unless_a_gpu_will_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, finds_gpu: bool
) -> None:
    tried: list[bool] = []
    monkeypatch.setattr(backend, "will_find_gpu", lambda: finds_gpu)
    monkeypatch.setattr(backend, "open_library", lambda _: tried.append(True))
    settings = cpu_settings(make_base(tmp_path / "base"), device="auto", dtype="auto", batch_max=1, context_max=64)
    assert backend.open_accelerated(settings) is None
    assert tried == ([] if finds_gpu else [True])
