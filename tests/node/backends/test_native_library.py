"""The compiled step as a file: built once, kept, made anew where it was damaged, and never the end of the engine."""

import errno
import logging
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.tiny import make_base

from openledger_node.backends.native import build
from openledger_node.backends.native import library as library_module

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
