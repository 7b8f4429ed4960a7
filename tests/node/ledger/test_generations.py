"""A ledger notices that it was copied, restored or set back, and is never mistaken for the one it was."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support.signed import CHANNEL, CONFIG

from openledger_node.errors import LedgerError
from openledger_node.ledger.ledger import IS_NEW, open_ledger
from openledger_node.ledger.witness import Witness, identity_of, witness_file

READ = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM peer").fetchall()
connection.close()
"""


def use(file: Path, num_writes: int = 1) -> str:
    """Open the ledger, write to it, and return its generation."""
    with closing(open_ledger(file)) as ledger:
        ledger.channels.ensure(CHANNEL, CONFIG, now_ns=1)
        for number in range(num_writes):
            ledger.peers.keep_seqs({"a": number}, now_ns=number)
        return ledger.generations.current.generation


def why(file: Path) -> str:
    with closing(open_ledger(file)) as ledger:
        return ledger.generations.current.why


def test_a_ledger_keeps_its_generation_from_start_to_start_and_where_it_is_moved(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (before,) = {use(file) for _ in range(3)}
    assert why(file) == IS_NEW
    moved = file.parent.with_name("elsewhere")
    file.parent.rename(moved)
    assert use(moved / file.name) == before
    assert not caplog.records


@pytest.mark.process
def test_a_killed_writer_keeps_its_generation(file: Path) -> None:
    before = use(file)
    child = os.fork()
    if child == 0:
        open_ledger(file).peers.keep_seqs({"b": 1}, now_ns=1)
        os._exit(0)  # nothing is closed or flushed
    os.waitpid(child, 0)
    assert use(file) == before


def copy_alone(file: Path, backup: Path) -> None:
    shutil.copy(backup, file)  # the file stays, and so does its inode


def remove_and_copy(file: Path, backup: Path) -> None:
    file.unlink()
    shutil.copy(backup, file)


def rename_over(file: Path, backup: Path) -> None:
    shutil.copy2(backup, file.with_name("new"))
    file.with_name("new").rename(file)


def with_mark(replace: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """The mark is replaced as well."""

    def restore(file: Path, backup: Path) -> None:
        replace(file, backup)
        replace(witness_file(file), witness_file(backup))

    return restore


def whole_folder(file: Path, backup: Path) -> None:
    shutil.rmtree(file.parent)
    shutil.copytree(backup.parent, file.parent)


def without_mark(file: Path, _: Path) -> None:
    witness_file(file).unlink()


@pytest.mark.parametrize(
    "restore",
    [copy_alone, remove_and_copy, rename_over, with_mark(remove_and_copy), whole_folder, without_mark],
    ids=["over it", "removed first", "renamed over it", "removed first, with its mark", "the folder", "mark lost"],
)
def test_a_restored_ledger_has_a_new_generation_and_retires_all_channels(
    file: Path, restore: Callable[[Path, Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    before = use(file)
    backup = file.parent.with_name("backup") / file.name
    shutil.copytree(file.parent, backup.parent)
    assert use(file, num_writes=3) == before
    restore(file, backup)
    with closing(open_ledger(file)) as ledger:
        assert ledger.generations.current.generation != before
        assert [channel.is_retired for channel in ledger.channels.all()] == [True]
        after = ledger.generations.current.generation
    (told,) = caplog.records
    assert "payers open new ones" in told.getMessage()
    assert use(file) == after, "it is drawn once"


@pytest.mark.parametrize(("version", "named"), [(7, "7"), (8, "8"), (None, "0")])
def test_an_inode_that_is_used_again_is_told_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int | None, named: str
) -> None:
    """Without the version, `rm` and `cp` make a file that looks like the one before on ext4."""

    def ioctl(_descriptor: int, _request: int, answer: bytearray) -> None:
        if version is None:
            raise OSError("this file system has no versions")
        answer[:4] = version.to_bytes(4, sys.byteorder)

    monkeypatch.setattr("openledger_node.ledger.witness.fcntl.ioctl", ioctl)
    assert identity_of(tmp_path / "file").partition(":")[2] == named


def test_a_copy_has_a_generation_of_its_own_unless_it_is_only_read(file: Path, tmp_path: Path) -> None:
    before = use(file)
    copy = tmp_path / "copy" / file.name
    shutil.copytree(file.parent, copy.parent)
    with closing(open_ledger(copy, is_writer=False)) as reader:
        assert reader.generations.current.generation == before
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(tmp_path / "backup.db")) as target:
        source.backup(target)
    assert len({before, use(copy), use(tmp_path / "backup.db")}) == 3
    assert use(file) == before, "the original does not notice"


def test_commits_that_change_nothing_or_are_undone_are_not_counted(file: Path) -> None:
    use(file)
    with closing(open_ledger(file)) as ledger:
        before = Witness(file).read()
        assert before
        ledger.channels.ensure(CHANNEL, CONFIG, now_ns=2)
        with suppress(RuntimeError), ledger.transaction():
            ledger.peers.keep_seqs({"a": 9}, now_ns=9)
            raise RuntimeError("it is undone")
        assert Witness(file).read() == before
        ledger.peers.keep_seqs({"a": 9}, now_ns=9)
        after = Witness(file).read()
        assert after
        assert after.num_commits == before.num_commits + 1
    assert why(file) == IS_NEW


def test_a_power_cut_that_loses_the_newest_marks_does_no_harm(file: Path) -> None:
    before = use(file)
    old = witness_file(file).read_bytes()
    assert use(file, num_writes=5) == before
    witness_file(file).write_bytes(old)
    assert use(file) == before


def test_a_generation_that_can_not_be_stored_is_not_used(file: Path) -> None:
    with closing(open_ledger(file)) as ledger:
        before = ledger.generations.current
        ledger.generations._store._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(LedgerError):
            ledger.generations.renew("a test", now_ns=1)
        assert ledger.generations.current == before
    assert use(file) == before.generation


@pytest.mark.process
def test_a_reader_that_ends_does_not_take_the_writers_log_away(file: Path) -> None:
    """It would, if this process lost its locks by a look at the file; then the newest commits would be gone."""
    with closing(open_ledger(file)) as ledger:
        ledger.generations.renew("a test", now_ns=1)
        ledger.peers.keep_seqs({"a": 7}, now_ns=1)
        subprocess.run([sys.executable, "-c", READ, str(file)], check=True)
        assert file.with_name("ledger.db-wal").exists()
        ledger.peers.keep_seqs({"a": 8}, now_ns=2)
    with closing(open_ledger(file)) as ledger:
        assert ledger.peers.seqs() == {"a": 8}
