"""`backup` and `restore` as an operator types them."""

import json
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.verbs import Run

from openledger_node.home import Home, claim_home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.operator import sealed
from openledger_node.operator.background import service_of

NETWORK = "development-1a2b3c4d"


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "SCRYPT_N", 16)


@pytest.fixture
def password(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("correct horse\n")
    return str(file)


@pytest.fixture
def file(home: Home, run: Run, password: str, tmp_path: Path) -> str:
    open_ledger(home.ledger(NETWORK)).close()
    (home.root / "models" / "large").mkdir(parents=True)
    (home.root / "models" / "large" / "weights").write_bytes(bytes(2_000_000))
    file = str(tmp_path / "node.backup")
    assert run("backup", file, "--password-file", password).status == 0
    return file


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty data directory for the commands that follow."""
    monkeypatch.setenv("OPENLEDGER_HOME", str(tmp_path / "b"))
    return Home(tmp_path / "b")


def test_a_backup_says_what_is_in_it_and_what_is_not(home: Home, run: Run, password: str, file: str) -> None:
    ran = run("backup", file, "--force", "--password-file", password)
    assert f"ledgers in it: {NETWORK}" in ran.stderr
    assert "not in it: models, 2.0 MB (downloaded again by `models pull`)" in ran.stderr
    assert ran.stdout == ""
    told = json.loads(run("backup", file, "--force", "--password-file", password, "--json").stdout)
    assert told["schema"] == "openledger.backup/1"
    assert told["networks"] == [NETWORK]
    assert told["left_out"] == [
        {"path": "models", "size_bytes": 2_000_000, "why": "downloaded again by `models pull`"}
    ]


def test_a_restore_names_the_generation_of_each_ledger_and_the_service_to_start(
    run: Run, password: str, file: str, elsewhere: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "platform", "linux")
    service = service_of(elsewhere)
    service.file.parent.mkdir(parents=True)
    service.file.touch()
    restored = run("restore", file, "--password-file", password, "--json")
    assert restored.json["schema"] == "openledger.restore/1"
    with closing(open_ledger(elsewhere.ledger(NETWORK))) as ledger:
        assert restored.json["generations"] == {NETWORK: ledger.generations.current.generation}
    again = run("restore", file, "--password-file", password)
    assert again.status == 3
    assert "a restore replaces nothing: move it away, or name an empty data directory" in again.stderr


@pytest.mark.parametrize(
    ("words", "typed", "status", "says"),
    [
        (("restore", "FILE"), "wrong horse", 4, "the password does not open"),
        (("restore", "FILE"), "", 4, "must contain the password on one line"),
        (("restore", "/nowhere/none"), "correct horse", 1, "No such file"),
        (("restore", "PASSWORD"), "correct horse", 1, "is not a backup of this program"),
        (("backup", "/nowhere/b"), "short", 4, "at least 8 characters"),
    ],
)
def test_what_can_not_be_done_is_said_and_nothing_is_restored(
    run: Run, password: str, file: str, elsewhere: Home, words: tuple[str, str], typed: str, status: int, says: str
) -> None:
    Path(password).write_text(f"{typed}\n")
    command, name = words
    ran = run(command, {"FILE": file, "PASSWORD": password}.get(name, name), "--password-file", password)
    assert (ran.status, says in ran.stderr) == (status, True), ran.stderr
    assert [each.name for each in elsewhere.root.glob("*")] in ([], ["node.lock"])


def test_nothing_is_restored_beside_a_daemon(run: Run, password: str, file: str, elsewhere: Home) -> None:
    elsewhere.root.mkdir()
    with closing(claim_home(elsewhere)):
        ran = run("restore", file, "--password-file", password)
    assert ran.status == 3
    assert "only into an empty data directory: run `openledger-node --home FOLDER restore FILE`" in ran.stderr
    assert "or end the node with `openledger-node stop`, move its folder away, and try again" in ran.stderr
