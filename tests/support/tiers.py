"""Which tests a run leaves out, and how much those that stay try.

`make test` runs what takes milliseconds in this process, `make test-more` what bears one of `OUTSIDE`, and
`make test-deep` both with many more seeds, and what is marked `deep`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

T = TypeVar("T")

IS_DEEP: Final = os.environ.get("TEST_DEPTH") == "deep"

OUTSIDE: Final = ("process", "browser", "model")
"""Marks of the tests that start a process, a browser or the demo model."""

CHECK: Final = "check"
"""Mark of what is no test: lint, types, and the contracts' own tests, which are programs."""

FOLDERS: Final = {
    "capabilities": "capability",
    "checks": CHECK,
    "conformance": "process",
    "gpu": "process",
    "llamacpp": "process",
    "network": "process",
    "programs": "process",
    "real": "model",
    "scripts": "process",
    "vllm": "process",
    "web": "browser",
}
"""Folders of tests/ whose tests all bear one mark."""

TOGETHER: Final = ("conformance",)
"""Folders of tests/ whose tests share what they start, so one worker runs them. All else goes to workers by files."""

STARTS: Final = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec"})
"""Python's audit events of a process that starts."""

LIBRARY_FINDER: Final = "/sbin/ldconfig"
"""Started by ctypes when a package that needs a C library is first imported, such as libp2p."""


def depth(*, light: T, deep: T) -> T:
    """Return `deep` in `make test-deep`, else `light`."""
    return deep if IS_DEEP else light


def place_of(path: Path) -> str:
    """Where a file is in tests/, such as `node/chain/test_gas.py`."""
    return path.as_posix().rpartition("/tests/")[2]


def marks_outside(path: Path) -> bool:
    """True if tests of the file bear a mark of `OUTSIDE`: by their folder, or by a word here or in its conftest."""
    if mark := FOLDERS.get(place_of(path).partition("/")[0]):
        return mark in OUTSIDE
    sources = [each.read_text("utf-8") for each in (path, path.parent / "conftest.py") if each.exists()]
    return any(f"mark.{each}" in source for each in OUTSIDE for source in sources)


def is_of_other_tier(path: Path, tier: str | None) -> bool:
    """True if a tier has no test of a file, which need not be read then: workers read what they collect."""
    if tier == "test-more":
        return not marks_outside(path)
    return tier == "test" and FOLDERS.get(place_of(path).partition("/")[0]) in OUTSIDE


def mark_by_folder(items: list[pytest.Item]) -> None:
    """Give each test the mark of its folder, and the group of tests that share what they start."""
    for item in items:
        path = place_of(item.path)
        folder = path.partition("/")[0]
        if mark := FOLDERS.get(folder):
            item.add_marker(mark)
        elif any(map(item.get_closest_marker, OUTSIDE)) and not marks_outside(item.path):
            raise pytest.UsageError(f"{path}: write the mark of {item.name} into this file, or no tier runs it")
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(folder if folder in TOGETHER else path))


class ProcessGuard:
    """Fails a test of the first tier that starts a process, so that a tier stays what its name says."""

    def __init__(self) -> None:
        self._item: pytest.Item | None = None
        sys.addaudithook(self._hear)

    @contextmanager
    def watch(self, item: pytest.Item) -> Iterator[None]:
        self._item = None if any(map(item.get_closest_marker, (*OUTSIDE, CHECK, "deep"))) else item
        try:
            yield
        finally:
            self._item = None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._item is None or event not in STARTS:
            return
        started = arguments[0] if arguments else event  # a fork has no argument
        if started != LIBRARY_FINDER:
            raise RuntimeError(f"this test starts a process ({started!s}): mark it `process`")
