"""The ledger: a job's life, and what a crash, a bad disk or another version does to it."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openledger_node.errors import ConfigError, LedgerError
from openledger_node.ledger import ledger as ledger_module
from openledger_node.ledger.ledger import Job, Ledger, open_ledger
from openledger_node.ledger.migrations import MIGRATIONS
from openledger_protocol.inference import Completion
from openledger_protocol.primitives import AdapterId, RequestId

# Commits rows for ever and prints each id once its commit has returned.
WRITER = """
import sys
from itertools import count
from pathlib import Path
from openledger_node.ledger.ledger import Job, open_ledger
from openledger_protocol.inference import Completion
ledger = open_ledger(Path(sys.argv[1]))
for number in count():
    ledger.start_job(Job(request_id=f"r{number}", received_ns=number, base="fake", adapter_id=None,
                         adapter_name=None, state="running", tokens_in=1))
    print("started", f"r{number}", flush=True)
    ledger.complete_job(Completion(request_id=f"r{number}", base="fake", adapter_id=None, text="", ids=(),
                                   finish_reason="stop", tokens_in=1, tokens_out=1), first_token_ns=1, ended_ns=2)
    print("completed", f"r{number}", flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "networks" / "local" / "ledger.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    with closing(open_ledger(file)) as opened:
        yield opened


def job(number: int = 1, **changes: Any) -> Job:
    plain = Job(
        request_id=RequestId(f"r{number}"),
        received_ns=1_000 * number,
        base="fake",
        adapter_id=AdapterId("0xaa"),
        adapter_name="harbour",
        state="running",
        tokens_in=10 * number,
    )
    return replace(plain, **changes)


def completion(number: int = 1, *, tokens_out: int = 7) -> Completion:
    return Completion(
        request_id=RequestId(f"r{number}"),
        base="fake",
        adapter_id=AdapterId("0xaa"),
        text="a text that must not be kept",
        ids=(1, 2),
        finish_reason="stop",
        tokens_in=10 * number,
        tokens_out=tokens_out,
    )


def test_a_job_starts_running(ledger: Ledger) -> None:
    ledger.start_job(job())
    assert ledger.jobs(limit=10) == [job()]


def test_a_job_that_was_answered_is_completed(ledger: Ledger) -> None:
    ledger.start_job(job())
    ledger.complete_job(completion(), first_token_ns=1_500, ended_ns=2_000)
    expected = job(state="completed", tokens_out=7, finish_reason="stop", first_token_ns=1_500, ended_ns=2_000)
    assert ledger.jobs(limit=10) == [expected]


def test_a_job_that_could_not_be_answered_says_why(ledger: Ledger) -> None:
    ledger.start_job(job())
    ledger.fail_job(RequestId("r1"), error_code="engine_failed", ended_ns=2_000)
    assert ledger.jobs(limit=10) == [job(state="failed", error_code="engine_failed", ended_ns=2_000)]


def test_the_first_end_of_a_job_is_its_only_end(ledger: Ledger) -> None:
    ledger.start_job(job())
    ledger.complete_job(completion(), first_token_ns=None, ended_ns=2_000)
    ended = ledger.jobs(limit=10)
    ledger.fail_job(RequestId("r1"), error_code="engine_failed", ended_ns=3_000)
    ledger.complete_job(completion(tokens_out=99), first_token_ns=None, ended_ns=4_000)
    assert ledger.jobs(limit=10) == ended


def test_one_request_is_one_row(ledger: Ledger) -> None:
    ledger.start_job(job())
    with pytest.raises(sqlite3.IntegrityError):
        ledger.start_job(job(tokens_in=99))
    assert ledger.jobs(limit=10) == [job()]


def test_jobs_come_newest_first_and_no_more_than_asked_for(ledger: Ledger) -> None:
    for number in (2, 3, 1):
        ledger.start_job(job(number))
    assert [found.request_id for found in ledger.jobs(limit=2)] == ["r3", "r2"]


def test_a_start_marks_what_the_last_run_left_and_nothing_else(file: Path) -> None:
    with closing(open_ledger(file)) as before:
        for number in (1, 2, 3, 4):
            before.start_job(job(number))
        before.complete_job(completion(1), first_token_ns=None, ended_ns=9)
        before.fail_job(RequestId("r2"), error_code="x", ended_ns=9)
    with closing(open_ledger(file)) as after:
        assert after.recover_jobs() == 2
        assert after.recover_jobs() == 0
        assert {found.request_id: found.state for found in after.jobs(limit=9)} == {
            "r1": "completed",
            "r2": "failed",
            "r3": "interrupted",
            "r4": "interrupted",
        }


def test_no_text_of_a_request_is_ever_in_the_file(file: Path) -> None:
    with closing(open_ledger(file)) as ledger:
        ledger.start_job(job())
        ledger.complete_job(completion(), first_token_ns=None, ended_ns=9)
    kept = b"".join(part.read_bytes() for part in file.parent.iterdir())
    assert b"harbour" in kept
    assert completion().text.encode() not in kept


def test_a_commit_that_returned_is_on_the_disk(ledger: Ledger) -> None:
    # Ask the ledger's own connection: synchronous holds for one connection, not for the file.
    (mode,) = ledger._connection.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = ledger._connection.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2)  # 2 is FULL


