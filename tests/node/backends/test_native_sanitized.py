"""The compiled step's self-check in a build with AddressSanitizer and UBSan, for both of its kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openledger_node.backends.native import build

SANITIZE = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
EMULATION = Path(__file__).parents[2] / "support" / "amx_emulation.h"
KERNELS = {"avx512": ("-mno-amx-tile", "-mno-amx-bf16"), "amx": ("-include", str(EMULATION))}
TIMEOUT_S = 300


def runtime() -> str | None:
    """The file of GCC's AddressSanitizer, if it is installed."""
    compiler = build.find_compiler()
    if compiler is None or not compiler.endswith("g++"):
        return None
    asked = [compiler, "-print-file-name=libasan.so"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return found if Path(found).is_absolute() else None


is_possible = build.processor_flags() >= build.FLAGS_WANTED and runtime() is not None
why = "needs a processor with AVX512-BF16, and GCC with its sanitizers"
pytestmark = [pytest.mark.process, pytest.mark.skipif(not is_possible, reason=why)]


def run_check(folder: Path, kernel: str, source: dict[str, bytes]) -> subprocess.CompletedProcess[str]:
    """Build the step with sanitizers and run its self-check."""
    compiler, asan = build.find_compiler(), runtime()
    assert compiler
    assert asan
    for name, content in source.items():
        (folder / name).write_bytes(content)
    options = [option for option in build.OPTIONS if option != "-O3"]
    file = folder / "engine.so"
    command = [compiler, *options, *SANITIZE, *KERNELS[kernel], str(folder / "engine.cpp"), "-o", str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    # NOTE: Python itself leaks by ASan's rules, since it ends without freeing.
    environment = {**os.environ, "LD_PRELOAD": asan, "ASAN_OPTIONS": "detect_leaks=0"}
    check = [sys.executable, "-m", "openledger_node.backends.native.selfcheck", str(file)]
    return subprocess.run(check, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


@pytest.mark.parametrize(
    "kernel",
    ["avx512", pytest.param("amx", marks=pytest.mark.deep(reason="avx512 runs all but the tiles themselves"))],
)
def test_the_self_check_touches_no_memory_that_is_not_its_own(kernel: str, tmp_path: Path) -> None:
    run = run_check(tmp_path, kernel, build.read_source())
    assert run.returncode == 0, run.stderr
