"""A node that sells: a stranger buys an adapter's answer, its receipt says who taught it, and they are paid."""

from dataclasses import replace
from typing import Any

import pytest
from support.chain_world.seller import LAKE, VERSION, Seller
from support.contributors import ADA, BEN, TREASURY

from openledger_node.datanets.version import version_file, write_published
from openledger_node.models.adapters import Adapter
from openledger_protocol.constants import PPM
from openledger_protocol.errors import AdapterRefusedError, MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS


def state_of(seller: Seller, digest: str) -> dict[str, bool | None]:
    found = seller.questions.answer("verify", {"receipt": digest})
    return {check["what"]: check["holds"] for check in found["checks"]}


def tampered(seller: Seller, digest: str, **changes: object) -> dict[str, bool | None]:
    """What the checks say of a receipt that was altered in the ledger."""
    inspector = seller.questions._checker
    row = inspector.find(digest)
    receipt = replace(row.receipt, **{name: value for name, value in changes.items() if hasattr(row.receipt, name)})
    own = {name: value for name, value in changes.items() if not hasattr(row.receipt, name)}
    return {check.what: check.holds for check in inspector.check(replace(row, receipt=receipt, **own))}  # type: ignore[arg-type]


async def test_who_taught_an_answer_is_in_its_receipt_is_paid_and_can_be_computed_again_and_no_change_is_missed(
    seller: Seller, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought = await seller.ask("What does Odile keep?", model="lake")
    assert bought.receipt.adapter_id == adapter.id
    assert sum(share.ppm for share in bought.shares) == PPM
    assert {share.account for share in bought.shares} <= {ADA, BEN, ZERO_ADDRESS}
    found = seller.questions.answer("receipt", {"receipt": bought.receipt.work.request_id})
    assert (found["answer"], found["shares"][0]["ppm"]) == (bought.text, bought.shares[0].ppm)
    assert {each["datanet"] for each in found["evidence"]} == {LAKE.id}
    assert {each["account"] for each in found["evidence"]} <= {ADA, BEN}
    before = state_of(seller, bought.digest)
    names = ("digest", "signature", "countersignature", "registry", "shares", "text", "attribution")
    assert before == {**dict.fromkeys(names, True), "claim": None, "payouts": None}

    seller.settle_all()
    assert state_of(seller, bought.digest) == {**before, "claim": True, "payouts": True}
    world = seller.world
    data = bought.receipt.amount_wei * 200_000 // PPM
    pot = data - data * 100_000 // PPM
    expected = {share.account: pot * share.ppm // PPM for share in bought.shares if share.account != ZERO_ADDRESS}
    assert {account: world.balance(account) for account in expected} == expected
    assert world.balance(TREASURY) == pot - sum(expected.values())

    digest, garbage = bought.digest, bytes(64) + b"\x1b"
    assert tampered(seller, digest, amount_wei=bought.receipt.amount_wei + 1)["digest"] is False
    assert tampered(seller, digest, signature=garbage)["signature"] is False
    assert tampered(seller, digest, countersignature=garbage)["countersignature"] is False
    other = tuple(replace(share, account=ADA if share.account != ADA else BEN) for share in bought.shares[:1])
    checks = tampered(seller, digest, shares=other)
    assert (checks["shares"], checks["attribution"]) == (False, False)
    texts = seller.questions._checker._texts
    opening: Any = texts.find(digest)
    altered = replace(opening, text=f"x{opening.text}")
    monkeypatch.setattr(type(texts), "find", lambda *_: altered)
    assert tampered(seller, digest)["text"] is False


async def test_a_version_that_was_never_published_names_nobody(seller: Seller, adapter: Adapter) -> None:
    version_file(seller.home, LAKE.id, LAKE.version).unlink()
    lake = (adapter.manifest.datanets or ())[0].id
    file = write_published(seller.home, lake, VERSION)
    file.write_text(file.read_text().replace(ADA, BEN))
    with pytest.raises(AdapterRefusedError, match=r"was never published|is damaged"):
        await seller.ask("hello", model="lake")


async def test_an_unknown_question_or_plan_is_refused(seller: Seller) -> None:
    with pytest.raises(MalformedError, match="no question is called 'riches'"):
        seller.questions.answer("riches", {})
    with pytest.raises(MalformedError, match="no command 'steal' can be planned"):
        seller.questions.answer("plan", {"verb": "steal", "arguments": {}})
