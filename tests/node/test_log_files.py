"""Log files stay small, stay private, and are followed across rotations."""

import logging
import os
from contextlib import closing
from pathlib import Path

import pytest

from openledger_node import log_files
from openledger_node.log_files import (
    ALIKE_MAX,
    ALIKE_WITHIN_S,
    PLACES_MAX,
    LineLimit,
    LogFollower,
    NodeLog,
    empty_if_large,
    empty_large_logs,
)


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("openledger_node", logging.INFO, __file__, 1, text, None, None)


def test_the_nodes_log_rotates_within_its_size_and_stays_private(tmp_path: Path) -> None:
    old_mask = os.umask(0o022)
    try:
        with closing(NodeLog(tmp_path / "node.log", size_bytes_max=1_000)) as handler:
            for number in range(200):
                handler.emit(record(f"line {number:0100d}"))
    finally:
        os.umask(old_mask)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["node.log", "node.log.1", "node.log.2", "node.log.3"]
    assert sum(file.stat().st_size for file in files) <= 4 * 1_000
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert "199" in files[0].read_text()


def test_lines_that_a_peer_causes_are_counted_instead_of_written(tmp_path: Path) -> None:
    now_s, file, other = 0.0, tmp_path / "node.log", tmp_path / "other.log"
    limit = LineLimit(exempt=("openledger_node.event",), now_s=lambda: now_s)
    with closing(NodeLog(file)) as first, closing(NodeLog(other)) as second:
        for handler in (first, second):
            handler.addFilter(limit)

        def write(line: logging.LogRecord) -> None:
            first.handle(line)
            second.handle(line)

        for number in range(ALIKE_MAX + 40):
            write(record(f"a call of peer {number} is refused"))
        event = record("disk_low")
        event.name = "openledger_node.event"
        write(event)
        now_s += ALIKE_WITHIN_S
        write(record("a call is refused"))
        lines = file.read_text().splitlines()
    assert lines == other.read_text().splitlines()
    assert lines[0] == "a call of peer 0 is refused"
    assert lines[ALIKE_MAX - 1 :] == [
        f"a call of peer {ALIKE_MAX - 1} is refused (further lines like this are left out for 10 minutes)",
        "disk_low",
        "a call is refused (after 40 more lines like this)",
    ]


def test_the_limit_of_lines_takes_bounded_memory() -> None:
    limit = LineLimit()
    for number in range(3 * PLACES_MAX):
        line = record("%s is refused")
        line.lineno = number
        line.args = ("100 %",)
        assert limit.filter(line)
        assert line.getMessage() == "100 % is refused"
    assert len(limit._alike) <= PLACES_MAX


def test_a_log_that_a_child_has_open_is_emptied_and_its_end_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, b"old\n" * 100)
        assert not empty_if_large(file, 400)
        os.write(descriptor, b"new\n")
        assert empty_if_large(file, 400)
        os.write(descriptor, b"after\n")
    finally:
        os.close(descriptor)
    kept = tmp_path / "engine.log.1"
    assert file.read_bytes() == b"after\n"
    assert kept.read_bytes() == b"old\n" * 99 + b"new\n"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_empties_a_large_log_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "engine.log"
    file.write_bytes(b"x" * 50)
    monkeypatch.setattr(log_files, "CHILD_LOGS", {"engine.log": 40, "chain.log": 40})

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", refuse)
    empty_large_logs(tmp_path)
    assert file.stat().st_size == 0


def test_logs_of_a_node_that_has_none_yet_are_no_error(tmp_path: Path) -> None:
    empty_large_logs(tmp_path / "logs")


def test_a_follower_reads_on_across_rotations(tmp_path: Path) -> None:
    file = tmp_path / "node.log"
    with closing(LogFollower(file, 0)) as follower:
        assert follower.read() == []
        with closing(NodeLog(file, size_bytes_max=60)) as handler:
            lines = [f"line {number:020d}" for number in range(10)]
            found = []
            for line in lines:
                handler.emit(record(line))
                found += follower.read()
    assert found == lines


def test_a_follower_finds_the_last_lines_of_a_file_that_was_renamed_between_two_looks(tmp_path: Path) -> None:
    file = tmp_path / "node.log"
    file.write_text("one\n")
    with closing(LogFollower(file, 0)) as follower:
        assert follower.read() == ["one"]
        with file.open("a") as stream:
            stream.write("two\n")
        file.rename(tmp_path / "node.log.1")
        file.write_text("three\n")
        assert follower.read() == ["two", "three"]


def test_a_follower_waits_for_the_end_of_a_line_and_begins_again_after_a_file_was_emptied(tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    file.write_text("half")
    with closing(LogFollower(file, 0)) as follower:
        assert follower.read() == []
        with file.open("a") as stream:
            stream.write(" a line\n")
        assert follower.read() == ["half a line"]
        os.truncate(file, 0)
        with file.open("a") as stream:
            stream.write("new\n")
        assert follower.read() == ["new"]


@pytest.mark.parametrize("name", log_files.CHILD_LOGS)
def test_each_child_log_has_a_size(name: str) -> None:
    assert log_files.CHILD_LOGS[name] <= log_files.LOGS_BYTES_MAX <= 80 << 20
