"""The ledger's file: what a crash, a bad disk or another version does to it."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from openledger_node.errors import ConfigError, LedgerError
from openledger_node.ledger import store as store_module
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.schema import SCHEMA, TABLES
from openledger_node.ledger.store import Store, open_store
from openledger_protocol.primitives import RequestId

from .conftest import job

# Commits rows for ever and prints each id once its commit has returned.
WRITER = """
import sys
from itertools import count
from pathlib import Path
from openledger_node.ledger.jobs import Job
from openledger_node.ledger.ledger import open_ledger
from openledger_protocol.inference import Completion
ledger = open_ledger(Path(sys.argv[1]))
for number in count():
    ledger.jobs.start(Job(request_id=f"r{number}", received_ns=number, base="fake", adapter_id=None,
                         adapter_name=None, state="running", tokens_in=1))
    print("started", f"r{number}", flush=True)
    ledger.jobs.complete(Completion(request_id=f"r{number}", base="fake", adapter_id=None, text="", ids=(),
                                   finish_reason="stop", tokens_in=1, tokens_out=1), first_token_ns=1, ended_ns=2)
    print("completed", f"r{number}", flush=True)
"""


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with closing(open_store(file, is_writer=True)) as opened:
        yield opened


def test_a_commit_that_returned_is_on_the_disk(store: Store) -> None:
    # Ask the ledger's own connection: synchronous holds for one connection, not for the file.
    told = [tuple(*store.rows(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")]
    assert told == [("wal",), (2,)]  # 2 is FULL


def test_only_the_owner_can_read_the_file(file: Path) -> None:
    write_jobs(file, 1)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.process
@pytest.mark.parametrize("num_lines", [1, 2, 41])
def test_a_killed_writer_loses_no_row_whose_commit_returned(file: Path, num_lines: int) -> None:
    command = [sys.executable, "-c", WRITER, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(num_lines)]
        writer.kill()
        lines += writer.stdout.readlines()
    told = [line.split() for line in lines if line.endswith("\n")]
    with closing(open_ledger(file)) as ledger:
        kept = {found.request_id: found.state for found in ledger.jobs.newest(limit=1_000_000)}
        assert ledger.jobs.recover() <= 1
    assert len(told) >= num_lines
    assert {request_id for _, request_id in told} <= kept.keys()
    assert {kept[RequestId(request_id)] for word, request_id in told if word == "completed"} <= {"completed"}


def write_jobs(file: Path, count: int) -> None:
    with closing(open_ledger(file)) as ledger:
        for number in range(count):
            ledger.jobs.start(job(number, adapter_name="x" * 200))


def overwrite(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def truncate(file: Path, size: int) -> None:
    with file.open("r+b") as stream:
        stream.truncate(size)


@pytest.mark.parametrize("is_writer", [True, False], ids=["writer", "reader"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b"this is no database" * 100),
        lambda file: overwrite(file, 0, b"\xff" * 100),
        lambda file: overwrite(file, 4096, b"\xff" * 4096),
        lambda file: overwrite(file, 0, b"SQLite format 3\0" + b"\0" * 84),
        lambda file: truncate(file, 4096),
        lambda file: truncate(file, 5000),
    ],
    ids=["text", "header", "a page", "zeroed header", "half", "torn page"],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(
    file: Path, damage: Callable[[Path], Any], is_writer: bool
) -> None:
    write_jobs(file, 60)
    damage(file)
    found = file.read_bytes()
    with pytest.raises(ConfigError, match=r"(?s)ledger\.db is damaged .*restore it from a backup, or move it away"):
        open_ledger(file, is_writer=is_writer)
    assert file.read_bytes() == found


@pytest.mark.parametrize("is_writer", [True, False], ids=["writer", "reader"])
@pytest.mark.parametrize("schema", [0, SCHEMA + 6], ids=["another program's", "another version's"])
def test_a_ledger_that_another_version_wrote_is_refused_and_left_as_it_is(
    file: Path, schema: int, is_writer: bool
) -> None:
    write_jobs(file, 1)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {schema}")
    found = file.read_bytes()
    refusal = (
        f"the ledger {file} was written by another version of openledger-node (schema {schema}, this one reads 1). "
        f"Move {file.parent} aside and start again: nothing in it was changed"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(refusal)}$"):
        open_ledger(file, is_writer=is_writer)
    assert file.read_bytes() == found


def test_tables_that_could_not_all_be_made_are_none(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "TABLES", (*TABLES, "CREATE TABLE half (id INTEGER); NO SQL;"))
    with pytest.raises(ConfigError):
        open_ledger(file)
    monkeypatch.undo()
    with closing(open_ledger(file)) as ledger:
        ledger.jobs.start(job())
    with closing(open_store(file, is_writer=False)) as store:
        assert store.rows("SELECT name FROM sqlite_master WHERE name = 'half'") == []


def test_a_file_that_is_only_busy_is_not_called_damaged(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jobs(file, 1)
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_S", 0.01)
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("UPDATE job SET tokens_in = 1")
        other.commit()
        with pytest.raises(ConfigError, match=r"in use|locked|busy") as refusal:
            open_ledger(file)
    assert "damaged" not in str(refusal.value)


# The disk takes a hundred bytes of a file and no more.
FULL_DISK = """
import resource, sys
from pathlib import Path
from openledger_node.errors import ConfigError
from openledger_node.ledger.ledger import open_ledger
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    open_ledger(Path(sys.argv[1]))
except ConfigError as error:
    print(str(error)[-90:])
