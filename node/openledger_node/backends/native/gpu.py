"""Whether torch will find a GPU here, without loading torch where it certainly won't."""

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

DRIVER_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of NVIDIA's driver, AMD's and WSL2's. An APU has the second, WSL2 the third on any GPU, so neither says enough."""

_GPU_BUILD = re.compile(r"^(cuda|hip)\b[^=]*= *['\"]", re.MULTILINE)


def will_find_gpu(driver_files: Iterable[str] = DRIVER_FILES) -> bool:
    """Return True if torch finds a GPU; it is asked only if a driver is here and its build supports one."""
    return any(Path(file).exists() for file in driver_files) and is_gpu_build(_torch_version()) and _torch_finds_one()


def is_gpu_build(version_file: str) -> bool:
    """Return True if the content of torch's version.py names a version of CUDA or HIP."""
    return _GPU_BUILD.search(version_file) is not None


def _torch_version() -> str:
    found = find_spec("torch")
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    return file.read_text() if file and file.exists() else ""


def _torch_finds_one() -> bool:
    import torch

    return torch.cuda.is_available()