def test_only_the_owner_can_read_the_file(file: Path, ledger: Ledger) -> None:
    ledger.start_job(job())
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


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
        kept = {found.request_id: found.state for found in ledger.jobs(limit=1_000_000)}
        assert ledger.recover_jobs() <= 1
    assert len(told) >= num_lines
    assert {request_id for _, request_id in told} <= kept.keys()
    assert {kept[RequestId(request_id)] for word, request_id in told if word == "completed"} <= {"completed"}


def write_jobs(file: Path, count: int) -> None:
    with closing(open_ledger(file)) as ledger:
        for number in range(count):
            ledger.start_job(job(number, adapter_name="x" * 200))


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
def test_a_ledger_of_a_newer_version_is_refused_and_left_as_it_is(file: Path, is_writer: bool) -> None:
    write_jobs(file, 1)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    found = file.read_bytes()
    with pytest.raises(ConfigError, match=r"written by a newer version .*: update openledger-node"):
        open_ledger(file, is_writer=is_writer)
    assert file.read_bytes() == found


def test_a_file_that_is_only_busy_is_not_called_damaged(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jobs(file, 1)
    monkeypatch.setattr(ledger_module, "BUSY_TIMEOUT_S", 0.01)
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


def test_a_full_disk_is_not_called_damage(file: Path) -> None:
    # Only SQLITE_CORRUPT and SQLITE_NOTADB mean damage, whatever the extended code in the upper bytes.
    told = subprocess.check_output([sys.executable, "-c", FULL_DISK, str(file)], text=True)
    assert told != ""
    assert "damaged" not in told
    assert "move it away" not in told


def test_a_reader_sees_what_a_writer_commits_while_both_are_open(file: Path, ledger: Ledger) -> None:
    with closing(open_ledger(file, is_writer=False)) as reader:
        assert reader.jobs(limit=10) == []
        ledger.start_job(job())
        assert reader.jobs(limit=10) == [job()]


def test_a_reader_cannot_write(file: Path, ledger: Ledger) -> None:
    ledger.start_job(job())
    with closing(open_ledger(file, is_writer=False)) as reader, pytest.raises(LedgerError, match="readonly"):
        reader.recover_jobs()
    assert ledger.jobs(limit=10) == [job()]


def test_a_reader_makes_no_file(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with pytest.raises(ConfigError):
        open_ledger(file, is_writer=False)
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "a#b", "a?b", "100%25", "a&mode=rwc"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    # A reader opens a file: address, where `#`, `?` and `%` mean something else.
    file = tmp_path / name / "ledger.db"
    write_jobs(file, 1)
    with closing(open_ledger(file, is_writer=False)) as reader:
        assert len(reader.jobs(limit=10)) == 1


def test_a_reader_does_not_migrate_and_says_who_does(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    found = file.read_bytes()
    with pytest.raises(ConfigError, match="openledger-node start"):
        open_ledger(file, is_writer=False)
    assert file.read_bytes() == found


def test_a_start_that_was_cut_off_before_the_tables_were_made_is_gone_on_with(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with closing(open_ledger(file)) as ledger:
        ledger.start_job(job())
        assert ledger._connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)


def test_a_migration_that_fails_leaves_the_form_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jobs(file, 1)

    def torn(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (id INTEGER)")
        raise RuntimeError("the power went")

    monkeypatch.setattr(ledger_module, "MIGRATIONS", (*MIGRATIONS, torn))
    with pytest.raises(RuntimeError):
        open_ledger(file)
    monkeypatch.undo()
    with closing(open_ledger(file)) as ledger:
        assert len(ledger.jobs(limit=10)) == 1
        tables = ledger._connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall()
    assert tables == []
