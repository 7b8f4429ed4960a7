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


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("OPENLEDGER_HOME", str(tmp_path / "elsewhere"))
    return Home(tmp_path / "elsewhere")


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


def test_a_restore_says_what_a_restored_ledger_means(
    run: Run, password: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = elsewhere(tmp_path, monkeypatch)
    told = json.loads(run("restore", file, "--password-file", password, "--json").stdout)
    assert told["schema"] == "openledger.restore/1"
    with closing(open_ledger(home.ledger(NETWORK))) as ledger:
        assert told["generations"] == {NETWORK: ledger.generations.current.generation}
    again = run("restore", file, "--password-file", password)
    assert again.status == 3
    assert "a restore replaces nothing: move it away, or name an empty data directory" in again.stderr


def test_a_restore_names_the_command_that_starts_the_service(
    run: Run, password: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = elsewhere(tmp_path, monkeypatch)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "platform", "linux")
    service = service_of(home)
    unit = service.file
    unit.parent.mkdir(parents=True)
    unit.touch()
    ran = run("restore", file, "--password-file", password)
    assert f"`systemctl --user start {service.name}` starts its service" in ran.stderr


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [("wrong horse\n", 4, "the password does not open"), ("\n", 4, "must contain the password on one line")],
)
def test_a_restore_with_a_wrong_password_is_refused(
    run: Run,
    password: str,
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    status: int,
    says: str,
) -> None:
    home = elsewhere(tmp_path, monkeypatch)
    Path(password).write_text(text)
    ran = run("restore", file, "--password-file", password)
    assert ran.status == status
    assert says in ran.stderr
    assert [each.name for each in home.root.iterdir()] == ["node.lock"]


def test_a_short_password_and_no_terminal_are_refused(run: Run, password: str, tmp_path: Path, home: Home) -> None:
    Path(password).write_text("short\n")
    ran = run("backup", str(tmp_path / "b"), "--password-file", password)
    assert (ran.status, "at least 8 characters" in ran.stderr) == (4, True)
    assert not (tmp_path / "b").exists()


def test_nothing_is_restored_beside_a_daemon(
    run: Run, password: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = elsewhere(tmp_path, monkeypatch)
    home.root.mkdir()
    with closing(claim_home(home)):
        ran = run("restore", file, "--password-file", password)
    assert ran.status == 3
    assert "only into an empty data directory: run `openledger-node --home FOLDER restore FILE`" in ran.stderr
    assert "or end the node with `openledger-node stop`, move its folder away, and try again" in ran.stderr


def test_no_file_and_another_file_are_said(run: Run, password: str, tmp_path: Path, home: Home) -> None:
    missing = run("restore", str(tmp_path / "none"), "--password-file", password)
    assert missing.status == 1
    assert "No such file" in missing.stderr
    other = run("restore", password, "--password-file", password)
    assert other.status == 1
    assert "is not a backup of this program" in other.stderr
