"""A backup holds what only this machine has, in one file that its password alone opens, and brings it all back."""

import io
import os
import random
import resource
import signal
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
from support.signed import CHANNEL, CONFIG

from openledger_node.errors import ConfigError, NodeError
from openledger_node.home import RESTORE, Home, claim_home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.operator import sealed
from openledger_node.operator.backup import restore_backup, write_backup
from openledger_node.operator.sealed import CHUNK_BYTES, MAGIC, SALT_BYTES, TAG_BYTES, seal, unseal

HEAD_BYTES = len(MAGIC) + SALT_BYTES
NETWORK = "development-1a2b3c4d"
PASSWORD = "correct horse"
FILES = {
    "node.toml": "[node]\n",
    "keys/wallet.json": "{}",
    "keys/node.password": "secret",
    "keys/peer.key": "00",
    "networks/current": NETWORK,
    f"networks/{NETWORK}/network.json": "{}",
    f"networks/{NETWORK}/openings.key": "k",
    "datanets/lake/1.json": "{}",
    "bootstrap/peer.key": "11",
}
LEFT_OUT = {"models/base/weights": "w" * 5000, "adapters/a/x": "a" * 900, "devnet/blocks": "b"}


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "SCRYPT_N", 16)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    for name, text in {**FILES, **LEFT_OUT}.items():
        file = home.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    with closing(open_ledger(home.ledger(NETWORK))) as ledger:
        ledger.channels.ensure(CHANNEL, CONFIG, now_ns=1)
    return home


@pytest.fixture
def file(home: Home, tmp_path: Path) -> Path:
    return backup_of(home, tmp_path / "node.backup")


@pytest.fixture
def empty(tmp_path: Path) -> Home:
    empty = Home(tmp_path / "empty")
    empty.root.mkdir()
    return empty


def backup_of(home: Home, file: Path) -> Path:
    write_backup(home, file, PASSWORD)
    return file


def files_in(home: Home) -> dict[str, bytes]:
    found = {str(file.relative_to(home.root)): file.read_bytes() for file in home.root.rglob("*") if file.is_file()}
    return {name: content for name, content in found.items() if "ledger.db" not in name}


def generation(home: Home) -> str:
    with closing(open_ledger(home.ledger(NETWORK), is_writer=False)) as ledger:
        return ledger.generations.current.generation


# ---- what comes back


def test_a_restored_node_has_all_but_what_the_backup_says_is_left_out(home: Home, file: Path, empty: Home) -> None:
    restored = restore_backup(empty, file, PASSWORD)
    assert files_in(empty) == {name: text.encode() for name, text in FILES.items()}
    assert restored["num_files"] == len(FILES) + 1
    assert [each["path"] for each in restored["left_out"]] == ["models", "adapters", "devnet"]
    modes = {each.stat().st_mode & 0o777 for each in empty.root.rglob("*") if each.is_file()}
    assert modes == {0o600}
    assert restored["generations"] == {NETWORK: generation(empty)}
    assert generation(empty) != generation(home), "its ledger may be older than what the node has signed since"
    with closing(open_ledger(empty.ledger(NETWORK))) as ledger:
        assert [(each.channel_id, each.is_retired) for each in ledger.channels.all()] == [(CHANNEL, True)]
        assert restored["generations"] == {NETWORK: ledger.generations.current.generation}, "it is drawn once"


def test_adapters_are_in_it_if_they_are_asked_for(home: Home, empty: Home, tmp_path: Path) -> None:
    written = write_backup(home, tmp_path / "b", PASSWORD, with_adapters=True)
    assert [(each["path"], each["size_bytes"]) for each in written["left_out"]] == [("models", 5000), ("devnet", 1)]
    restore_backup(empty, tmp_path / "b", PASSWORD)
    assert (empty.root / "adapters/a/x").read_text() == "a" * 900


def test_a_backup_is_its_owners_alone_and_shows_nothing(file: Path) -> None:
    content = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert not any(word in content for word in (b"wallet", b"secret", b"networks", CHANNEL.encode()))


