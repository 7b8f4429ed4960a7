"""Building the compiled step, once for a machine: where it has a compiler and a processor that gains from it."""

import contextlib
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path

from openledger_node.models.packed_cache import claimed, clear_leftovers

from .library import Library

FLAGS_WANTED = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}
COMPILERS = ("g++", "c++", "clang++")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
COMPILE_TIMEOUT_S = 300.0
CHECK_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 10.0
BUILD_PREFIX = ".build-"
SEAL_BYTES = 32  # of a SHA-256

log = logging.getLogger(__name__)


def open_library(cache_folder: Path) -> Library | None:
    """Open the step as built for this machine, building it at the first start; None where that can't be had."""
    flags = processor_flags()
    compiler = find_compiler()
    if platform.machine() != "x86_64" or not flags >= FLAGS_WANTED or compiler is None:
        return None
    source = files(__package__).joinpath("engine.cpp").read_bytes()
    try:
        file = cache_folder / library_name(source, compiler, flags)
        if (kept := _open_kept(file)) is not None:
            return kept
        return Library(file) if _build(compiler, source, file) else None
    except OSError as error:  # a full disk, or a folder that is not ours, or that nothing may be run from
        log.warning("the compiled CPU path can't be kept in %s (%s): plain torch is used", cache_folder, error)
        return None


def library_name(source: bytes, compiler: str, flags: Collection[str]) -> str:
    """The name of what is built: another one after a change of source, compiler, C library or processor."""
    made_with = [*OPTIONS, compiler, _version(compiler), " ".join(platform.libc_ver()), *sorted(flags)]
    return f"engine-{hashlib.sha256(source + ' '.join(made_with).encode()).hexdigest()[:16]}.so"


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


def _version(compiler: str) -> str:
    """What a compiler says of itself; nothing where it can't be asked, which its first build will tell."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run([compiler, "--version"], capture_output=True, check=False, timeout=ASK_TIMEOUT_S)
        return asked.stdout.decode(errors="replace")
    return ""


def _open_kept(file: Path) -> Library | None:
    """What was built before; None if there is none, or it was damaged since and is deleted."""
    if not file.exists():
        return None
    with contextlib.suppress(OSError):
        if is_sealed(file):
            return Library(file)
    file.unlink(missing_ok=True)
    return None


def _build(compiler: str, source: bytes, file: Path) -> bool:
    """Compile, try the result out in a process of its own, and only then give it its name."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    clear_leftovers(file.parent, f"{BUILD_PREFIX}*")
    with tempfile.TemporaryDirectory(prefix=BUILD_PREFIX, dir=file.parent) as name, claimed(Path(name)) as folder:
        code, built = folder / "engine.cpp", folder / file.name
        code.write_bytes(source)
        check = [sys.executable, "-m", f"{__package__}.selfcheck", str(built)]
        is_good = _run([compiler, *OPTIONS, str(code), "-o", str(built)], COMPILE_TIMEOUT_S) and _run(
            check, CHECK_TIMEOUT_S
        )
        if is_good:
            seal(built)
            built.replace(file)
    return is_good


def seal(file: Path) -> None:
    """Put a file's digest behind its end, and both onto the disk; a loader looks at neither."""
    with file.open("r+b") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
        stream.write(digest)
        stream.flush()
        os.fsync(stream.fileno())


def is_sealed(file: Path) -> bool:
    """Whether a file is as it was sealed: one that was cut off would end whoever loads it."""
    content = file.read_bytes()
    return hashlib.sha256(content[:-SEAL_BYTES]).digest() == content[-SEAL_BYTES:]


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
