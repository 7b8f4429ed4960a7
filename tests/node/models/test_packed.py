"""Packed files: whole or absent, and thrown away when they are too many."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openledger_node.models.packed import ALIGNMENT, open_packed, write_packed
from openledger_node.models.packed_cache import GRACE_S, PackedEntry, choose_leaving, claimed, clear_leftovers, stamp

ARRAYS = {
    "wide": np.arange(5000, dtype=np.float32).reshape(50, 100),
    "narrow": np.arange(7, dtype=np.uint16),
    "bytes": np.arange(3, dtype=np.uint8),
}


def write(file: Path, key: str = "k") -> Path:
    write_packed(file, ARRAYS.items(), key=key, content={"for": "tests"})
    return file


def test_arrays_come_back_as_they_were_mapped_or_read(tmp_path: Path) -> None:
    packed = open_packed(write(tmp_path / "sub" / "a.pack"), key="k")
    assert packed
    assert packed.content == {"for": "tests"}
    mapped = packed.map()
    for name, array in ARRAYS.items():
        assert np.array_equal(mapped[name], array)
        assert np.array_equal(packed.read(name), array)
        assert packed.arrays[name].offset % ALIGNMENT == 0
    mapped["narrow"][:] = 9
    assert np.array_equal(packed.map()["narrow"], ARRAYS["narrow"]), "a write stays with whoever wrote"


@pytest.mark.parametrize("size", [0, 24, 3000, -1])
def test_a_torn_file_or_one_of_another_key_counts_as_absent(tmp_path: Path, size: int) -> None:
    file = write(tmp_path / "a.pack")
    assert open_packed(file, key="other") is None
    file.write_bytes(file.read_bytes()[:size])
    assert open_packed(file, key="k") is None
    assert open_packed(tmp_path / "b.pack", key="k") is None


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def arrays() -> object:
        yield "a", ARRAYS["wide"]
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_packed(tmp_path / "a.pack", arrays(), key="k", content={})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def age(path: Path) -> Path:
    old = path.stat().st_mtime - 2 * GRACE_S
    os.utime(path, (old, old))
    return path


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    for name in ("left", "held", "young"):
        (tmp_path / f".{name}.pack.abc.partial").write_bytes(b"half")
    left, held, young = (tmp_path / f".{name}.pack.abc.partial" for name in ("left", "held", "young"))
    age(left)
    with claimed(age(held)):
        write(tmp_path / "a.pack")
    assert (left.exists(), held.exists(), young.exists()) == (False, True, True)
    assert (tmp_path / "a.pack").exists()


def test_a_writer_keeps_what_it_works_on_from_being_cleared(tmp_path: Path) -> None:
    def arrays() -> Iterator[tuple[str, Any]]:
        (partial,) = tmp_path.iterdir()
        age(partial)
        clear_leftovers(tmp_path, partial.name)
        yield "wide", ARRAYS["wide"]

    write_packed(tmp_path / "a.pack", arrays(), key="k", content={})
    assert open_packed(tmp_path / "a.pack", key="k")


def test_those_used_least_lately_go_first_and_the_one_in_use_never() -> None:
    entries = [PackedEntry(Path(name), 10, used) for name, used in (("new", 3), ("old", 1), ("older", 0))]
    assert choose_leaving(entries, 30, Path("new")) == []
    assert choose_leaving(entries, 15, Path("new")) == [Path("older"), Path("old")]
    assert choose_leaving(entries, 0, Path("older")) == [Path("old"), Path("new")]


def test_another_content_is_another_stamp_even_with_its_time_set_back(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"one")
    first, times = stamp(file), file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert stamp(file) != first
