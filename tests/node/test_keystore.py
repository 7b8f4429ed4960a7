"""Key files and the API key: their owner's alone, never written over, with a message for each way to spoil one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account as EthAccount
from eth_keyfile import keyfile
from support.derived_keys import SCRYPT_CHOSEN

from openledger_node import keystore
from openledger_node.api_key import api_key_file, load_api_key
from openledger_node.errors import ConfigError, KeyFileError
from openledger_node.home import Home
from openledger_node.keystore import (
    AUTHORIZER,
    SIGNER,
    WALLET,
    Key,
    Password,
    create_account,
    ensure_development_wallet,
    ensure_hot_keys,
    ensure_node_password,
    find_account,
    import_account,
    is_unattended,
    key_from_private,
    list_accounts,
    read_key,
    read_password_file,
    unlock,
    unlock_unattended,
    write_key_file,
)

DEVELOPMENT, REAL = "development-1a2b3c4d", "openledger-8453"
KNOWN = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
KNOWN_ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

# Published with the definition of the format: two files, their one password and their one key.
PUBLISHED_PASSWORD = Password(text="testpassword")
PUBLISHED_KEY = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
PUBLISHED = json.loads(Path(__file__).with_name("published_keystores.json").read_text())

CREATE = """
import sys
from pathlib import Path
from openledger_node.home import Home
from openledger_node.keystore import ensure_hot_keys
sys.stdin.read()
print(ensure_hot_keys(Home(Path(sys.argv[1])), "development-1a2b3c4d"))
"""


@pytest.fixture
def password() -> Password:
    """As one that was drawn, so that a test does not wait a second for each file."""
    return Password(text="correct horse", is_drawn=True)


def write_private(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)
    return file


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


# ── one key file ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_account_has_a_key_of_its_own_in_a_file_of_its_owners_alone(home: Home, password: Password) -> None:
    drawn = create_account(home.keys, "savings", password)
    assert unlock(drawn, password).address == drawn.address != create_account(home.keys, "b", password).address
    imported = import_account(home.keys, WALLET, key_from_private(KNOWN), password)
    assert unlock(imported, password) == Key(address=KNOWN_ADDRESS, private_key=KNOWN)
    assert find_account(home.keys, "savings") == drawn
    assert {account.name for account in list_accounts(home.keys)} == {"savings", "b", WALLET}
    assert home.keys.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in home.keys.iterdir()} == {0o600}


def test_nothing_shows_a_key_or_a_password(password: Password) -> None:
    shown = f"{key_from_private(KNOWN)!r} {key_from_private(KNOWN)} {password!r} {password}"
    assert KNOWN.hex() not in shown
    assert repr(KNOWN) not in shown
    assert password.text not in shown


def test_a_key_is_never_written_over(home: Home, password: Password) -> None:
    before = create_account(home.keys, WALLET, password)
    with pytest.raises(KeyFileError, match=r"wallet.json exists already, and keys are never overwritten"):
        create_account(home.keys, WALLET, password)
    assert find_account(home.keys, WALLET) == before
    assert [file.name for file in home.keys.iterdir()] == ["wallet.json"]


@pytest.mark.parametrize("name", ["../wallet", "", ".hidden", "x" * 65])
def test_a_name_that_is_no_file_name_is_refused(home: Home, password: Password, name: str) -> None:
    with pytest.raises(KeyFileError, match="not a name"):
        create_account(home.keys, name, password)
    assert not home.keys.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_file_that_others_can_read_is_refused_with_the_fix(home: Home, password: Password, mode: int) -> None:
    account = create_account(home.keys, WALLET, password)
    account.file.chmod(mode)
    with pytest.raises(KeyFileError, match=f"can be read by others: run `chmod 600 {account.file}`"):
        unlock(account, password)


SPOILT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another version": (lambda c: c.update(version=4), "is not a Web3 keystore of version 3"),
    "no address": (lambda c: c.pop("address"), "names no address"),
    "another address": (lambda c: c.update(address="00" * 20), "it names 0x0000000000000000000000000000000000000000"),
    "no crypto": (lambda c: c.pop("crypto"), "its field crypto"),
    "another cipher": (lambda c: c["crypto"].update(cipher="rot13"), "its field crypto"),
    "a short ciphertext": (lambda c: c["crypto"].update(ciphertext="00"), "its field crypto"),
    "a number for a text": (lambda c: c["crypto"].update(mac=7), "its field crypto"),
    "another kdf": (lambda c: c["crypto"].update(kdf="md5"), "its field crypto"),
    "a key too short for the MAC": (lambda c: c["crypto"]["kdfparams"].update(dklen=16), "its field crypto"),
    "a cost that is no power of two": (lambda c: c["crypto"]["kdfparams"].update(n=4097), "its field crypto"),
    "a cost of a thousand digits": (lambda c: c["crypto"]["kdfparams"].update(n=2**3000), "its field crypto"),
    "a count that is none": (lambda c: c["crypto"]["kdfparams"].update(n=True), "its field crypto"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILT.values(), ids=SPOILT.keys())
def test_a_spoilt_key_file_says_what_is_wrong(
    home: Home, password: Password, spoil: Callable[[dict[str, Any]], Any], message: str
) -> None:
    file = create_account(home.keys, WALLET, password).file
    edit(file, spoil)
    with pytest.raises(KeyFileError, match=message) as refused:
        unlock(find_account(home.keys, WALLET), password)
    assert str(refused.value).startswith(f"{file} is damaged")


MOST = "at most n = 524,288, r = 8 and p = 16"
COSTLY: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "64 GiB of memory": (
        lambda c: c.update(n=2**26),
        f"68.7 GB of memory, by scrypt with n = 67,108,864, r = 8 and p = 1 ({MOST})",
    ),
    "hours of work": (
        lambda c: c.update(p=2**20),
        f"4.2 MB of memory, by scrypt with n = 4,096, r = 8 and p = 1,048,576 ({MOST})",
    ),
    "hours of pbkdf2": (
        lambda c: c.update(c=2**40, prf="hmac-sha256", kdf="pbkdf2"),
        "pbkdf2 with c = 1,099,511,627,776 (at most 10,000,000)",
    ),
}


@pytest.mark.parametrize(("spoil", "cost"), COSTLY.values(), ids=COSTLY.keys())
def test_a_key_file_that_asks_for_more_than_wallets_do_is_refused_before_it_is_opened(
    home: Home, password: Password, spoil: Callable[[dict[str, Any]], Any], cost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = create_account(home.keys, WALLET, password)
    edit(account.file, lambda c: spoil(c["crypto"]["kdfparams"]))
    monkeypatch.setattr(keystore, "eth_account", lambda: pytest.fail("it costs what the file asks for"))
    for read in (lambda: unlock(account, password), lambda: read_key(account.file, lambda: password)):
        with pytest.raises(KeyFileError) as refused:
            read()
        assert f"{account.file} asks for {cost}, more than wallet programs ask for" in str(refused.value)


SECOND_NAMES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "crypto": lambda c, costly: c.update(Crypto=c["crypto"] | {"kdfparams": costly}),
    "kdfparams": lambda c, costly: c["crypto"].update(KDFParams=costly),
    "n": lambda c, costly: c["crypto"]["kdfparams"].update(N=costly["n"]),
    "kdf": lambda c, costly: c["crypto"]["kdfparams"].update(kdf="pbkdf2", prf="hmac-sha256", c=1, n=costly["n"]),
}


@pytest.mark.parametrize("write", SECOND_NAMES.values(), ids=SECOND_NAMES.keys())
def test_a_second_name_of_a_field_brings_no_cost_past_the_check(
    home: Home,
    password: Password,
    write: Callable[[dict[str, Any], dict[str, Any]], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """eth-account reads names in any case, and the last one counts."""
    account = create_account(home.keys, WALLET, password)
    edit(account.file, lambda c: write(c, c["crypto"]["kdfparams"] | {"n": 2**26}))
    asked: list[int] = []
    monkeypatch.setattr(keyfile, "scrypt", lambda *_, N, **__: asked.append(N) or bytes(32))
    with suppress(KeyFileError):
        unlock(account, password)
    assert max(asked, default=0) <= 2**12


@pytest.mark.process
def test_opening_a_key_leaves_the_recursion_limit_as_it_was(home: Home) -> None:
    """A library of eth-account raises it, after which JSON that is nested 50,000 deep ends the process."""
    command = [sys.executable, "-c", f"{CREATE}\nprint(sys.getrecursionlimit())", str(home.root)]
    ran = subprocess.run(command, input="", capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "1000"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"[" * 9999, b"\xff\xfe", b'{"version": 1' + b"0" * 9000 + b"}", b" " * 70_000]
)
def test_a_file_that_is_no_keystore_or_is_endless_is_refused(home: Home, content: bytes) -> None:
    file = write_private(home.keys / "wallet.json", "")
    file.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"wallet\.json is (damaged|too long for a key file)") as refused:
        find_account(home.keys, WALLET)
    assert ("too long" in str(refused.value)) == (len(content) > 65_536)


def test_a_write_that_fails_leaves_nothing(home: Home, password: Password, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="is full: free some space"):
        create_account(home.keys, WALLET, password)
    assert list(home.keys.iterdir()) == []


# ── keys of other programs ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("written", [KNOWN.hex(), "0x" + KNOWN.hex().upper(), f"\n {KNOWN.hex()}\n\n"])
def test_a_key_in_hex_is_read(tmp_path: Path, written: str) -> None:
    file = write_private(tmp_path / "key", written)
    assert read_key(file, lambda: pytest.fail("hex digits have no password")).address == KNOWN_ADDRESS
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_key(file, lambda: PUBLISHED_PASSWORD)


@pytest.mark.parametrize("kdf", PUBLISHED)
def test_the_published_key_files_of_the_format_are_read(tmp_path: Path, kdf: str) -> None:
    file = write_private(tmp_path / "key", json.dumps({"crypto": PUBLISHED[kdf], "id": "x", "version": 3}))
    assert read_key(file, lambda: PUBLISHED_PASSWORD).private_key.hex() == PUBLISHED_KEY
    with pytest.raises(KeyFileError, match=r"^the password does not open"):
        read_key(file, lambda: Password(text="testpasswort"))


@pytest.mark.parametrize(
    ("kdf", "params", "weak"),
    [
        ("scrypt", {"n": 2**11, "r": 8}, "scrypt with n = 2,048 and r = 8 (at least n = 4,096 for this r)"),
        ("scrypt", {"n": 2**14, "r": 1}, "at least n = 32,768 for this r"),
        ("pbkdf2", {"c": 9_999}, "pbkdf2 with c = 9,999 (at least 10,000)"),
    ],
)
def test_a_foreign_weak_key_file_is_refused(tmp_path: Path, kdf: str, params: dict[str, int], weak: str) -> None:
    crypto = PUBLISHED[kdf] | {"kdfparams": PUBLISHED[kdf]["kdfparams"] | params}
    file = write_private(tmp_path / "key", json.dumps({"crypto": crypto, "id": "x", "version": 3}))
    with pytest.raises(KeyFileError, match="Export the key again") as raised:
        read_key(file, lambda: pytest.fail("its password is not needed to see that"))
    assert weak in str(raised.value)


def test_the_weakest_lock_of_a_wallet_program_is_taken(tmp_path: Path) -> None:
    content = EthAccount.encrypt(KNOWN, "testpassword", kdf="scrypt", iterations=2**12)
    file = write_private(tmp_path / "key", json.dumps(content))
    assert read_key(file, lambda: PUBLISHED_PASSWORD).address == KNOWN_ADDRESS


NO_HEX = "is not a key: it must contain 64 hex digits or a Web3 keystore V3 object"
NO_KEYS = [*((text, NO_HEX) for text in ("", KNOWN.hex()[1:], KNOWN.hex() + "00", "g" * 64))]
NO_KEYS += [(f"{number:064x}", "are not a key") for number in (0, ORDER)]  # the curve has no such points


@pytest.mark.parametrize(("written", "message"), NO_KEYS)
def test_what_is_no_key_is_refused(tmp_path: Path, written: str, message: str) -> None:
    file = write_private(tmp_path / "key", written)
    with pytest.raises(KeyFileError, match=message):
        read_key(file, lambda: PUBLISHED_PASSWORD)


def test_a_chosen_password_is_costly_to_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "SCRYPT_CHOSEN", SCRYPT_CHOSEN)
    write_key_file(tmp_path / "exported.json", key_from_private(KNOWN), Password(text="näher zu dir"))
    content = json.loads((tmp_path / "exported.json").read_text())
    assert content["crypto"]["kdfparams"]["n"] == 2**18
    assert bytes(EthAccount.decrypt(content, "näher zu dir")) == KNOWN


# ── passwords ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("written", [" correct horse ", " correct horse \n", " correct horse \r\n"])
def test_a_password_file_is_its_one_line_with_its_blanks(tmp_path: Path, written: str) -> None:
    assert read_password_file(write_private(tmp_path / "password", written)).text == " correct horse "


def test_a_password_file_that_is_missing_open_to_others_or_not_of_one_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"cannot read .*password: No such file"):
        read_password_file(tmp_path / "password")
    for written in ("", "\n", "one\ntwo\n"):
        with pytest.raises(KeyFileError, match="must contain the password on one line"):
            read_password_file(write_private(tmp_path / "password", written))
    write_private(tmp_path / "password", "x").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_password_file(tmp_path / "password")


def test_the_nodes_password_is_drawn_once_and_its_owners_alone(home: Home) -> None:
    password = ensure_node_password(home.keys)
    assert len(password.text) == 64
    assert ensure_node_password(home.keys) == password
    file = home.keys / keystore.PASSWORD_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        ensure_hot_keys(home, REAL)
    assert not (home.keys / "signer.json").exists(), "no key is drawn under a password that others can read"


# ── keys that a daemon opens by itself ────────────────────────────────────────────────────────────────────────────


def test_hot_keys_are_drawn_once_and_stay(home: Home) -> None:
    keys = ensure_hot_keys(home, REAL)
    assert keys.signer.address != keys.authorizer.address
    assert ensure_hot_keys(home, REAL) == keys
    assert {file.name for file in home.keys.iterdir()} == {"signer.json", "authorizer.json", "node.password"}
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in home.keys.iterdir())


def test_real_networks_share_their_keys_and_each_development_network_has_its_own(home: Home) -> None:
    real = ensure_hot_keys(home, REAL)
    assert ensure_hot_keys(home, "openledger-1") == real
    keys = [real, ensure_hot_keys(home, DEVELOPMENT), ensure_hot_keys(home, "development-00000000")]
    assert len({key.address for hot in keys for key in (hot.signer, hot.authorizer)}) == 6
    assert (home.network(DEVELOPMENT) / "keys" / "signer.json").exists()


def test_a_development_network_has_a_throwaway_wallet_that_nobody_is_asked_for(home: Home) -> None:
    key = ensure_development_wallet(home, DEVELOPMENT)
    assert ensure_development_wallet(home, DEVELOPMENT) == key
    assert unlock_unattended(find_account(home.network_keys(DEVELOPMENT), WALLET)) == key
    assert not home.keys.exists()


def test_a_real_wallet_is_never_made_by_itself(home: Home) -> None:
    with pytest.raises(AssertionError):
        ensure_development_wallet(home, REAL)
    ensure_hot_keys(home, REAL)
    assert not (home.keys / "wallet.json").exists()


@pytest.mark.parametrize(
    ("network", "name", "expected"),
    [
        (REAL, WALLET, False),
        (REAL, "savings", False),
        (REAL, SIGNER, True),
        (REAL, AUTHORIZER, True),
        (DEVELOPMENT, WALLET, True),
        (DEVELOPMENT, "savings", True),
    ],
)
def test_a_person_is_asked_for_real_wallets_alone(network: str, name: str, expected: bool) -> None:
    assert is_unattended(network, name) == expected


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        (keystore.PASSWORD_FILE, Path.unlink, r"node.password is missing, .* restore it from a backup"),
        (
            keystore.PASSWORD_FILE,
            lambda file: file.write_text("00" * 32),
            r"node\.password does not open .*signer\.json",
        ),
        ("signer.json", lambda file: file.write_text("{"), r"signer\.json is damaged"),
    ],
    ids=["no password", "another node's password", "a damaged key"],
)
def test_hot_keys_are_never_replaced(home: Home, file: str, spoil: Callable[[Path], object], message: str) -> None:
    ensure_hot_keys(home, REAL)
    spoil(home.keys / file)
    before = (home.keys / "signer.json").read_bytes()
    with pytest.raises(KeyFileError, match=message):
        ensure_hot_keys(home, REAL)
    assert (home.keys / "signer.json").read_bytes() == before


@pytest.mark.process
def test_processes_that_start_at_once_agree_on_one_set_of_keys(home: Home) -> None:
    command = [sys.executable, "-c", CREATE, str(home.root)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate()[0] for process in started]
    assert len(set(said)) == 1
    assert said[0].count("0x") == 2


# ---- the API key: drawn once, its owner's alone, whole or not there


# A disk that takes six bytes of a file and no more: Python ignores the signal, and the write fails half-way.
FULL_DISK = """
import resource, sys
from pathlib import Path
from openledger_node.home import Home
from openledger_node.api_key import load_api_key
resource.setrlimit(resource.RLIMIT_FSIZE, (6, 6))
load_api_key(Home(Path(sys.argv[1])))
"""


def test_each_data_directory_has_a_private_key(home: Home, tmp_path_factory: pytest.TempPathFactory) -> None:
    key = load_api_key(home)
    assert key.startswith("olk-")
    assert len(key) > 40
    assert load_api_key(home) == key != load_api_key(Home(tmp_path_factory.mktemp("other")))
    assert api_key_file(home).stat().st_mode & 0o777 == 0o600
    assert home.keys.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_can_reach_is_refused_with_the_line_that_mends_it(home: Home, mode: int) -> None:
    load_api_key(home)
    file = api_key_file(home)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"run `chmod 600 {file}`"):
        load_api_key(home)


@pytest.mark.parametrize("content", ["", "  \n"])
def test_an_empty_key_lets_nobody_in(home: Home, content: str) -> None:
    load_api_key(home)
    api_key_file(home).write_text(content)
    with pytest.raises(ConfigError, match="is empty: delete it"):
        load_api_key(home)


@pytest.mark.process
def test_a_write_that_was_cut_off_leaves_no_key_and_the_next_start_draws_a_whole_one(home: Home) -> None:
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(home.root)], capture_output=True, check=False)
    assert run.returncode != 0
    assert not api_key_file(home).exists()
    key = load_api_key(home)
    assert len(key) > 40
    assert [file.name for file in home.keys.iterdir()] == ["api.key"]


def test_what_a_cut_off_write_left_behind_is_no_key(home: Home) -> None:
    home.keys.mkdir()
    (home.keys / "api.partial").write_text("olk-torn")
    (home.keys / "api.partial").chmod(0o644)
    assert load_api_key(home) != "olk-torn"
    assert api_key_file(home).stat().st_mode & 0o777 == 0o600
