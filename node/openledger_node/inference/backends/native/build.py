"""Building the compiled step, once for a machine: where it has a compiler and a processor that gains from it."""

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from .library import Library

FLAGS_WANTED = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}
COMPILERS = ("g++", "c++", "clang++")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
COMPILE_TIMEOUT_S = 300.0
CHECK_TIMEOUT_S = 60.0

log = logging.getLogger(__name__)


def open_library(cache_folder: Path) -> Library | None:
    """Open the step as built for this machine, building it at the first start; None where that can't be had."""
    flags = processor_flags()
    compiler = find_compiler()
    if platform.machine() != "x86_64" or not flags >= FLAGS_WANTED or compiler is None:
        return None
    source = files(__package__).joinpath("engine.cpp").read_bytes()
    made_of = source + " ".join([*OPTIONS, compiler, *sorted(flags)]).encode()
    file = cache_folder / f"engine-{hashlib.sha256(made_of).hexdigest()[:16]}.so"
    if not file.exists() and not _build(compiler, source, file):
        return None
    try:
        return Library(file)
    except OSError as error:  # a file system that nothing may be run from
        log.warning("the compiled CPU path can't be loaded (%s): plain torch is used", error)
        return None


def processor_flags() -> set[str]:
    """What the processor can do, in Linux's words; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def find_compiler() -> str | None:
    """`$CXX`, or the first that is installed."""
    chosen = os.environ.get("CXX")
    return shutil.which(chosen) if chosen else next(filter(None, map(shutil.which, COMPILERS)), None)


def _build(compiler: str, source: bytes, file: Path) -> bool:
    """Compile, try the result out in a process of its own, and only then give it its name."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=file.parent) as folder:
        code, built = Path(folder) / "engine.cpp", Path(folder) / file.name
        code.write_bytes(source)
        check = [sys.executable, "-m", f"{__package__}.selfcheck", str(built)]
        is_good = _run([compiler, *OPTIONS, str(code), "-o", str(built)], COMPILE_TIMEOUT_S) and _run(
            check, CHECK_TIMEOUT_S
        )
        if is_good:
            built.replace(file)
    return is_good


def _run(command: list[str], timeout_s: float) -> bool:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("the compiled CPU path can't be built (%s): plain torch is used", error)
        return False
    if run.returncode != 0:
        reason = reason_of(run.stderr) or f"status {run.returncode}"
        log.warning("the compiled CPU path can't be built (%s): plain torch is used", reason)
    return run.returncode == 0


def reason_of(stderr: str) -> str:
    """The line that says what went wrong: the first that speaks of an error, else the last."""
    lines = stderr.strip().splitlines()
    return next((line.strip() for line in lines if "error" in line.lower()), lines[-1] if lines else "")
