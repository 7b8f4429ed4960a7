"""Statements that the wallet signs for the page: an offer of rows, and a curator's decision."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from support.contributors import ADA, CONTRIBUTED, TERMS
from support.rows import append_event, network_named

from openledger_node.accounting.statements import StatementQueries
from openledger_node.datanets.curated import propose
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.proposals import write_proposal
from openledger_node.datanets.rows import write_rows
from openledger_node.datanets.signed import DatanetPlace
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import InputError, KeyFileError, NodeError
from openledger_node.home import Home
from openledger_node.keystore import Password, create_account, ensure_development_wallet, find_account
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.network_file import Network
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.curation import check_decision, decision_from_json
from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import MalformedError
from openledger_protocol.offer import check_offer, offer_from_json
from openledger_protocol.primitives import Address

PASSWORD = "correct horse battery"


@dataclass
class Accounts:
    wallet: Address


@dataclass
class ReadSession:
    """What a session knows of its network, without a chain behind it."""

    network: Network
    ledger: Ledger
    accounts: Accounts


@dataclass
class Signer:
    """A data directory whose wallet owns the Datanet lake, and is its only curator."""

    home: Home
    session: ReadSession
    place: DatanetPlace

    def ask(self, question: str, **given: Any) -> Any:
        return StatementQueries(self.home, cast("NetworkSession", self.session)).answers[question](given)

    def read(self, number: int, event_name: str, **arguments: Any) -> None:
        given = {"id": self.place.datanet_id, **arguments}
        append_event(self.session.ledger, event_name, given, block=number, contract=self.place.contract)

    def propose(self, file: Path) -> Path:
        own = OwnDatanets(self.home)
        own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # licence and share
        own.contribute("lake", CONTRIBUTED, {})
        write_proposal(file, propose(self.home, "lake", (), self.place, ()))
        return file


def open_signer(home: Home, ledger: Ledger, name: str, wallet: Address) -> Signer:
    network = network_named(name)
    place = DatanetPlace(
        chain_id=network.chain_id,
        contract=network.contracts["DatanetRegistry"],
        datanet_id=datanet_id(wallet, "lake"),
    )
    signer = Signer(home, ReadSession(network, ledger, Accounts(wallet)), place)
    terms = {"name": "lake", "treasury": ADA, "ownerPpm": 50_000, "licence": "CC-BY-4.0", "rules": 2}
    signer.read(1, "DatanetCreated", owner=wallet, **terms)
    signer.read(2, "CuratorsChanged", curators=[wallet], need=1)
    return signer


@pytest.fixture
def signer(home: Home, tmp_path: Path) -> Iterator[Signer]:
    name = "development-1a1a1a1a"
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        yield open_signer(home, ledger, name, ensure_development_wallet(home, name).address)


@pytest.fixture
def locked(home: Home, tmp_path: Path) -> Iterator[Signer]:
    """The wallet of a network with real money, which has a password."""
    wallet = create_account(home.network_keys("seaside"), "wallet", Password(text=PASSWORD)).address
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        yield open_signer(home, ledger, "seaside", wallet)


def test_terms_are_found_by_name_and_by_id(signer: Signer) -> None:
    by_name = signer.ask("datanet_terms", datanet="lake")
    assert by_name == signer.ask("datanet_terms", datanet=signer.place.datanet_id)
    assert (by_name["is_registered"], by_name["licence"], by_name["need"]) == (True, "CC-BY-4.0", 1)
    assert signer.ask("datanet_terms", datanet="pond")["is_registered"] is False
    with pytest.raises(MalformedError, match="not a name"):
        signer.ask("datanet_terms", datanet="la/ke")


def test_rows_are_offered_as_the_wallets(signer: Signer, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", CONTRIBUTED)
    found = signer.ask("sign_rows", rows=str(tmp_path / "rows.jsonl"), datanet=signer.place.datanet_id)
    offer = check_offer(offer_from_json(found["offer"]))
    assert (offer.account, offer.licence, len(offer.rows)) == (signer.session.accounts.wallet, "CC-BY-4.0", 3)
    with pytest.raises(NodeError, match=r"no Datanet 0x.* is registered on this network: check its id"):
        signer.ask("sign_rows", rows=str(tmp_path / "rows.jsonl"), datanet="0x" + "5a" * 32)


def test_a_curator_decides_on_proposals_of_their_network_and_a_rejection_needs_a_reason(
    signer: Signer, tmp_path: Path
) -> None:
    file = str(signer.propose(tmp_path / "lake.json"))
    found = signer.ask("sign_decision", proposal=file, approves=True, reason="")["decision"]
    assert check_decision(decision_from_json(found)).curator == signer.session.accounts.wallet
    with pytest.raises(InputError, match="a rejection needs a reason"):
        signer.ask("sign_decision", proposal=file, approves=False, reason=" ")
    signer.read(3, "CuratorsChanged", curators=[ADA], need=1)
    with pytest.raises(NodeError, match=r"is not a curator of lake .*: ask its owner to name you"):
        signer.ask("sign_decision", proposal=file, approves=True, reason="")
    signer.session.network = network_named("development-2b2b2b2b")
    signer.session.network.contracts["DatanetRegistry"] = ADA
    with pytest.raises(NodeError, match="review it on a node of its network"):
        signer.ask("sign_decision", proposal=file, approves=True, reason="")


def test_a_locked_wallet_asks_for_its_password(locked: Signer, tmp_path: Path) -> None:
    file = str(locked.propose(tmp_path / "lake.json"))
    with pytest.raises(KeyFileError, match="wallet is locked: this needs its password"):
        locked.ask("sign_decision", proposal=file, approves=True, reason="")
    with pytest.raises(KeyFileError, match="password"):
        locked.ask("sign_decision", proposal=file, approves=True, reason="", password="wrong")
    found = locked.ask("sign_decision", proposal=file, approves=True, reason="", password=PASSWORD)["decision"]
    assert found["curator"] == find_account(locked.home.network_keys("seaside"), "wallet").address