"""


@pytest.mark.process
def test_a_full_disk_is_not_called_damage(file: Path) -> None:
    # Only SQLITE_CORRUPT and SQLITE_NOTADB mean damage, whatever the extended code in the upper bytes.
    told = subprocess.check_output([sys.executable, "-c", FULL_DISK, str(file)], text=True)
    assert told != ""
    assert "damaged" not in told
    assert "move it away" not in told


def test_a_reader_makes_no_file_and_writes_nothing(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with pytest.raises(ConfigError):
        open_ledger(file, is_writer=False)
    assert list(file.parent.iterdir()) == []
    write_jobs(file, 1)
    with closing(open_ledger(file, is_writer=False)) as reader:
        with pytest.raises(LedgerError, match="readonly"):
            reader.jobs.recover()
        assert [found.state for found in reader.jobs.newest(limit=10)] == ["running"]


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    # A reader opens a file: address, where `#`, `?` and `%` mean something else.
    for name in ("a b", "a#b", "a?b", "100%25", "a&mode=rwc"):
        file = tmp_path / name / "ledger.db"
        write_jobs(file, 1)
        with closing(open_ledger(file, is_writer=False)) as reader:
            assert len(reader.jobs.newest(limit=10)) == 1


def test_only_a_writer_goes_on_with_a_start_that_was_cut_off_before_the_tables_were_made(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    found = file.read_bytes()
    with pytest.raises(ConfigError, match="openledger-node start"):
        open_ledger(file, is_writer=False)
    assert file.read_bytes() == found
    write_jobs(file, 1)
    with closing(open_store(file, is_writer=False)) as store:
        assert tuple(store.row("PRAGMA user_version") or ()) == (SCHEMA,)


# ---- transactions that several nouns share


def write_all(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        ledger.jobs.start(job(number))


def test_a_transaction_sees_its_own_writes_and_others_see_them_once_it_is_over(file: Path, ledger: Ledger) -> None:
    with closing(open_ledger(file, is_writer=False)) as reader:
        with ledger.transaction(), ledger.transaction():
            ledger.jobs.start(job())
            assert ledger.jobs.newest(limit=10) == [job()]
            assert reader.jobs.newest(limit=10) == []
        assert reader.jobs.newest(limit=10) == [job()]


def test_a_failed_transaction_is_undone_whole_and_a_part_of_one_alone(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.jobs.start(job(1))
        with pytest.raises(sqlite3.IntegrityError), ledger.transaction():
            write_all(ledger, 2, 1)
        ledger.jobs.start(job(3))
    with pytest.raises(sqlite3.IntegrityError), ledger.transaction():
        write_all(ledger, 4, 5, 1)
    assert [found.request_id for found in ledger.jobs.newest(limit=10)] == ["r3", "r1"]
    with ledger.transaction():  # it is a fresh one
        ledger.jobs.start(job(6))
    assert len(ledger.jobs.newest(limit=10)) == 3


def test_another_thread_waits_for_a_transaction_to_end(ledger: Ledger) -> None:
    with ThreadPoolExecutor() as threads:
        with ledger.transaction():
            ledger.jobs.start(job(1))
            read = threads.submit(ledger.jobs.newest, limit=10)
            assert wait([read], timeout=0.1).done == set()
            ledger.jobs.start(job(2))
        assert read.result() == [job(2), job(1)]
