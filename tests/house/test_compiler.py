"""The compiler of the tests compiles the same source once, and each other source anew."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.processes.nodes import ROOT

COMPILER = ROOT / "tests" / "support" / "compiler" / "g++"

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="NOT TESTED: the compiled step: no g++")

Compile = Callable[..., bytes]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "compiled"


@pytest.fixture
def compile_source(tmp_path: Path, kept: Path) -> Compile:
    """Compile a function that returns a header's number; returns the library."""
    folder, target = tmp_path / "source", tmp_path / "library.so"
    folder.mkdir()
    (folder / "answer.cpp").write_text('#include "number.h"\nextern "C" int answer() { return NUMBER; }\n')

    def compile_it(number: int, *words: str) -> bytes:
        (folder / "number.h").write_text(f"#define NUMBER {number}\n")
        command = [str(COMPILER), "-shared", "-fPIC", *words, str(folder / "answer.cpp"), "-o", str(target)]
        subprocess.run(command, env={**os.environ, "COMPILED": str(kept)}, check=True, capture_output=True)
        return target.read_bytes()

    return compile_it


def test_the_same_source_is_compiled_once(compile_source: Compile, kept: Path) -> None:
    first = compile_source(1)
    (file,) = kept.iterdir()
    assert file.read_bytes() == first
    file.write_bytes(b"as it was kept")
    assert compile_source(1) == b"as it was kept"


def test_a_changed_header_or_word_is_compiled_anew(compile_source: Compile, kept: Path) -> None:
    found = {compile_source(1), compile_source(2), compile_source(1, "-DMORE=1", "-g")}
    assert len(found) == len(list(kept.iterdir())) == 3
