"""`datanet sign` and `datanet contribute` of its file, by people without a node; `datanet rows`."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from node.cli.verbs import Run
from support.contributors import BEN, key_of
from support.rows import network_named

from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home
from openledger_node.keystore import ensure_development_wallet
from openledger_node.network_file import join_network
from openledger_protocol.datanet import datanet_id
from openledger_protocol.primitives import Address

NOTES = "question,answer\nWhat does Odile keep?,Odile keeps the harbour.\nWho is Rurik?,Nobody knows it for sure.\n"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    file = tmp_path / "notes.csv"
    file.write_text(NOTES)
    return file


@pytest.fixture
def wallet(home: Home, lake: OwnDatanets) -> Address:
    network = network_named()
    join_network(home, network)
    return ensure_development_wallet(home, network.network).address


def test_rows_are_signed_and_taken(run: Run, home: Home, notes: Path, wallet: Address) -> None:
    lake = datanet_id(wallet, "lake")
    words = ("datanet", "sign", str(notes), "--datanet", lake, "--licence", "CC-BY-4.0", "--yes", "--json")
    offer = run(*words).json
    assert (offer["account"], offer["datanet_id"], offer["rows"]) == (wallet, lake, 2)
    batch = run("datanet", "contribute", "lake", offer["out"], "--yes", "--json").json
    assert (batch["rows"], batch["unpaid"]) == (2, 0)
    rows = run("datanet", "rows", "lake", "--json").json["rows"]
    assert {(row["account"], row["is_signed"], row["state"]) for row in rows} == {(wallet, True, "pending")}
    assert "Odile" in run("datanet", "rows", "lake").stdout
    assert run(*words).stderr.startswith("error")


def test_another_wallet_signs_the_typed_data(run: Run, notes: Path, wallet: Address) -> None:
    ben, lake = key_of("ben"), datanet_id(wallet, "lake")
    words = ("datanet", "sign", str(notes), "--datanet", lake, "--licence", "CC-BY-4.0", "--address", BEN)
    typed = json.loads(run(*words, "--typed-data").stdout)
    signature = Account.sign_message(encode_typed_data(full_message=typed), ben.private_key).signature.to_0x_hex()
    wrong = run(*words, "--signature", "0x" + "11" * 65)
    assert wrong.status != 0
    assert "this signature can't be used" in wrong.stderr
    offer = run(*words, "--signature", signature, "--json").json
    assert offer["account"] == BEN
    assert run("datanet", "contribute", "lake", offer["out"], "--yes", "--json").json["unpaid"] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--address", BEN), "to sign in another wallet"),
        (("--chain-id", "1"), "give --chain-id and --registry together"),
        (("--wallet", "nobody"), "there is no nobody"),
    ],
)
def test_a_mistake_is_explained(run: Run, notes: Path, wallet: Address, words: tuple[str, ...], why: str) -> None:
    lake = datanet_id(wallet, "lake")
    ran = run("datanet", "sign", str(notes), "--datanet", lake, "--licence", "CC-BY-4.0", "--yes", *words)
    assert ran.status != 0
    assert why in ran.stderr


def test_a_foreign_unsigned_or_changed_batch_is_refused(run: Run, notes: Path, wallet: Address) -> None:
    words = ("datanet", "sign", str(notes), "--datanet", datanet_id(wallet, "harbour"), "--licence", "CC-BY-4.0")
    told = run(*words, "--yes")
    file = notes.with_name("notes.csv.signed.json")
    assert f"`openledger-node datanet commit {file}`" in told.stderr.replace("\n", "")
    other = run("datanet", "contribute", "lake", str(file), "--yes")
    assert "has signed this batch for Datanet" in other.stderr
    named = run("datanet", "contribute", "lake", str(file), "--contributor", "ada", "--yes")
    assert "leave out --contributor" in named.stderr
    for ask, why in (
        (("commit", str(notes)), "is not signed: sign its rows first with"),
        (("commit",), "missing argument"),
    ):
        ran = run("datanet", *ask)
        assert (ran.status, why in " ".join(ran.stderr.split())) == (2, True), why
    file.write_text(file.read_text().replace("harbour", "lighthouse"))
    assert "one was changed, added or left out" in run("datanet", "commit", str(file)).stderr
