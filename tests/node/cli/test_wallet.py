"""`wallet`: keys made, brought in, shown and taken out; who is asked for a password, and what is never shown."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from node.cli.verbs import Run, type_on_terminal
from support.chain_world.deployed import deploy_over
from support.chain_world.ways import served_chain

from openledger_node.chain.dev.faucet import fund
from openledger_node.cli.chain import open_endpoint
from openledger_node.home import Home
from openledger_node.keystore import find_account, unlock_unattended
from openledger_node.network_file import Network, embed_network, join_network
from openledger_protocol.primitives import check_address

KEY_HEX = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    return secret(tmp_path / "key", KEY_HEX)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A development network whose chain answers."""
    with served_chain() as url:
        yield deploy_over(url)


def secret(file: Path, text: str) -> str:
    file.write_text(text + "\n")
    file.chmod(0o600)
    return str(file)


# ── real wallets ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wallet_is_made_and_shown(run: Run, home: Home, password_file: str) -> None:
    made = run("wallet", "create", "--password-file", password_file, "--json")
    assert (made.status, made.stderr) == (0, "")
    assert made.json == {
        "schema": "openledger.wallet/1",
        "name": "wallet",
        "address": check_address(made.json["address"]),
        "file": str(home.keys / "wallet.json"),
        "network": "local",
        "role": "node",
        "has_own_password": True,
        "balances": None,
    }
    shown = run("wallet", "show", "--json")
    assert (shown.status, shown.stderr) == (0, "")
    assert shown.json == {**made.json, "others": []}
    savings = run("wallet", "create", "savings", "--password-file", password_file)
    assert savings.stdout == ""
    assert "keep a copy of this file and of its password; nobody can restore either" in savings.stderr
    lines = dict(line.split(maxsplit=1) for line in run("wallet", "show", "savings").stdout.splitlines())
    assert (lines["role"], lines["network"]) == ("cold: used when a command names it", "none yet")


@pytest.mark.parametrize(
    "words", [["create"], ["import", "--key-file", "KEY"], ["export", "--out", "OUT"]], ids=lambda words: words[0]
)
def test_without_a_terminal_or_a_file_there_is_no_password(
    run: Run, home: Home, tmp_path: Path, key_file: str, password_file: str, words: list[str]
) -> None:
    if words[0] == "export":
        run("wallet", "create", "--password-file", password_file)
    files = {"KEY": key_file, "OUT": str(tmp_path / "out.json")}
    ran = run("wallet", *[files.get(word, word) for word in words])
    assert (ran.status, ran.stdout) == (4, "")
    assert "no terminal to ask for the" in ran.stderr
    assert "give --password-file FILE" in ran.stderr


# ── development networks ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_development_network_has_its_own_keys(run: Run, home: Home, network: Network, password_file: str) -> None:
    embed_network(home, network)
    real = run("wallet", "create", "--network", "real", "--password-file", password_file, "--json")
    assert real.json["file"] == str(home.keys / "wallet.json")
    assert run("wallet", "show", "--network", "real", "--json").json["address"] == real.json["address"]
    assert run("wallet", "show").status == 4
    made = run("wallet", "create", "--json")
    assert made.status == 0, made.stderr
    assert (made.json["network"], made.json["has_own_password"]) == (network.network, False)
    folder = home.network_keys(network.network)
    assert unlock_unattended(find_account(folder, "wallet")).address == made.json["address"]


def test_balances_are_shown_while_the_chain_answers(run: Run, home: Home, network: Network) -> None:
    join_network(home, network)
    address = run("wallet", "create", "--json").json["address"]
    with open_endpoint(network.rpc[0]) as client:
        fund(client, network, address, coin_wei=15 * 10**17, open_wei=2500 * 10**18 + 1)
    shown = run("wallet", "show", "--json")
    assert shown.json["balances"] == {"coin_wei": "1500000000000000000", "open_wei": "2500000000000000000001"}
    lines = dict(line.split(maxsplit=1) for line in run("wallet", "show").stdout.splitlines())
    assert (lines["coins"], lines["OPEN"]) == ("1.5", "2,500.000000000000000001")
    strange = replace(network, contracts={**network.contracts, "OpenToken": check_address("0x" + "9" * 40)})
    home.network_file(network.network).unlink()
    join_network(home, strange)
    assert "is not on its chain: was the chain reset?" in run("wallet", "show").stderr
    join_network(home, replace(strange, rpc=("http://127.0.0.1:1",)))
    shown = run("wallet", "show", "--json")
    assert (shown.status, shown.json["balances"]) == (0, None)
    assert "no balances: no endpoint of development-" in shown.stderr


def test_import_and_export_print_no_secret(run: Run, tmp_path: Path, password_file: str, key_file: str) -> None:
    imported = run("wallet", "import", "--key-file", key_file, "--password-file", password_file, "--json")
    assert (imported.status, imported.json["address"]) == (0, ADDRESS)
    out, other = tmp_path / "copy.json", secret(tmp_path / "other", "battery staple")
    flags = ["--out", str(out), "--password-file", password_file, "--out-password-file", other]
    exported = run("wallet", "export", *flags)
    assert f"{out} holds the key of {ADDRESS}, as Web3 keystore V3" in exported.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    back = ["--key-file", str(out), "--key-password-file", other, "--password-file", password_file]
    again = run("wallet", "import", "again", *back, "--json")
    assert again.json["address"] == ADDRESS
    taken = run("wallet", "import", "--key-file", key_file, "--password-file", password_file)
    printed = "".join(ran.stdout + ran.stderr for ran in (imported, exported, again, taken, run("wallet", "show")))
    assert not any(word in printed for word in (KEY_HEX[:16], "correct horse", "battery staple"))


def test_a_refusal_leaves_no_file(run: Run, home: Home, tmp_path: Path, password_file: str) -> None:
    shown = run("wallet", "show", "--json")
    create = "create it with `openledger-node wallet create wallet`"
    assert (shown.status, shown.stderr) == (4, f"error there is no wallet in {home.keys}: {create}\n")
    short = run("wallet", "create", "--password-file", secret(tmp_path / "short", "horse"))
    assert (short.status, "the password is too short: use at least 8 characters" in short.stderr) == (4, True)
    local = run("wallet", "create", "--network", "local")
    assert (local.status, "`--network real` means all real networks" in local.stderr) == (2, True)
    for unknown in ("development-00000000", "development-../../..", "../.."):
        assert run("wallet", "create", "--network", unknown).status == 3
    assert list(home.root.iterdir()) == []
    run("wallet", "create", "--password-file", password_file)
    assert "keys are never overwritten" in run("wallet", "create").stderr, "before a password is asked for"
    flags = ["--password-file", secret(tmp_path / "wrong", "wrong horse"), "--out-password-file", password_file]
    wrong = run("wallet", "export", "--out", str(tmp_path / "out.json"), *flags)
    assert (wrong.status, "the password does not open" in wrong.stderr) == (4, True)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.process
def test_at_a_terminal_a_new_password_is_typed_twice_not_seen_and_asked_for_again_if_they_differ(home: Home) -> None:
    answers = [("new password for wallet", "correct horse"), ("Repeat", "correct horst")]
    answers += [("new password for wallet", "battery staple"), ("Repeat", "battery staple")]
    ran = type_on_terminal(home, "wallet", "create", answers=answers)
    assert (ran.status, answers) == (0, []), ran.stdout
    assert "battery staple" not in ran.stdout
    assert (home.keys / "wallet.json").exists()
