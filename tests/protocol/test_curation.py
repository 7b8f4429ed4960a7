"""Decisions of curators on a version: what they sign, and what no one else can have signed."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from support.contributors import ADA, BEN, key_of

from openledger_protocol.codec import to_plain
from openledger_protocol.curation import (
    APPROVE_VERSION_TYPE,
    VersionDecision,
    check_decision,
    decision_digest,
    decision_from_json,
    decision_typed_data,
)
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.primitives import DatanetId, Digest, check_address
from openledger_protocol.signatures import sign_digest

CONTRACT = Path(__file__).parents[2] / "contracts" / "src" / "DatanetRegistry.sol"
APPROVAL = VersionDecision(
    chain_id=31337,
    contract=check_address("0x" + "c0" * 20),
    datanet_id=DatanetId("0x" + "1" * 64),
    version=2,
    rows_root=Digest("0x" + "2" * 64),
    contributors_root=Digest("0x" + "3" * 64),
    curator=ADA,
    approves=True,
)
REJECTION = replace(APPROVAL, approves=False, reason="row 7 is wrong")


def signed(decision: VersionDecision) -> VersionDecision:
    signature = sign_digest(key_of("ada").private_key, decision_digest(decision))
    return replace(decision, signature="0x" + signature.hex())


@pytest.mark.parametrize("decision", [APPROVAL, REJECTION])
def test_another_wallet_signs_the_same_words(decision: VersionDecision) -> None:
    message = encode_typed_data(full_message=decision_typed_data(decision))
    signature = Account.sign_message(message, key_of("ada").private_key).signature.to_0x_hex()
    assert check_decision(replace(decision, signature=signature)).curator == ADA


def test_the_contract_names_the_same_type() -> None:
    (text,) = re.findall(r'"(ApproveVersion\([^"]*\))"', CONTRACT.read_text())
    assert text == APPROVE_VERSION_TYPE


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 3},
        {"rows_root": Digest("0x" + "4" * 64)},
        {"contributors_root": Digest("0x" + "4" * 64)},
        {"datanet_id": DatanetId("0x" + "4" * 64)},
        {"chain_id": 1},
        {"contract": BEN},
        {"curator": BEN},
        {"approves": True, "reason": ""},
        {"reason": "another"},
    ],
)
def test_a_decision_is_on_one_version_by_one_curator(changed: dict[str, Any]) -> None:
    check_decision(signed(REJECTION))
    with pytest.raises(BadSignatureError):
        check_decision(replace(signed(REJECTION), **changed))


def test_a_decision_is_read_back() -> None:
    for decision in (signed(APPROVAL), signed(REJECTION)):
        assert decision_from_json(to_plain(decision)) == decision


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"approves": 1}, "`approves` must be true or false"),
        ({"version": -1}, "version must be a number"),
        ({"version": 2**32}, "version must be a number"),
        ({"chain_id": True}, "chain_id must be a number"),
        ({"reason": "x" * 401}, "reason is a text of at most 400"),
        ({"reason": ""}, "a rejection has a reason"),
        ({"reason": "\ud800"}, "half a surrogate pair"),
        ({"approves": True}, "an approval has none"),
        ({"signature": 5}, "signature is a text"),
        ({"curator": "0x12"}, "not an address"),
        ({"more": 1}, "must have the fields"),
    ],
)
def test_a_strangers_decision_is_checked(changed: dict[str, Any], why: str) -> None:
    plain = to_plain(signed(REJECTION))
    assert isinstance(plain, dict)
    with pytest.raises(MalformedError, match=why):
        decision_from_json({**plain, **changed})