def test_a_backup_of_a_working_ledger_is_of_one_moment(home: Home, empty: Home, tmp_path: Path) -> None:
    """Each transaction writes two rows: a copy has both or none."""
    is_over = threading.Event()

    def work() -> None:
        with closing(open_ledger(home.ledger(NETWORK))) as ledger:
            number = 0
            while not is_over.is_set():
                number += 1
                with ledger.transaction():
                    ledger.peers.keep_seqs({f"a{number}": number}, now_ns=number)
                    ledger.peers.keep_seqs({f"b{number}": number}, now_ns=number)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        files = [backup_of(home, tmp_path / f"{number}.backup") for number in range(5)]
    finally:
        is_over.set()
        writer.join()
    for number, file in enumerate(files):
        target = Home(tmp_path / str(number))
        target.root.mkdir()
        restore_backup(target, file, PASSWORD)
        with closing(open_ledger(target.ledger(NETWORK))) as ledger:
            seqs = ledger.peers.seqs()
        assert {name[1:] for name in seqs if name[0] == "a"} == {name[1:] for name in seqs if name[0] == "b"}


# ---- refusals


def test_a_backup_that_fails_leaves_the_old_one(home: Home, file: Path, empty: Home, tmp_path: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="exists already: choose another name, or replace it with --force"):
        write_backup(home, file, PASSWORD)
    with pytest.raises(ConfigError, match="is not a folder: create it"):
        write_backup(home, tmp_path / "usb" / "b", PASSWORD)
    with pytest.raises(ConfigError, match="there is nothing to back up"):
        write_backup(empty, file, PASSWORD, may_replace=True)
    home.ledger(NETWORK).write_bytes(b"this is no database" * 1000)
    with pytest.raises(NodeError, match="is damaged"):
        write_backup(home, file, PASSWORD, may_replace=True)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.glob("*.partial")] == []
    assert list(home.root.glob(".backup-*")) == []


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def swap_chunks(file: Path) -> None:
    head, whole = HEAD_BYTES, CHUNK_BYTES + TAG_BYTES
    content = file.read_bytes()
    first, second = content[head : head + whole], content[head + whole : head + 2 * whole]
    file.write_bytes(content[:head] + second + first + content[head + 2 * whole :])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "another file": lambda file: file.write_bytes(b"PK" * 100),
    "a bit of the salt": lambda file: flip(file, 25),
    "a bit of the first chunk": lambda file: flip(file, 60),
    "the last bit": lambda file: flip(file, -1),
    "torn between two chunks": lambda file: cut(file, HEAD_BYTES + CHUNK_BYTES + TAG_BYTES),
    "with a byte more": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "with chunks in another order": swap_chunks,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backup_restores_nothing(home: Home, empty: Home, tmp_path: Path, damage: str) -> None:
    (home.root / "datanets/lake/large").write_bytes(random.Random(1).randbytes(3 * CHUNK_BYTES))
    file = backup_of(home, tmp_path / "b")
    DAMAGES[damage](file)
    with pytest.raises(NodeError, match=r"backup|password"):
        restore_backup(empty, file, PASSWORD)
    assert list(empty.root.iterdir()) == []


@pytest.mark.parametrize("there", [f"networks/{NETWORK}/ledger.db", "networks/other/keys/signer.json", "node.toml"])
def test_a_restore_replaces_nothing(file: Path, empty: Home, there: str) -> None:
    (empty.root / there).parent.mkdir(parents=True, exist_ok=True)
    (empty.root / there).write_text("mine")
    with pytest.raises(ConfigError, match="a restore replaces nothing: move it away, or name an empty data"):
        restore_backup(empty, file, PASSWORD)
    assert files_in(empty) == {there: b"mine"} or there.endswith("ledger.db")
    assert (empty.root / there).read_text() == "mine"


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_a_sealed_file_of_any_length_is_read_as_it_was_written(size: int) -> None:
    content = random.Random(size).randbytes(size)
    sealed_file, opened = io.BytesIO(), io.BytesIO()
    seal(io.BytesIO(content), sealed_file, PASSWORD)
    sealed_file.seek(0)
    unseal(sealed_file, opened, PASSWORD)
    assert opened.getvalue() == content


