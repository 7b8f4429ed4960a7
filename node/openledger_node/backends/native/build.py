"""Build the compiled step once a machine, if it has a compiler and a processor that gains from it."""

import contextlib
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path

from openledger_node.engine.load_steps import tell
from openledger_node.models.packed_cache import claimed, clear_leftovers

from .library import AbiError, Library

FLAGS_WANTED = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}
COMPILERS = ("g++", "c++", "clang++")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
COMPILE_TIMEOUT_S = 300.0
CHECK_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 10.0
BUILD_PREFIX = ".build-"
SEAL_BYTES = 32  # length of a SHA-256

log = logging.getLogger(__name__)


def can_build() -> bool:
    """Return True if this machine has the processor and a compiler for the compiled step."""
    return platform.machine() == "x86_64" and processor_flags() >= FLAGS_WANTED and find_compiler() is not None


def open_library(cache_folder: Path) -> Library | None:
    """Open the compiled step, building it at the first start; None if this machine can't build or run it."""
    flags = processor_flags()
    compiler = find_compiler()
    if platform.machine() != "x86_64" or not flags >= FLAGS_WANTED or compiler is None:
        return None
    source = read_source()
    try:
        file = cache_folder / library_name(source, compiler, flags)
        if (kept := _open_kept(file)) is not None:
            return kept
        return Library(file) if _build(compiler, source, file) else None
    except AbiError as error:
        log.warning("the compiled CPU path can't be used (%s): plain torch is used", error)
        return None
    except OSError as error:  # a full disk, or a folder that may not be written or executed from
        log.warning("the compiled CPU path can't be kept in %s (%s): plain torch is used", cache_folder, error)
        return None


def read_source() -> dict[str, bytes]:
    """The contents of engine.cpp and of the headers that it includes, by name."""
    folder = files(__package__)
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.endswith((".cpp", ".h"))}


def library_name(source: Mapping[str, bytes], compiler: str, flags: Collection[str]) -> str:
    """The library's file name, which changes with the source, the compiler, the C library and the processor."""
    made_with = [*OPTIONS, compiler, _version(compiler), " ".join(platform.libc_ver()), *sorted(flags)]
    digest = hashlib.sha256(" ".join(made_with).encode())
    for name, content in sorted(source.items()):
        digest.update(f"\n{name} {len(content)}\n".encode() + content)
    return f"engine-{digest.hexdigest()[:16]}.so"


def processor_flags() -> set[str]:
    """The processor's features by Linux's names; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def find_compiler() -> str | None:
    """Find `$CXX`, or the first compiler of COMPILERS that is installed."""
    chosen = os.environ.get("CXX")
    return shutil.which(chosen) if chosen else next(filter(None, map(shutil.which, COMPILERS)), None)


def _version(compiler: str) -> str:
    """A compiler's version text; empty if it can't be run, which its first build will report."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        run = subprocess.run([compiler, "--version"], capture_output=True, check=False, timeout=ASK_TIMEOUT_S)
        return run.stdout.decode(errors="replace")
    return ""


def _open_kept(file: Path) -> Library | None:
    """Open a library that was built before; None if there is none, or if it was damaged and is now deleted."""
    if not file.exists():
        return None
    with contextlib.suppress(OSError):
        if is_sealed(file):
            return Library(file)
    file.unlink(missing_ok=True)
    return None


def _build(compiler: str, source: Mapping[str, bytes], file: Path) -> bool:
    """Compile, test the result in a separate process, and only then rename it to `file`."""
    tell("compiling")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    clear_leftovers(file.parent, f"{BUILD_PREFIX}*")
    with tempfile.TemporaryDirectory(prefix=BUILD_PREFIX, dir=file.parent) as name, claimed(Path(name)) as folder:
        code, built = folder / "engine.cpp", folder / file.name
        for name, content in source.items():
            (folder / name).write_bytes(content)
        check = [sys.executable, "-m", f"{__package__}.selfcheck", str(built)]
        is_good = _run([compiler, *OPTIONS, str(code), "-o", str(built)], COMPILE_TIMEOUT_S) and _run(
            check, CHECK_TIMEOUT_S
        )
        if is_good:
            seal(built)
            built.replace(file)
    return is_good


def seal(file: Path) -> None:
    """Append a file's digest to it and sync it to disk; the dynamic loader ignores the appended bytes."""
    with file.open("r+b") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
        stream.write(digest)
        stream.flush()
        os.fsync(stream.fileno())


def is_sealed(file: Path) -> bool:
    """Return True if a file still has its seal; loading a truncated library would crash the process."""
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
    """The line that tells what went wrong: the first that contains "error", else the last."""
    lines = stderr.strip().splitlines()
    return next((line.strip() for line in lines if "error" in line.lower()), lines[-1] if lines else "")
