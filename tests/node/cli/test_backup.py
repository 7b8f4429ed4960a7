"""`backup` and `restore` as an operator types them."""

import sys
from contextlib import closing
from pathlib import Path

import pytest
from node.cli.verbs import Run

from openledger_node.home import Home, claim_home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.operator import sealed
from openledger_node.operator.background import service_of

NETWORK = "development-1a2b3c4d"


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "SCRYPT_N", 16)


@pytest.fixture
def file(home: Home, run: Run, password_file: str, tmp_path: Path) -> str:
    open_ledger(home.ledger(NETWORK)).close()
    (home.root / "models" / "large").mkdir(parents=True)
    (home.root / "models" / "large" / "weights").write_bytes(bytes(2_000_000))
    file = str(tmp_path / "node.backup")
    assert run("backup", file, "--password-file", password_file).status == 0
    return file


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty data directory for the commands that follow."""
    monkeypatch.setenv("OPENLEDGER_HOME", str(tmp_path / "b"))
    return Home(tmp_path / "b")


def test_a_backup_says_what_is_in_it_and_what_is_not(home: Home, run: Run, password_file: str, file: str) -> None:
    ran = run("backup", file, "--force", "--password-file", password_file)
    assert f"ledgers in it: {NETWORK}" in ran.stderr
    assert "not in it: models, 2.0 MB (downloaded again by `models pull`)" in ran.stderr
    assert ran.stdout == ""
    told = run("backup", file, "--force", "--password-file", password_file, "--json").json
    assert (told["schema"], told["networks"]) == ("openledger.backup/1", [NETWORK])
    assert [(each["path"], each["size_bytes"]) for each in told["left_out"]] == [("models", 2_000_000)]


def test_a_restore_replaces_nothing_and_names_the_generation_of_each_ledger(
    run: Run, password_file: str, file: str, elsewhere: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "platform", "linux")
    service = service_of(elsewhere)
    service.file.parent.mkdir(parents=True)
    service.file.touch()
    elsewhere.root.mkdir()
    with closing(claim_home(elsewhere)):
        busy = run("restore", file, "--password-file", password_file)
    assert (busy.status, "or end the node with `openledger-node stop`, move its folder away" in busy.stderr) == (
        3,
        True,
    )
    restored = run("restore", file, "--password-file", password_file, "--json")
    assert restored.json["schema"] == "openledger.restore/1"
    with closing(open_ledger(elsewhere.ledger(NETWORK))) as ledger:
        assert restored.json["generations"] == {NETWORK: ledger.generations.current.generation}
    again = run("restore", file, "--password-file", password_file)
    assert again.status == 3
    assert "a restore replaces nothing: move it away, or name an empty data directory" in again.stderr


@pytest.mark.parametrize(
    ("words", "typed", "status", "says"),
    [
        (("restore", "FILE"), "wrong horse", 4, "the password does not open"),
        (("restore", "/nowhere/none"), "correct horse", 1, "No such file"),
        (("restore", "PASSWORD"), "correct horse", 1, "is not a backup of this program"),
    ],
)
def test_what_can_not_be_done_is_said_and_nothing_is_restored(
    run: Run,
    password_file: str,
    file: str,
    elsewhere: Home,
    words: tuple[str, str],
    typed: str,
    status: int,
    says: str,
) -> None:
    Path(password_file).write_text(f"{typed}\n")
    command, name = words
    ran = run(command, {"FILE": file, "PASSWORD": password_file}.get(name, name), "--password-file", password_file)
    assert (ran.status, says in ran.stderr) == (status, True), ran.stderr
    assert [each.name for each in elsewhere.root.glob("*")] in ([], ["node.lock"])