@pytest.mark.parametrize("name", ["models/x", "keys/../../x", "/keys/x", "keys"])
def test_only_files_of_a_node_are_restored(empty: Home, tmp_path: Path, name: str) -> None:
    plain, file = io.BytesIO(), tmp_path / "b"
    with tarfile.open(fileobj=plain, mode="w") as archive:
        member = tarfile.TarInfo("backup.json")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"{}"))
        member = tarfile.TarInfo(name)
        member.type = tarfile.DIRTYPE if name == "keys" else tarfile.REGTYPE
        archive.addfile(member)
    plain.seek(0)
    with file.open("wb") as target:
        seal(plain, target, PASSWORD)
    with pytest.raises(NodeError, match="not a file of a data directory: nothing is restored"):
        restore_backup(empty, file, PASSWORD)
    assert list(empty.root.iterdir()) == []


# ---- a full disk


@contextmanager
def small_disk(room_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("room_bytes", "says"), [(90_000, "free some disk space"), (1_000_000, "File too large")], ids=["ledger", "rows"]
)
def test_a_full_disk_leaves_no_half_backup_and_no_half_home(
    home: Home, file: Path, empty: Home, tmp_path: Path, room_bytes: int, says: str
) -> None:
    (home.root / "datanets/lake/large").write_bytes(bytes(2_000_000))
    before, large = file.read_bytes(), backup_of(home, tmp_path / "large")
    with small_disk(room_bytes):
        with pytest.raises((NodeError, OSError), match=says):
            write_backup(home, file, PASSWORD, may_replace=True)
        with pytest.raises(OSError, match="File too large"):
            restore_backup(empty, large, PASSWORD)
    assert file.read_bytes() == before
    assert list(empty.root.iterdir()) == []
    assert [*file.parent.glob("*.partial"), *home.root.glob(".backup-*")] == []


# ---- a command that is killed

CHANGES = ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "sqlite3.connect")
"""Audit events of the calls that may change the disk; Python tells them before the call."""


def is_killed(act: Callable[[], object], step: int) -> bool:
    """Run an action in a child process that is killed before the nth change of the disk; False if it ends before."""
    child = os.fork()
    if child == 0:
        left = step

        def die(event: str, _: object) -> None:
            nonlocal left
            left -= event in CHANGES
            if event in CHANGES and left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)  # an error must not run on in pytest's copy
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.process
def test_a_killed_backup_leaves_the_old_file_or_a_whole_new_one(home: Home, file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    for step in count(1):
        is_over = not is_killed(lambda: write_backup(home, file, PASSWORD, may_replace=True), step)
        if file.read_bytes() != before:
            target = Home(tmp_path / str(step))
            target.root.mkdir()
            assert restore_backup(target, file, PASSWORD)["num_files"] == len(FILES) + 1
        if is_over:
            break
    assert step > 10


@pytest.mark.process
def test_a_restore_that_is_killed_at_any_step_is_finished_by_the_next(file: Path, tmp_path: Path) -> None:
    num_begun = 0
    for step in count(1):
        home = Home(tmp_path / str(step))
        home.root.mkdir()
        if not is_killed(lambda home=home: restore_backup(home, file, PASSWORD), step):
            break
        if is_begun := home.restoring.exists():
            num_begun += 1
            with pytest.raises(ConfigError, match="was interrupted: repeat `openledger-node restore FILE` to finish"):
                claim_home(home)
        with closing(claim_home(home, RESTORE)):
            restored = restore_backup(home, file, PASSWORD)
        assert restored["was_interrupted"] == is_begun
        assert restored["generations"] == {NETWORK: generation(home)}
        found = {name: text for name, text in files_in(home).items() if not name.endswith((".partial", "node.lock"))}
        assert found == {name: text.encode() for name, text in FILES.items()}
    assert num_begun > 5


@pytest.mark.process
def test_an_interrupted_restore_is_not_finished_with_another_backup(home: Home, file: Path, empty: Home) -> None:
    for step in count(1):
        assert is_killed(lambda: restore_backup(empty, file, PASSWORD), step)
        if empty.restoring.exists():
            break
    other = backup_of(home, file.with_name("other"))
    with pytest.raises(ConfigError, match="a restore of another backup was interrupted here"):
        restore_backup(empty, other, PASSWORD)
    restore_backup(empty, file, PASSWORD)
