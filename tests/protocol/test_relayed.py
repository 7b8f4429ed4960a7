"""A signed withdrawal with its fee: only its account can make one, and every field of it is signed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.signed import CONTRACT, PAYER, PAYER_KEY, account

from openledger_protocol.eip712 import rewards_domain
from openledger_protocol.errors import BadSignatureError, MalformedError, ProtocolError
from openledger_protocol.primitives import Wei
from openledger_protocol.relayed import (
    RELAYS_MAX,
    RelayedWithdrawal,
    check_withdrawal,
    sign_withdrawal,
    withdrawal_from_json,
    withdrawal_to_json,
)
from openledger_protocol.signatures import sign_digest

RELAYS = (account(0x51), account(0x52))


def signed(**changes: Any) -> RelayedWithdrawal:
    terms: dict[str, Any] = {
        "network": "harbour-1",
        "domain": rewards_domain(31337, CONTRACT),
        "account": PAYER,
        "to": account(0x61),
        "amount_wei": Wei(1_000),
        "nonce": 7,
        "deadline_s": 2_000,
        "fee_wei": Wei(3),
        "relays": RELAYS,
        "sign": lambda digest: sign_digest(PAYER_KEY, digest),
    }
    return sign_withdrawal(**{**terms, **changes})


def test_a_signed_withdrawal_is_read_as_it_was_written() -> None:
    withdrawal = signed()
    text = json.dumps(withdrawal_to_json(withdrawal))
    assert withdrawal_from_json(json.loads(text)) == withdrawal
    check_withdrawal(withdrawal)


def test_the_fee_has_the_nonce_after_the_payout_for_every_relay() -> None:
    withdrawal = signed()
    for relay in RELAYS:
        found = withdrawal.fee_for(relay)
        assert found is not None
        assert (found[0].to, found[0].amount_wei, found[0].nonce) == (relay, 3, withdrawal.payout.nonce + 1)
        assert found[0].deadline_s == withdrawal.payout.deadline_s
    assert withdrawal.fee_for(account(0x53)) is None


def test_without_a_fee_anybody_may_send_it() -> None:
    withdrawal = signed(fee_wei=Wei(0), relays=())
    check_withdrawal(withdrawal)
    assert withdrawal.fees == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chain_id", 1),
        ("contract", account(0x71)),
        ("account", account(0x72)),
        ("to", account(0x73)),
        ("amount_wei", "1001"),
        ("nonce", 8),
        ("deadline_s", 2_001),
        ("fee_wei", "4"),
    ],
)
def test_a_field_that_was_changed_is_not_signed(field: str, value: Any) -> None:
    content = {**withdrawal_to_json(signed()), field: value}
    with pytest.raises(BadSignatureError):
        check_withdrawal(withdrawal_from_json(content))


def test_a_fee_for_another_relay_is_not_signed() -> None:
    content = withdrawal_to_json(signed())
    content["fees"][1]["relay"] = account(0x74)
    with pytest.raises(BadSignatureError):
        check_withdrawal(withdrawal_from_json(content))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"amount_wei": Wei(0)}, "more than 0 wei"),
        ({"to": account(0)}, "more than 0 wei to an account"),
        ({"fee_wei": Wei(0)}, "without a fee nobody is named"),
        ({"relays": ()}, "a fee names the accounts"),
        ({"relays": (RELAYS[0], RELAYS[0])}, "different accounts"),
        ({"relays": tuple(account(0x100 + place) for place in range(RELAYS_MAX + 1))}, "1 to 16"),
        ({"relays": (account(0),)}, "different accounts"),
    ],
)
def test_terms_that_nobody_can_want_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        signed(**changes)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda _: None,
        lambda content: {**content, "schema": "openledger.withdrawal/2"},
        lambda content: {**content, "note": ""},
        lambda content: {name: value for name, value in content.items() if name != "to"},
        lambda content: {**content, "nonce": -1},
        lambda content: {**content, "nonce": True},
        lambda content: {**content, "deadline_s": 2**64},
        lambda content: {**content, "amount_wei": 1_000},
        lambda content: {**content, "amount_wei": "-1"},
        lambda content: {**content, "account": 5},
        lambda content: {**content, "signature": "0x12"},
        lambda content: {**content, "signature": "zz"},
        lambda content: {**content, "fees": {}},
        lambda content: {**content, "fees": [5]},
        lambda content: {**content, "fees": [{"relay": RELAYS[0]}]},
        lambda content: {**content, "fees": content["fees"] * RELAYS_MAX},
    ],
)
def test_what_is_no_withdrawal_is_refused(change: Callable[[Any], Any]) -> None:
    with pytest.raises(ProtocolError):
        withdrawal_from_json(change(withdrawal_to_json(signed())))
