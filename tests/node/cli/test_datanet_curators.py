"""`datanet propose`, `review` and `collect`: what an owner asks, what a curator without a node signs, what counts."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from node.cli.verbs import Ran, Run
from support.contributors import ADA, BEN, CONTRIBUTED, TERMS, key_of
from support.rows import append_event, network_named

from openledger_node.datanets import curated
from openledger_node.datanets.curated import read_review
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.proposals import roots_of
from openledger_node.datanets.signed import DatanetPlace, draft_batch
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import ConfigError
from openledger_node.home import Home, take_lock
from openledger_node.keystore import ensure_development_wallet
from openledger_node.ledger.ledger import open_ledger
from openledger_node.network_file import join_network
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row, datanet_id, row_from_json
from openledger_protocol.offer import offer_commitment, offer_digest
from openledger_protocol.primitives import Address, DatanetId
from openledger_protocol.signatures import sign_digest

CURATORS = ("odile", "rurik", "tamsin")
NETWORK = network_named()


@dataclass
class Lake:
    """A Datanet of this data directory with one waiting batch, on a chain whose events were read."""

    home: Home
    own: OwnDatanets
    id: DatanetId
    wallet: Address


@pytest.fixture
def lake(home: Home) -> Lake:
    join_network(home, NETWORK)
    own = OwnDatanets(home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # licence and share
    own.contribute("lake", CONTRIBUTED, {"ben": BEN})
    wallet = ensure_development_wallet(home, NETWORK.network).address
    made = Lake(home, own, datanet_id(wallet, "lake"), wallet)
    terms = {"name": "lake", "treasury": ADA, "ownerPpm": 50_000, "licence": "CC-BY-4.0", "rules": 2}
    read(made, 1, "DatanetCreated", {"owner": wallet, **terms})
    addresses = sorted((key_of(name).address for name in CURATORS), key=str.lower)
    read(made, 2, "CuratorsChanged", {"curators": addresses, "need": 2})
    return made


def read(lake: Lake, number: int, name: str, arguments: dict[str, Any]) -> None:
    """The node has read an event of the Datanet in its own final block."""
    registry = NETWORK.contracts["DatanetRegistry"]
    with closing(open_ledger(lake.home.ledger(NETWORK.network))) as ledger:
        append_event(ledger, name, {"id": lake.id, **arguments}, block=number, contract=registry)
        ledger.events.finalize(number)


def propose(run: Run, folder: Path) -> str:
    file = str(folder / "proposal.json")
    assert run("datanet", "propose", "lake", "--out", file).status == 0
    return file


def decide(run: Run, file: str, name: str, *words: str) -> Ran:
    """Review in another wallet: the typed data first, then its signature."""
    key = key_of(name)
    command = ("datanet", "review", file, "--address", key.address, *words)
    typed = json.loads(run(*command, "--typed-data").stdout)
    signature = Account.sign_message(encode_typed_data(full_message=typed), key.private_key).signature.to_0x_hex()
    return run(*command, "--signature", signature, "--json")


def test_two_of_three_curators_approve_what_the_owner_proposes(run: Run, lake: Lake, tmp_path: Path) -> None:
    file = str(tmp_path / "proposal.json")
    told = run("datanet", "propose", "lake", "--out", file, "--json").json
    assert (told["version"], told["rows"], told["new_rows"], told["need"]) == (1, 3, 3, 2)
    looked = run("datanet", "review", file)
    assert "3 rows, 3 of them new" in looked.stdout
    assert "What does Odile keep?" in looked.stdout
    first = decide(run, file, "odile", "--approve").json
    assert (first["curator"], first["approves"]) == (key_of("odile").address, True)
    collected = run("datanet", "collect", "lake", first["out"])
    assert "version 1 of lake: 1 of 2 approvals" in collected.stdout
    assert lake.own.get("lake").approved == ()
    second = decide(run, file, "rurik", "--approve").json
    told = run("datanet", "collect", "lake", second["out"], "--json").json
    assert (told["approvals"], told["need"], told["is_approved"]) == (2, 2, True)
    assert len(lake.own.get("lake").approved) == 1


def test_decisions_on_two_proposals_are_counted_apart(run: Run, lake: Lake, tmp_path: Path) -> None:
    """Both lead to version 1, so that only one of them can be approved."""
    whole = propose(run, tmp_path)
    lake.own.contribute("lake", [replace(CONTRIBUTED[0], prompt="What does Odile not keep?")], {})
    small = str(tmp_path / "small.json")
    (first, second) = lake.own.get("lake").batches
    assert run("datanet", "propose", "lake", second.digest, "--out", small).status == 0
    files = [decide(run, file, name, "--approve").json["out"] for file, name in ((whole, "odile"), (small, "rurik"))]
    shown = run("datanet", "collect", "lake", *files).stdout
    assert shown.count("1 of 2 approvals") == 2
    assert lake.own.get("lake").approved == ()
    more = decide(run, whole, "tamsin", "--approve").json["out"]
    late = decide(run, small, "odile", "--approve", "--out", str(tmp_path / "late.json")).json["out"]
    told = run("datanet", "collect", "lake", more, late, "--json").json
    (other,) = told["others"]
    assert (other["approvals"], other["is_approved"], other["is_outdated"]) == (2, True, False)
    assert (told["approvals"], told["is_approved"], told["is_outdated"]) == (2, False, True)
    assert lake.own.get("lake").approved == (first.digest,)
    assert "your rows have changed since you proposed it" in run("datanet", "collect", "lake", late).stderr


def test_a_curator_signs_with_an_account_of_their_own(run: Run, lake: Lake, tmp_path: Path) -> None:
    """The owner may be one of the curators, too."""
    read(lake, 3, "CuratorsChanged", {"curators": [lake.wallet], "need": 1})
    file = propose(run, tmp_path)
    ran = run("datanet", "review", file, "--approve")
    assert (ran.status, f"Approve version 1 of lake as {lake.wallet}?" in ran.stderr) == (3, True)
    done = run("datanet", "review", file, "--approve", "--yes", "--json").json
    assert run("datanet", "collect", "lake", done["out"], "--json").json["is_approved"] is True
    again = run("datanet", "review", file, "--approve", "--yes")
    assert "exists already, and nothing is overwritten" in again.stderr


def test_a_proposal_puts_committed_rows_first(run: Run, lake: Lake, tmp_path: Path) -> None:
    """They put rows first, and curators approve the rows in their order."""
    place = DatanetPlace(chain_id=31337, contract=NETWORK.contracts["DatanetRegistry"], datanet_id=lake.id)
    said = Row(prompt="Who rings the bell?", completion="Nobody has rung it since May.", contributor=ADA)
    offer = draft_batch([said], place, ADA, "CC-BY-4.0").offer
    signed = replace(offer, signature="0x" + sign_digest(key_of("ada").private_key, offer_digest(offer)).hex())
    lake.own.contribute("lake", [said], {}, signed)
    read(lake, 3, "RowsCommitted", {"commitment": offer_commitment(signed), "committedAt": 2**40})
    file = Path(propose(run, tmp_path))
    assert json.loads(file.read_text())["rows"][0]["prompt"] == said.prompt


def test_anyones_datanet_is_shown_by_its_id(run: Run, lake: Lake) -> None:
    read(lake, 3, "DatanetDescribed", {"metadata": "\x1b[2J not JSON"})
    shown = run("datanet", "show", lake.id).stdout
    assert "CC-BY-4.0" in shown
    assert "2 of 0x" in shown
    assert "\x1b[2J" not in shown
    told = run("datanet", "show", lake.id, "--json").json
    assert (told["about"], told["need"], told["versions"]) == (None, 2, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("curators", "lake", "--set", ADA), "give --set and --need, or --none"),
        (("curators", "lake", "--set", f"{ADA},{BEN}", "--need", "3"), "of 2 curators 3 can't approve"),
        (("curators", "lake", "--set", f"{ADA},0x12", "--need", "1"), "not an address: '0x12'"),
        (("review", "FILE", "--approve", "--address", ADA), "to sign in another wallet"),
        (("review", "FILE", "--reject", "--yes"), "a rejection needs a reason"),
        (("review", "FILE", "--approve", "--because", "fine", "--yes"), "an approval has no reason"),
    ],
)
def test_a_wrong_word_is_refused(run: Run, lake: Lake, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    file = propose(run, tmp_path)
    ran = run("datanet", *[file if word == "FILE" else word for word in words])
    assert message in ran.stderr
    assert ran.status == 2


def pay_elsewhere(content: dict[str, Any]) -> None:
    """A curator reads the address in the rows, and the list of accounts would override it."""
    content["accounts"] |= {ADA: BEN}
    rows = [row_from_json(row) for row in content["rows"]]
    content["contributors_root"] = roots_of(rows, content["accounts"])[1]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda content: content["rows"][0].update(completion="Nobody knows."),
            "its roots are not those of its rows",
        ),
        (pay_elsewhere, f"it pays the rows of {ADA} at another account"),
        (lambda content: content.update(num_old=3), "published before, and they were not: don't approve it"),
    ],
    ids=["other rows", "another account", "new rows among old ones"],
)
def test_a_proposal_that_was_changed_is_refused(
    run: Run, lake: Lake, tmp_path: Path, spoil: Callable[[dict[str, Any]], None], says: str
) -> None:
    file = Path(propose(run, tmp_path))
    content = json.loads(file.read_text())
    spoil(content)
    file.write_text(json.dumps(content))
    ran = run("datanet", "review", str(file), "--approve", "--yes")
    assert (ran.status, says in ran.stderr) == (1, True), ran.stderr


def test_a_decision_counts_only_as_a_curator_has_signed_it(run: Run, lake: Lake, tmp_path: Path) -> None:
    file = propose(run, tmp_path)
    approval, strangers = (decide(run, file, name, "--approve").json["out"] for name in ("odile", "eve"))
    refused = run("datanet", "collect", "lake", approval, strangers)
    assert f"{key_of('eve').address} is not a curator of lake" in refused.stderr
    assert read_review(lake.home, "lake").decisions == (), "none is taken with a wrong one"
    rejected = Path(decide(run, file, "rurik", "--reject", "--because", "row 2 is wrong").json["out"])
    shown = run("datanet", "collect", "lake", str(rejected)).stdout
    assert "rejects: row 2 is wrong" in shown
    assert "0 of 2 approvals" in shown
    rejected.write_text(json.dumps({**json.loads(rejected.read_text()), "approves": True, "reason": ""}))
    changed = run("datanet", "collect", "lake", str(rejected))
    assert (changed.status, "has not signed this decision" in changed.stderr) == (1, True)


def test_changed_rows_are_not_approved(run: Run, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = propose(run, tmp_path)
    files = [decide(run, file, name, "--approve").json["out"] for name in ("odile", "rurik")]
    is_next, refused = curated._is_next, list[str]()

    def compare(own: OwnDatanets, name: str, proposed: curated.ProposedVersion) -> bool:
        found = is_next(own, name, proposed)
        with pytest.raises(ConfigError) as caught:  # another command, which has its own view of the files
            OwnDatanets(lake.home).withdraw(name, [canonical_digest(CONTRIBUTED[0])])
        refused.append(str(caught.value))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(curated, "_is_next", compare)
        assert run("datanet", "collect", "lake", *files, "--json").json["is_approved"]
    assert refused == ["another command is changing lake: try again in a moment"]
    (batch,) = lake.own.get("lake").batches
    lake.own.withdraw("lake", [canonical_digest(CONTRIBUTED[0])])  # the lock is free again
    told = run("datanet", "collect", "lake", *files, "--json").json
    assert (told["is_approved"], told["is_outdated"]) == (False, True)
    assert lake.own.get("lake").approved == (batch.digest,)


def test_a_locked_review_is_refused(run: Run, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = decide(run, propose(run, tmp_path), "odile", "--approve").json
    monkeypatch.setattr(curated, "LOCK_WAIT_S", 0.02)
    with (lake.home.datanets / "lake" / "own" / curated.LOCK_FILE).open("a") as lock:
        take_lock(lock)
        ran = run("datanet", "collect", "lake", done["out"])
    assert ran.status == 3
    assert "another command has been changing the review of lake for 0.02 s: try again" in ran.stderr


def test_a_proposal_needs_curators_and_somebody_to_pay(run: Run, lake: Lake, tmp_path: Path) -> None:
    lake.own.create(new_datanet("pond", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # licence and share
    lake.own.contribute("pond", [Row(prompt="Who?", completion="Cyd.", contributor="cyd")], {})
    pond = Lake(lake.home, lake.own, datanet_id(lake.wallet, "pond"), lake.wallet)
    ran = run("datanet", "propose", "pond")
    assert (ran.status, "pond has no curators on development-1a1a1a1a" in ran.stderr) == (1, True)
    read(pond, 3, "CuratorsChanged", {"curators": [ADA], "need": 1})
    unpaid = run("datanet", "propose", "pond", "--out", str(tmp_path / "pond.json"))
    assert "no contributor of these rows has an address, so nobody could be paid" in unpaid.stderr
    assert not (tmp_path / "pond.json").exists()
