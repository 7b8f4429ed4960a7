"""The compiled step as a file, which is built once and never ends the engine, and its matrix product alone."""

import ctypes
import errno
import logging
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.tiny import make_base

from openledger_node.backends.native import build
from openledger_node.backends.native import library as library_module
from openledger_node.backends.native.library import Library, Linear
from openledger_node.backends.native.tensors import Bits, Floats, narrow, product_layout, round_up, widen

is_possible = build.processor_flags() >= build.FLAGS_WANTED and build.find_compiler() is not None
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not is_possible, reason="needs a processor with AVX512-BF16 and a C++ compiler"),
]

COPYIST = """#!/bin/sh
case $1 in --version) echo {version}; exit;; esac
while [ "$1" != -o ]; do shift; done
{work}
cp {library} "$2"
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The step, built once for all tests."""
    folder = tmp_path_factory.mktemp("library")
    assert build.open_library(folder)
    (file,) = folder.glob("*.so")
    return file


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that outlives its test: the loader knows an opened library by its file's number, which a file that is
    deleted gives to the next.
    """
    return tmp_path_factory.mktemp("built")


def copyist(folder: Path, library: Path, *, version: str = "1", work: str = "") -> str:
    """A compiler that knows the result already."""
    file = folder / "copyist"
    file.write_text(COPYIST.format(version=version, library=library, work=work))
    file.chmod(stat.S_IRWXU)
    return str(file)


def name_by(compiler: str) -> str:
    return build.library_name(build.read_source(), compiler, build.processor_flags())


def a_folder_of_its_name(folder: Path, compiler: str, patch: pytest.MonkeyPatch) -> None:
    (folder / name_by(compiler)).mkdir()


def a_full_disk(folder: Path, compiler: str, patch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(Path, "write_bytes", full)


Spoil = Callable[[Path, str, pytest.MonkeyPatch], None]


@pytest.mark.parametrize("spoil", [a_folder_of_its_name, a_full_disk])
def test_a_cache_that_cannot_be_used_is_one_warning_and_no_library(
    spoil: Spoil, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = copyist(tmp_path, library)
    monkeypatch.setenv("CXX", compiler)
    spoil(tmp_path, compiler, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert build.open_library(tmp_path) is None
    (record,) = caplog.records
    assert "plain torch is used" in record.getMessage()


def halve(file: Path, library: Path) -> None:
    content = library.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def seal_text(file: Path, library: Path) -> None:
    file.write_text("sealed, and no library")
    build.seal(file)


@pytest.mark.parametrize("damage", [halve, seal_text, lambda file, _: file.touch()])
def test_a_library_that_was_damaged_is_built_anew(
    damage: Callable[[Path, Path], None], tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = copyist(tmp_path, library)
    monkeypatch.setenv("CXX", compiler)
    file = tmp_path / name_by(compiler)
    damage(file, library)
    assert build.open_library(tmp_path)
    assert build.is_sealed(file)
    assert file.read_bytes().startswith(library.read_bytes())


def test_a_change_of_any_file_of_the_source_makes_another_library() -> None:
    source = build.read_source()
    assert len(source) > 10
    names = {build.library_name({**source, name: text + b"\n"}, "c++", ()) for name, text in source.items()}
    assert len(names | {build.library_name(source, "c++", ())}) == len(source) + 1


def test_a_library_with_other_structures_is_one_clear_warning_and_plain_torch(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = copyist(tmp_path, library)
    monkeypatch.setenv("CXX", compiler)
    (tmp_path / name_by(compiler)).write_bytes(library.read_bytes())
    monkeypatch.setitem(library_module.SIZES, "Step", 64)
    with caplog.at_level(logging.WARNING):
        assert build.open_library(tmp_path) is None
    (record,) = caplog.records
    assert "Step takes 56 bytes in the compiled step and 64 in library.py" in record.getMessage()


STARVED = """
import resource, sys
from pathlib import Path
from openledger_node.engine.backend import BackendSettings
from openledger_node.backends.native import build, open_accelerated
from openledger_node.backends.native.library import Step

base, cache = sys.argv[1:]
def opened(threads):
    settings = dict(base_folder=base, cache_folder=cache, device="cpu", dtype="auto", batch_max=2, context_max=64)
    return open_accelerated(BackendSettings(threads=threads, **settings))

backend = opened(2)
library = build.open_library(Path(cache))
print("step", library.step(backend._engine, Step(rows=-1)))
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (1 << 29)  # a thread's stack takes 2 MiB or more
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print("open", opened(400))
print("rates", library.multiply_rate(400), library.read_bandwidth(400, 1 << 20))
print("again", opened(2) is not None)
"""


def test_want_of_threads_or_memory_is_an_answer_and_no_end_of_the_process(tmp_path: Path, library: Path) -> None:
    base = make_base(tmp_path / "base")
    command = [sys.executable, "-c", STARVED, str(base), str(library.parent)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.stdout.splitlines() == ["step -1", "open None", "rates 0.0 0.0", "again True"], run.stderr
    assert "gives it no 400 threads" in run.stderr


# ---- The matrix product: against plain sums, for every number of rows, and bit by bit.

ROWS_MAX, ROWS_BEHIND = 70, 32
"""Tiles of AMX read whole, so there are rows behind the last one."""

STEP = 2.0**-24
"""Half a unit in the last place of 1 in float32, which one addition may be off."""


def multiply(step: Library, x: Bits, rows: int, weights: Bits, threads: int = 2) -> Floats:
    """Rows of x, (rows, k), through weights (n, k): (rows, n padded to tiles)."""
    layout, tiles = product_layout(weights), round_up(len(weights), 16) // 16
    inputs = np.zeros((len(x) + ROWS_BEHIND, round_up(x.shape[1], 32)), np.uint16)
    inputs[: len(x), : x.shape[1]] = x
    y = np.full((rows + 1, 16 * tiles), np.nan, np.float32)
    linear = Linear(w=layout.ctypes.data, k=x.shape[1], tiles=tiles)
    stride = inputs.shape[1]
    assert step.product(inputs.ctypes.data, stride, rows, ctypes.byref(linear), threads, y.ctypes.data) == 0
    assert np.isnan(y[rows]).all(), "nothing is written behind the last row"
    return y[:rows]


@pytest.mark.parametrize("tiles", [1, 3, 9])
@pytest.mark.parametrize("k", [2, 50, 1200])
def test_a_product_of_any_number_of_rows_is_the_sum_and_each_row_the_same_bits_as_alone(
    library: Path, k: int, tiles: int
) -> None:
    step = build.open_library(library.parent)
    assert step
    noise = np.random.default_rng(k * tiles)
    x = narrow(noise.standard_normal((ROWS_MAX, k)).astype(np.float32))
    weights = narrow(noise.standard_normal((16 * tiles - 3, k)).astype(np.float32))
    wide, map_ = widen(x).astype(np.float64), widen(weights).astype(np.float64)
    exact, bound = wide @ map_.T, k * STEP * (np.abs(wide) @ np.abs(map_).T)
    alone = np.concatenate([multiply(step, x[n : n + 1], 1, weights) for n in range(ROWS_MAX)])
    assert (np.abs(alone[:, : len(weights)] - exact) <= bound).all()
    for rows in range(2, ROWS_MAX + 1):
        assert np.array_equal(multiply(step, x, rows, weights, threads=1 + rows % 3), alone[:rows])
