"""The counter: a stranger buys an adapter's answer, its receipt says who taught it, and they are paid."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.counters import ADA, BEN, LAKE, TREASURY, Shop, open_shop, publish, train
from support.economies import World, open_world

from openledger_node.datanets.version import version_file
from openledger_node.keystore import ensure_development_wallet
from openledger_node.models.adapters import Adapter
from openledger_protocol.constants import PPM
from openledger_protocol.errors import AdapterRefusedError, MalformedError, UnknownModelError
from openledger_protocol.primitives import ZERO_ADDRESS


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = open_world(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
async def shop(tmp_path: Path, world: World) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path, world) as opened:
        yield opened


@pytest.fixture
def adapter(shop: Shop) -> Adapter:
    made, version = train(shop.home)
    publish(shop.world, made, version)
    return made


def state_of(shop: Shop, digest: str) -> dict[str, bool | None]:
    found = shop.questions.answer("verify", {"receipt": digest})
    return {check["what"]: check["holds"] for check in found["checks"]}


async def test_the_first_answer_comes_on_credit_and_is_claimed_once_its_channel_is_open(shop: Shop) -> None:
    bought = await shop.ask("hello")
    (row,) = shop.world.node.ledger.receipts.newest(limit=2)
    assert row.digest == bought.digest
    assert row.unsecured_wei == bought.receipt.amount_wei
    shop.settle_all()
    assert shop.world.node.treasury.earnings().credited_wei == bought.receipt.amount_wei * 9 // 10


async def test_who_taught_an_adapters_answer_is_in_its_receipt_and_is_paid(shop: Shop, adapter: Adapter) -> None:
    bought = await shop.ask("What does Odile keep?", model="lake")
    assert bought.receipt.adapter_id == adapter.id
    assert sum(share.ppm for share in bought.shares) == PPM
    assert {share.account for share in bought.shares} <= {ADA, BEN, ZERO_ADDRESS}
    shop.settle_all()
    world = shop.world
    data = bought.receipt.amount_wei * 200_000 // PPM
    pot = data - data * 100_000 // PPM
    expected = {share.account: pot * share.ppm // PPM for share in bought.shares if share.account != ZERO_ADDRESS}
    assert {account: world.balance(account) for account in expected} == expected
    assert world.balance(TREASURY) == pot - sum(expected.values())


async def test_every_thing_that_a_receipt_says_can_be_computed_again(shop: Shop, adapter: Adapter) -> None:
    bought = await shop.ask("What does Rurik keep?", model="lake")
    before = state_of(shop, bought.digest)
    assert before == {
        "digest": True,
        "signature": True,
        "countersignature": True,
        "shares": True,
        "text": True,
        "attribution": True,
        "claim": None,
        "payouts": None,
    }
    shop.settle_all()
    after = state_of(shop, bought.digest)
    assert after == {**before, "text": None, "attribution": None, "claim": True, "payouts": True}


async def test_an_unauditable_answer_pays_treasuries_and_its_text_is_not_kept(tmp_path: Path, world: World) -> None:
    async with open_shop(tmp_path, world, auditable=False) as shop:
        made, version = train(shop.home)
        datanet = publish(world, made, version)
        bought = await shop.ask("What does Odile keep?", model="lake")
        assert [(share.datanet_id, share.account, share.ppm) for share in bought.shares] == [
            (datanet, ZERO_ADDRESS, PPM)
        ]
        assert world.node.ledger.receipts.newest(limit=1)[0].opening is None
        found = state_of(shop, bought.digest)
        assert (found["text"], found["attribution"]) == (None, True)


async def test_a_receipt_shows_the_rows_that_speak_for_its_shares(shop: Shop, adapter: Adapter) -> None:
    bought = await shop.ask("What does Odile keep?", model="lake")
    found = shop.questions.answer("receipt", {"receipt": bought.receipt.work.request_id})
    assert found["answer"] == bought.text
    assert found["shares"][0]["ppm"] == bought.shares[0].ppm
    for each in found["evidence"]:
        assert each["datanet"] == LAKE.id
        assert each["account"] in (ADA, BEN)


def tampered(shop: Shop, digest: str, **changes: object) -> dict[str, bool | None]:
    """What the checks say of a receipt that was altered in the ledger."""
    inspector = shop.questions._checker
    row = inspector.find(digest)
    receipt = replace(row.receipt, **{name: value for name, value in changes.items() if hasattr(row.receipt, name)})
    own = {name: value for name, value in changes.items() if not hasattr(row.receipt, name)}
    return {check.what: check.holds for check in inspector.check(replace(row, receipt=receipt, **own))}  # type: ignore[arg-type]


async def test_a_receipt_that_was_altered_is_found_out(shop: Shop, adapter: Adapter) -> None:
    bought = await shop.ask("What does Odile keep?", model="lake")
    digest = bought.digest
    assert tampered(shop, digest, amount_wei=bought.receipt.amount_wei + 1)["digest"] is False
    assert tampered(shop, digest, signature=bytes(64) + b"\x1b")["signature"] is False
    assert tampered(shop, digest, nonce="0x" + "00" * 32)["countersignature"] is False
    other = tuple(replace(share, account=ADA if share.account != ADA else BEN) for share in bought.shares[:1])
    found = tampered(shop, digest, shares=other)
    assert (found["shares"], found["attribution"]) == (False, False)
    opening = shop.questions._checker.find(digest).opening
    assert opening is not None
    altered = opening.replace(b'"text":"', b'"text":"x')
    assert tampered(shop, digest, opening=altered)["text"] is False


async def test_an_adapter_that_nobody_registered_is_not_sold(shop: Shop) -> None:
    train(shop.home)
    with pytest.raises(UnknownModelError, match="is not registered on this network"):
        await shop.ask("hello", model="lake")
    assert shop.world.node.ledger.receipts.newest(limit=1) == []


async def test_a_version_that_was_never_published_names_nobody(shop: Shop, adapter: Adapter) -> None:
    file = version_file(shop.home, LAKE.id, LAKE.version)
    file.write_text(file.read_text().replace(ADA, BEN))
    with pytest.raises(AdapterRefusedError, match=r"was never published|is damaged"):
        await shop.ask("hello", model="lake")


@pytest.mark.parametrize(
    ("question", "arguments", "message"),
    [
        ("riches", {}, "no question is called 'riches'"),
        ("plan", {}, "the argument 'verb' is missing"),
        ("plan", {"verb": "steal", "arguments": {}}, "no command 'steal' can be planned"),
        ("plan", {"verb": "stake add", "arguments": {}}, "the argument 'amount_wei' is missing"),
        ("plan", {"verb": "stake add", "arguments": {"amount_wei": 5}}, "an amount is a decimal text of wei, not 5"),
    ],
)
async def test_a_wrong_question_says_what_is_wrong(
    shop: Shop, question: str, arguments: dict[str, object], message: str
) -> None:
    ensure_development_wallet(shop.home, shop.world.network.network)
    with pytest.raises(MalformedError) as refusal:
        shop.questions.answer(question, arguments)
    assert message in str(refusal.value)
