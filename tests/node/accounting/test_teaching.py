"""Who taught an answer, and the way of its money: equal to what the chain pays, to the wei."""

import json
from collections import Counter
from typing import Any

import pytest
from support.chain_world.seller import Seller
from support.contributors import ADA, BEN, TREASURY

from openledger_node.accounting import payees
from openledger_node.accounting.money_trail import follow
from openledger_node.accounting.queries import open_queries
from openledger_node.attribution.registry import AdapterRegistry
from openledger_node.datanets.version import DatanetVersion
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_node.settlement.actions import WithdrawRewards
from openledger_protocol.constants import PPM
from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import ZERO_ADDRESS, Digest, Wei

QUESTION = "What does Odile keep?"
STEPS = ["deposit", "voucher", "receipt", "claim", "payout list", "draw", "withdrawal"]


def shown(seller: Seller, digest: str) -> dict[str, Any]:
    """Ask as the page does, which reads JSON."""
    found: dict[str, Any] = seller.questions.answer("receipt", {"receipt": digest})
    assert json.loads(json.dumps(found)) == found
    return found


def followed(seller: Seller, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = seller.questions.answer("follow", {"receipt": digest})
    return found


def states(found: dict[str, Any]) -> list[str]:
    assert [step["step"] for step in found["steps"]] == STEPS
    return [step["state"] for step in found["steps"]]


async def test_people_and_rows_of_an_answer_are_those_of_its_receipts_shares(
    seller: Seller, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought = await seller.ask(QUESTION, model="lake")
    find, read = payees.find_made_here, list[Digest]()

    def find_noted(home: Home, rows_root: Digest) -> list[DatanetVersion]:
        read.append(rows_root)
        return find(home, rows_root)

    monkeypatch.setattr(payees, "find_made_here", find_noted)
    receipt = shown(seller, bought.digest)
    assert len(read) == 1, "there may be many rows, and names and texts come from one reading"
    found, answer = receipt["teaching"], receipt["answer"]
    assert {person["account"]: person["ppm"] for person in found["people"]} == {
        share.account: share.ppm for share in bought.shares
    }
    assert sum(person["ppm"] for person in found["people"]) == PPM
    amounts = sum(int(person["amount_wei"]) for person in found["people"])
    assert amounts + int(found["dust_wei"]) == int(found["part_wei"])
    numbers = [person["number"] for person in found["people"] if person["pays"] == "contributor"]
    assert numbers == list(range(1, 1 + sum(share.account != ZERO_ADDRESS for share in bought.shares)))
    assert (found["algorithm"], found["datanets"][0]["name"]) == ("suffix-v1", "lake")
    for person in found["people"]:
        own = [row["ppm"] for row in found["rows"] if row["account"] == person["account"]]
        assert sum(own) == (person["ppm"] if own else 0)
    assert 0 <= found["tokens_matched"] <= found["tokens"]
    last = 0
    for span in found["spans"]:
        assert last <= span["begin"] < span["end"] <= len(answer)
        last = span["end"]
        row = next(row for row in found["rows"] if row["row"] == span["row"])
        assert answer[span["begin"] : span["end"]] in row["text"].replace("\n", "")
    for row in found["rows"]:
        for mark in row["marks"]:
            assert row["text"][mark["begin"] : mark["end"]] in answer
    base = shown(seller, (await seller.ask("hello")).digest)["teaching"]
    assert (base["state"], base["people"], base["part_wei"]) == ("base", [], "0")


async def test_seven_steps_follow_the_money_to_what_the_chain_credits_for_each_part(
    seller: Seller, adapter: Adapter
) -> None:
    bought = await seller.ask(QUESTION, model="lake")
    world = seller.world
    wallet = world.node.accounts.wallet
    world.run(lambda: world.node.ledger.events.find("ChannelOpened"))
    assert states(followed(seller, bought.digest)) == ["done", "done", "done", "now", "next", "next", "next"]
    seller.settle_all()
    found = followed(seller, bought.digest)
    assert states(found) == [*["done"] * 6, "now"]
    steps = {step["step"]: step for step in found["steps"]}
    assert steps["receipt"]["hash"] == bought.digest
    assert steps["claim"]["amount_wei"] == steps["receipt"]["amount_wei"] == str(bought.receipt.amount_wei)
    assert all(steps[name]["hash"] and steps[name]["at"] for name in ("deposit", "claim", "payout list", "draw"))

    parts = {part["to"]: int(part["amount_wei"]) for part in found["as_paid"]["parts"]}
    assert sum(parts.values()) == bought.receipt.amount_wei == int(found["as_paid"]["amount_wei"])
    own = parts["node"] + parts["adapter owner"] + parts["Datanet owners"]
    assert world.balance(wallet) == own, "it is all three here"
    paid = {person["account"]: int(person["amount_wei"]) for person in found["as_paid"]["people"]}
    treasury = paid.pop(ZERO_ADDRESS, 0) + int(found["as_paid"]["dust_wei"])
    assert {account: world.balance(account) for account in paid} == paid
    assert set(paid) <= {ADA, BEN}
    assert world.balance(TREASURY) == treasury
    assert sum(int(part["amount_wei"]) for part in found["of_one"]["parts"]) == 10**18
    assert sum(part["ppm"] for part in found["of_one"]["parts"]) == PPM

    check_board(seller)
    (row,) = world.payer.ledger.receipts.find(bought.digest)
    by_chain = follow(seller.home, world.payer, row)
    assert [step["is_done"] for step in by_chain["steps"]] == [True, True, True, True, False, False, False]
    assert by_chain["as_paid"] == found["as_paid"], "the payer knows it by the chain alone"

    world.act(WithdrawRewards(accounts=(wallet,), amount_wei=Wei(world.balance(wallet))))
    world.run(lambda: world.node.ledger.events.find("Withdrawn"))
    assert states(followed(seller, bought.digest)) == ["done"] * 7


def check_board(seller: Seller) -> None:
    """The sums of the Datanet's board are those that the contracts credited."""
    events, ask = seller.world.node.ledger.events, seller.questions.answer
    head = seller.world.chain.client.head().number
    seller.world.run(lambda: events.finalized_number() >= head)
    board = ask("datanet_board", {"datanet": "lake"})
    assert ask("datanet_board", {"datanet": board["id"]}) == board
    credited: Counter[str] = Counter()
    for event in events.find("Credited", {"role": CreditRole.CONTRIBUTOR}):
        given: Any = event.arguments
        credited[given["account"]] += given["amount"]
    earned = {line["account"]: int(line["earned_wei"]) for line in board["lines"] if line["pays"] == "contributor"}
    assert {account: wei for account, wei in earned.items() if wei} == credited != {}
    assert sum(line["influence_ppm"] for line in board["lines"]) in range(999_990, 1_000_001)
    assert 1 in {line["answers"] for line in board["lines"]} <= {0, 1}
    unknown = ask("datanet_board", {"datanet": "pond"})
    assert (unknown["is_registered"], unknown["lines"]) == (False, [])
    (listed,) = ask("datanets", {})["datanets"]
    assert (listed["id"], listed["name"], "owner" in listed["roles"]) == (board["id"], "lake", True)


async def test_shares_and_amounts_stay_when_the_version_or_the_text_is_gone(seller: Seller, adapter: Adapter) -> None:
    bought = await seller.ask(QUESTION, model="lake")
    for file in seller.home.datanets.glob("*/*.json"):  # as it was made, and as the chain has it
        file.unlink()
    registry = AdapterRegistry(seller.home, seller.world.node.deployment, seller.world.node.ledger)
    questions = open_queries(seller.home, seller.world.node, registry=registry, tokenizer=ByteTokenizer)
    found = questions.answer("receipt", {"receipt": bought.digest})
    assert (found["evidence"], found["teaching"]["rows"]) == (None, [])
    assert "is not here" in found["teaching"]["why_no_rows"]
    assert sum(person["ppm"] for person in found["teaching"]["people"]) == PPM

    seller.world.payer.ledger.texts.delete_until(2**62)
    found = shown(seller, bought.digest)
    assert (found["answer"], found["text"]["state"]) == (None, "gone")
    assert "its time was over" in found["teaching"]["why_no_rows"] == found["text"]["says"]
    assert {person["rows"] for person in found["teaching"]["people"]} == {None}  # unknown, and not none
    assert (found["teaching"]["rows"], found["teaching"]["spans"], found["teaching"]["tokens"]) == ([], [], None)
    assert sum(person["ppm"] for person in found["teaching"]["people"]) == PPM
