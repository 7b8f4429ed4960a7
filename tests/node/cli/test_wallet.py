"""`wallet`: keys made, brought in, shown and taken out; who is asked for a password, and what is never shown."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.chain_world.deployed import deploy_over
from support.chain_world.ways import served_chain
from support.verbs import Run, type_on_terminal

from openledger_node.chain.dev.faucet import fund
from openledger_node.cli.chain import open_endpoint
from openledger_node.home import Home
from openledger_node.keystore import find_account, unlock_unattended
from openledger_node.network_file import Network, embed_network, join_network
from openledger_protocol.primitives import check_address

KEY_HEX = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    return secret(tmp_path / "password", "correct horse")


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


def test_a_wallet_for_people_is_told_on_stderr_with_what_to_do(run: Run, home: Home, password_file: str) -> None:
    made = run("wallet", "create", "savings", "--password-file", password_file)
    assert made.stdout == ""
    assert f" in {home.keys / 'savings.json'}" in made.stderr
    assert "keep a copy of this file and of its password; nobody can restore either" in made.stderr
    lines = dict(line.split(maxsplit=1) for line in run("wallet", "show", "savings").stdout.splitlines())
    assert lines["wallet"] == "savings"
    assert lines["role"] == "cold: used when a command names it"
    assert lines["network"] == "none yet"


def test_a_key_is_imported_and_exported_again(run: Run, tmp_path: Path, password_file: str, key_file: str) -> None:
    imported = run("wallet", "import", "--key-file", key_file, "--password-file", password_file, "--json")
    assert (imported.status, imported.json["address"]) == (0, ADDRESS)
    out, other = tmp_path / "copy.json", secret(tmp_path / "other", "battery staple")
    flags = ["--out", str(out), "--password-file", password_file, "--out-password-file", other]
    exported = run("wallet", "export", *flags)
    assert exported.status == 0, exported.stderr
    assert f"{out} holds the key of {ADDRESS}, as Web3 keystore V3" in exported.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    back = ["--key-file", str(out), "--key-password-file", other, "--password-file", password_file]
    assert run("wallet", "import", "again", *back, "--json").json["address"] == ADDRESS
    assert {other["name"] for other in run("wallet", "show", "--json").json["others"]} == {"again"}


def test_nothing_that_is_printed_holds_a_key_or_a_password(
    run: Run, tmp_path: Path, password_file: str, key_file: str
) -> None:
    out = tmp_path / "copy.json"
    flags = ["--password-file", password_file]
    ran = [
        run("wallet", "import", "--key-file", key_file, *flags),
        run("wallet", "export", "--out", str(out), "--out-password-file", password_file, *flags, "--json"),
        run("wallet", "show"),
        run("wallet", "import", "--key-file", key_file, *flags),
    ]
    printed = "".join(one.stdout + one.stderr for one in ran)
    assert KEY_HEX[:16] not in printed
    assert "correct horse" not in printed


@pytest.mark.parametrize(
    "words",
    [
        ["create"],
        ["import", "--key-file", "KEY"],
        ["export", "--out", "OUT"],
    ],
    ids=lambda words: words[0],
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


def test_a_wrong_password_ends_with_4(run: Run, tmp_path: Path, password_file: str) -> None:
    run("wallet", "create", "--password-file", password_file)
    wrong = secret(tmp_path / "wrong", "wrong horse")
    flags = ["--password-file", wrong, "--out-password-file", password_file]
    ran = run("wallet", "export", "--out", str(tmp_path / "out.json"), *flags)
    assert (ran.status, ran.stdout) == (4, "")
    assert "the password does not open" in ran.stderr
    assert not (tmp_path / "out.json").exists()


def test_a_short_password_is_refused(run: Run, home: Home, tmp_path: Path) -> None:
    ran = run("wallet", "create", "--password-file", secret(tmp_path / "short", "horse"))
    assert ran.status == 4
    assert "the password is too short: use at least 8 characters" in ran.stderr
    assert not home.keys.exists()


def test_a_name_that_is_taken_is_told_before_a_password_is_asked_for(run: Run, password_file: str) -> None:
    run("wallet", "create", "--password-file", password_file)
    ran = run("wallet", "create")
    assert ran.status == 4
    assert "keys are never overwritten" in ran.stderr


def test_a_missing_wallet_ends_with_4_and_the_verb_that_makes_it(run: Run, home: Home) -> None:
    ran = run("wallet", "show", "--json")
    assert (ran.status, ran.stdout) == (4, "")
    assert (
        ran.stderr
        == f"error there is no wallet in {home.keys}: create it with `openledger-node wallet create wallet`\n"
    )
    assert list(home.root.iterdir()) == []


# ── at a terminal ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_at_a_terminal_a_new_password_is_typed_twice_and_not_seen(home: Home) -> None:
    answers = [("new password for wallet", "correct horse"), ("Repeat", "correct horse")]
    ran = type_on_terminal(home, "wallet", "create", answers=answers)
    assert ran.status == 0, ran.stdout
    assert answers == []
    assert "correct horse" not in ran.stdout
    assert (home.keys / "wallet.json").exists()


def test_two_that_differ_are_asked_for_again(home: Home) -> None:
    answers = [("new password for wallet", "correct horse"), ("Repeat", "correct horst")]
    answers += [("new password for wallet", "battery staple"), ("Repeat", "battery staple")]
    assert type_on_terminal(home, "wallet", "create", answers=answers).status == 0
    assert answers == []


# ── development networks ──────────────────────────────────────────────────────────────────────────────────────────


def test_on_a_development_network_nobody_is_asked_and_keys_lie_with_it(
    run: Run, home: Home, network: Network
) -> None:
    join_network(home, network)
    made = run("wallet", "create", "--json")
    assert made.status == 0, made.stderr
    assert (made.json["network"], made.json["has_own_password"]) == (network.network, False)
    folder = home.network_keys(network.network)
    assert unlock_unattended(find_account(folder, "wallet")).address == made.json["address"]
    assert not home.keys.exists()


def test_a_real_wallet_can_be_made_meanwhile(run: Run, home: Home, network: Network, password_file: str) -> None:
    embed_network(home, network)
    made = run("wallet", "create", "--network", "real", "--password-file", password_file, "--json")
    assert made.json["file"] == str(home.keys / "wallet.json")
    assert run("wallet", "show", "--network", "real", "--json").json["address"] == made.json["address"]
    assert run("wallet", "show").status == 4


def test_local_is_no_network_of_accounts(run: Run, home: Home) -> None:
    ran = run("wallet", "create", "--network", "local")
    assert ran.status == 2
    assert "`--network real` means all real networks" in ran.stderr
    assert list(home.root.iterdir()) == []


@pytest.mark.parametrize("network_id", ["development-00000000", "development-../../..", "../.."])
def test_an_unknown_network_has_no_accounts(run: Run, home: Home, network_id: str) -> None:
    assert run("wallet", "create", "--network", network_id).status == 3
    assert list(home.root.iterdir()) == []


def test_balances_are_shown_where_the_chain_answers(run: Run, home: Home, network: Network) -> None:
    join_network(home, network)
    address = run("wallet", "create", "--json").json["address"]
    assert run("wallet", "show", "--json").json["balances"] == {"coin_wei": "0", "open_wei": "0"}
    with open_endpoint(network.rpc[0]) as client:
        fund(client, network, address, coin_wei=15 * 10**17, open_wei=2500 * 10**18 + 1)
    shown = run("wallet", "show", "--json")
    assert shown.json["balances"] == {"coin_wei": "1500000000000000000", "open_wei": "2500000000000000000001"}
    lines = dict(line.split(maxsplit=1) for line in run("wallet", "show").stdout.splitlines())
    assert (lines["coins"], lines["OPEN"]) == ("1.5", "2,500.000000000000000001")


def test_where_it_does_not_answer_the_rest_is_shown_all_the_same(run: Run, home: Home, network: Network) -> None:
    join_network(home, replace(network, rpc=("http://127.0.0.1:1",)))
    run("wallet", "create")
    shown = run("wallet", "show", "--json")
    assert (shown.status, shown.json["balances"]) == (0, None)
    assert "no balances: no endpoint of development-" in shown.stderr


def test_a_chain_without_the_token_is_told(run: Run, home: Home, network: Network) -> None:
    contracts = {**network.contracts, "OpenToken": check_address("0x" + "9" * 40)}
    join_network(home, replace(network, contracts=contracts))
    run("wallet", "create")
    assert "is not on its chain: was the chain reset?" in run("wallet", "show").stderr
