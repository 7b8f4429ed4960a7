"""`gateway`: keys with credit, made and shown with the daemon down."""

import sqlite3
from contextlib import closing

import pytest
from support.verbs import Run
from support.x402_payers import CHANNEL

from openledger_node.access.keys import ApiKeyRing
from openledger_node.cli import payers
from openledger_node.cli.status import _gateway_lines
from openledger_node.home import Home
from openledger_node.ledger.key_credits import KeyHold
from openledger_node.ledger.ledger import open_ledger
from openledger_node.ledger.x402_channels import X402Charge
from openledger_protocol.primitives import ChannelId, RequestId, Wei
from openledger_protocol.x402 import X402Voucher


def test_a_key_is_sold_credited_and_shown(run: Run, home: Home) -> None:
    added = run("gateway", "add", "bob", "2.5", "--note", "bill 7", "--json").json
    assert added["balance_wei"] == str(25 * 10**17)
    found = ApiKeyRing(home).find(added["secret"])
    assert found is not None
    assert found.is_prepaid
    assert "3 OPEN" in run("gateway", "credit", "bob", "0.5").stdout
    shown = run("gateway", "show", "bob", "--json").json
    assert [each["note"] for each in shown["credits"]] == ["", "bill 7"]
    assert "secret" not in shown
    assert "bob" in run("gateway", "list").stdout


def test_the_secret_is_shown_once_with_the_switch_that_is_off(run: Run) -> None:
    added = run("gateway", "add", "bob", "1")
    assert "olk-" in added.stdout
    assert "[gateway] enabled = true" in added.stdout + added.stderr
    assert "olk-" not in run("gateway", "show", "bob").stdout + run("gateway", "list").stdout


def test_an_order_makes_its_key_once_and_an_unused_key_gets_another_secret(run: Run, home: Home) -> None:
    order, ring = ("gateway", "add", "bob", "2", "--order", "shop-1"), ApiKeyRing(home)
    first, again = run(*order, "--json").json, run(*order, "--json").json
    assert (first["is_new"], again["is_new"], again["balance_wei"]) == (True, False, str(2 * 10**18))
    assert ring.find(first["secret"]) is None, "it may have been lost with the first answer"
    assert ring.find(again["secret"]) is not None
    refused = run("gateway", "add", "bob", "3", "--order", "shop-1")
    assert "check the order" in " ".join(refused.stderr.split())
    assert "is taken" in run("gateway", "add", "bob", "2", "--order", "shop-2").stderr
    with closing(open_ledger(next(home.root.rglob("ledger.db")))) as ledger:
        ledger.key_credits.hold(hold_of("bob"), lambda balance, beside: Wei(1))
    used = run(*order)
    assert "it keeps its secret" in " ".join(used.stderr.split())
    assert "olk-" not in used.stdout
    assert ring.find(again["secret"]) is not None


def test_an_order_of_a_credit_does_not_replace_the_secret_of_a_key_that_was_made_before(run: Run, home: Home) -> None:
    made, ring = run("gateway", "add", "bob", "1", "--json").json, ApiKeyRing(home)
    run("gateway", "credit", "bob", "2", "--order", "shop-1")
    refused = run("gateway", "add", "bob", "2", "--order", "shop-1")
    assert "was made before it and keeps its secret" in " ".join(refused.stderr.split())
    assert ring.find(made["secret"]) is not None
    assert run("gateway", "show", "bob", "--json").json["balance_wei"] == str(3 * 10**18)


def test_an_order_that_a_crash_cut_off_is_carried_out_when_it_is_repeated(run: Run, home: Home) -> None:
    run("gateway", "add", "eve", "1")  # so that there is a ledger
    ApiKeyRing(home).add("bob", now_s=1, is_prepaid=True)
    made = run("gateway", "add", "bob", "2", "--order", "shop-1", "--json").json
    assert (made["is_new"], made["balance_wei"]) == (True, str(2 * 10**18))
    assert ApiKeyRing(home).find(made["secret"]) is not None


