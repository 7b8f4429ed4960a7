"""`wallet keyring`: passwords in the OS keyring, here one in memory behind the library's own interface."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked, PasswordDeleteError
from support.chain_world.deployed import deploy_over
from support.chain_world.ways import served_chain
from support.verbs import Run, type_on_terminal

from openledger_node.chain.dev.faucet import fund
from openledger_node.cli.chain import open_endpoint
from openledger_node.home import Home
from openledger_node.network_file import join_network
from openledger_protocol.primitives import check_address

PASSWORD = "correct horse"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


class MemoryKeyring(KeyringBackend):
    """Passwords in memory."""

    priority = 1  # type: ignore[assignment]  # the library declares a property of the class

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.kept.pop((service, username), None) is None:
            raise PasswordDeleteError("not found")


class LockedKeyring(MemoryKeyring):
    """A keyring whose owner does not unlock it."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("locked")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise KeyringLocked("locked")


@pytest.fixture(autouse=True)
def memory() -> Iterator[MemoryKeyring]:
    made, before = MemoryKeyring(), keyring.get_keyring()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    return secret(tmp_path / "password", PASSWORD)


@pytest.fixture
def address(run: Run, password_file: str) -> str:
    """The node's wallet, locked by a person's password."""
    made: str = run("wallet", "create", "--password-file", password_file, "--json").json["address"]
    return made


def secret(file: Path, text: str) -> str:
    file.write_text(text + "\n")
    file.chmod(0o600)
    return str(file)


def export(run: Run, tmp_path: Path, name: str, *words: str) -> tuple[int, str]:
    """Open the wallet, with no terminal to ask at."""
    new = secret(tmp_path / "new", "battery staple")
    ran = run("wallet", "export", "--out", str(tmp_path / name), "--out-password-file", new, *words)
    return ran.status, ran.stderr


def test_a_stored_password_opens_the_wallet_until_it_is_forgotten(
    run: Run, tmp_path: Path, memory: MemoryKeyring, address: str, password_file: str
) -> None:
    assert export(run, tmp_path, "before.json")[0] == 4
    stored = run("wallet", "keyring", "store", "--password-file", password_file, "--json")
    assert stored.status == 0, stored.stderr
    assert stored.json == {
        "schema": "openledger.keyring/1",
        "name": "wallet",
        "address": address,
        "is_stored": True,
    }
    assert memory.kept == {("openledger-node", address): PASSWORD}
    status, said = export(run, tmp_path, "stored.json")
    assert (status, "the password of wallet is from the OS keyring" in said) == (0, True)
    assert "removed from the OS keyring" in run("wallet", "keyring", "forget").stderr
    assert memory.kept == {}
    assert export(run, tmp_path, "after.json")[0] == 4
    again = run("wallet", "keyring", "forget")
    assert (again.status, f"has no password of wallet, {address}" in again.stderr) == (4, True)


def test_a_transaction_is_sent_with_the_stored_password(
    run: Run, home: Home, address: str, password_file: str
) -> None:
    with served_chain() as url:
        network = deploy_over(url)
        join_network(home, replace(network, network="openledger-test"))  # a real one, with its accounts in keys/
        with open_endpoint(url) as client:
            fund(client, network, check_address(address), coin_wei=10**18, open_wei=10**18)
        refused = run("stake", "add", "1", "--yes")
        assert (refused.status, "no terminal to ask" in refused.stderr) == (4, True)
        run("wallet", "keyring", "store", "--password-file", password_file)
        sent = run("stake", "add", "1", "--yes", "--json")
        assert sent.status == 0, sent.stderr
        assert run("stake", "show", "--json").json["bonded_wei"] == str(10**18)


def test_a_password_file_goes_before_the_keyring(run: Run, tmp_path: Path, address: str, password_file: str) -> None:
    run("wallet", "keyring", "store", "--password-file", password_file)
    wrong = secret(tmp_path / "wrong", "wrong horse")
    status, said = export(run, tmp_path, "copy.json", "--password-file", wrong)
    assert (status, "OS keyring" in said) == (4, False)


def test_a_wrong_password_is_not_stored(run: Run, tmp_path: Path, memory: MemoryKeyring, address: str) -> None:
    ran = run("wallet", "keyring", "store", "--password-file", secret(tmp_path / "wrong", "wrong horse"))
    assert (ran.status, "the password does not open" in ran.stderr, memory.kept) == (4, True, {})


def test_a_stored_password_is_not_that_of_another_account(
    run: Run, tmp_path: Path, address: str, password_file: str
) -> None:
    run("wallet", "create", "spare", "--password-file", secret(tmp_path / "other", "battery staple"))
    run("wallet", "keyring", "store", "--password-file", password_file)
    status, said = export(run, tmp_path, "spare.json", "spare")
    assert (status, "no terminal to ask for the password" in said) == (4, True)


def test_no_output_has_the_password(run: Run, tmp_path: Path, address: str, password_file: str) -> None:
    ran = [
        run("wallet", "keyring", "store", "--password-file", password_file),
        run("wallet", "keyring", "store", "--password-file", password_file, "--json"),
        run("wallet", "keyring", "forget", "--json"),
    ]
    said = "".join(each.stdout + each.stderr for each in ran) + export(run, tmp_path, "copy.json")[1]
    assert PASSWORD not in said


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        (fail.Keyring, "No recommended backend was available"),
        (LockedKeyring, "locked"),
        (null.Keyring, "it does not return what was stored"),
    ],
)
def test_without_a_keyring_storing_says_so_and_reading_is_silent(
    run: Run, tmp_path: Path, address: str, password_file: str, backend: type[KeyringBackend], says: str
) -> None:
    keyring.set_keyring(backend())
    ran = run("wallet", "keyring", "store", "--password-file", password_file)
    assert ran.status == 4
    assert "this machine's keyring can't be used" in ran.stderr
    assert says in ran.stderr
    status, said = export(run, tmp_path, "copy.json")
    assert (status, "OS keyring" in said, "no terminal to ask" in said) == (4, False, True)


def test_without_the_library_the_extra_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, password_file: str
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    for words in (("store", "--password-file", password_file), ("forget",)):
        ran = run("wallet", "keyring", *words)
        assert (ran.status, 'pip install "openledger-node[keyring]"' in ran.stderr) == (4, True)
    status, said = export(run, tmp_path, "copy.json")
    assert (status, "no terminal to ask" in said) == (4, True)


def test_accounts_without_a_typed_password_are_not_stored(run: Run, home: Home, memory: MemoryKeyring) -> None:
    with served_chain() as url:
        join_network(home, deploy_over(url))
        run("wallet", "create")
        run("wallet", "watch", ADDRESS, "cold")
        opened, watched = run("wallet", "keyring", "store"), run("wallet", "keyring", "store", "cold")
    assert (opened.status, "with its own password" in opened.stderr) == (4, True)
    assert (watched.status, "is not here" in watched.stderr) == (4, True)
    assert memory.kept == {}


def test_at_a_terminal_the_password_is_asked_for_and_not_seen(home: Home, run: Run, address: str) -> None:
    answers = [("password of", PASSWORD)]
    ran = type_on_terminal(home, "wallet", "keyring", "store", answers=answers)
    assert answers == []
    assert (ran.status, PASSWORD in ran.stdout) == (4, False)  # the terminal's process has no keyring that keeps it
    assert "it does not return what was stored" in ran.stdout