def hold_of(key: str) -> KeyHold:
    return KeyHold(
        request_id=RequestId("0x" + "3" * 64),
        key=key,
        began_s=1,
        is_bought=False,
        price_in_wei=Wei(1),
        price_out_wei=Wei(1),
        margin_ppm=0,
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("credit", "eve", "1"), "there is no key 'eve'"),
        (("add", "bob", "1"), "is taken"),
        (("add", "new", "0"), "more than 0"),
        (("add", "new", "much"), "not an amount"),
        (("credit", "bob", "0.5", "--note", "x" * 201), "shorten it"),
        (("credit", "free", "1"), "not prepaid"),
        (("credit", "gone", "1"), "revoked"),
        (("show", "eve"), "there is no key 'eve'"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_what_can_not_be_sold_is_refused(run: Run, home: Home, words: tuple[str, ...], reason: str) -> None:
    run("gateway", "add", "bob", "1")
    ring = ApiKeyRing(home)
    ring.add("free", now_s=1)
    ring.add("gone", now_s=1, is_prepaid=True)
    ring.revoke("gone", now_s=2)
    ran = run("gateway", *words)
    assert ran.status != 0
    assert reason in " ".join((ran.stdout + ran.stderr).split())


def test_before_the_first_key_there_is_nothing_to_list(run: Run) -> None:
    assert "no prepaid key yet" in run("gateway", "list").stdout
    assert "gateway add" in run("gateway", "show", "bob").stderr


def test_an_order_that_is_repeated_adds_nothing(run: Run, home: Home) -> None:
    run("gateway", "add", "bob", "1")
    order = ("gateway", "credit", "bob", "0.5", "--order", "bill-7")
    assert run(*order, "--json").json["is_new"] is True
    assert "nothing was added now" in run(*order).stderr
    shown = run("gateway", "show", "bob", "--json").json
    assert (shown["balance_wei"], [each["order"] for each in shown["credits"]]) == (
        str(15 * 10**17),
        ["bill-7", None],
    )
    refused = run("gateway", "credit", "bob", "0.6", "--order", "bill-7")
    assert refused.status != 0
    assert "check the order" in " ".join(refused.stderr.split())
    assert "can't be the id" in run("gateway", "credit", "bob", "1", "--order", "bill 7").stderr
    listed = run("keys", "list").stdout
    assert "1.5 OPEN" in listed


def test_the_list_has_what_x402_payers_were_charged(run: Run, home: Home) -> None:
    run("gateway", "add", "bob", "1")
    assert "x402" not in run("gateway", "list").stdout
    file = next(home.root.rglob("ledger.db"))
    with closing(open_ledger(file)) as ledger:
        ledger.x402.charge(
            X402Charge(
                request_id=RequestId("0x" + "1" * 64),
                voucher=X402Voucher(
                    channel_id=ChannelId("0x" + "2" * 64), max_claimable_wei=Wei(10**18), signature=bytes(65)
                ),
                channel=CHANNEL,
                before_wei=Wei(0),
                charged_wei=Wei(5 * 10**17),
                cost_wei=Wei(25 * 10**16),
                now_s=1,
            )
        )
    listed = " ".join(run("gateway", "list").stdout.split())
    assert "0.5 OPEN charged to payers, 0.5 OPEN of it not claimed yet; other nodes charged 0.25 OPEN" in listed
    sums = {"charged_wei": str(5 * 10**17), "unclaimed_wei": str(5 * 10**17), "cost_wei": str(25 * 10**16)}
    assert run("gateway", "list", "--json").json["x402"] == sums
    assert run("gateway", "payers", "--json").json.items() >= sums.items()
    prepaid = {"charged_wei": "0", "cost_wei": "0", "x402": sums}
    assert _gateway_lines({"gateway": prepaid}).keys() == {"x402"}
    assert _gateway_lines({"gateway": {**prepaid, "charged_wei": "1"}}).keys() == {"gateway", "x402"}


def test_wrong_sums_are_named_by_doctor_and_recounted(run: Run, home: Home) -> None:
    run("gateway", "add", "bob", "1")
    file = next(home.root.rglob("ledger.db"))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("INSERT INTO key_day VALUES ('bob', 1, 1, 86400, '0', 0, '7', '0')")
    told = " ".join(run("doctor", "--only", "chain").stdout.split())
    assert "such as those of 'bob' on 1970-01-02" in told
    assert "keys recount" in told
    assert run("keys", "recount", "--json").json["num_wrong"] == 1
    assert "all sums were right" in run("keys", "recount").stderr


@pytest.mark.parametrize(
    ("unclaimed_wei", "says"), [("0", "nothing is left to claim"), ("7", "0.000000000000000007 OPEN not claimed yet")]
)
def test_a_claim_says_what_is_left(run: Run, monkeypatch: pytest.MonkeyPatch, unclaimed_wei: str, says: str) -> None:
    monkeypatch.setattr(payers, "ask_daemon", lambda *_: {"unclaimed_wei": unclaimed_wei})
    claimed = run("gateway", "claim")
    assert says in claimed.stdout + claimed.stderr
