"""Offers of rows: the typed data that any wallet signs, and what the signature covers."""

from dataclasses import replace
from typing import Any

import pytest
from eth_abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from support.contributors import BEN, key_of

from openledger_protocol.codec import to_plain
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.offer import (
    RowOffer,
    check_offer,
    offer_commitment,
    offer_digest,
    offer_from_json,
    offer_rows_root,
    offer_typed_data,
)
from openledger_protocol.primitives import DatanetId, Digest, check_address
from openledger_protocol.signatures import sign_digest

ADA = key_of("ada")
OFFER = RowOffer(
    chain_id=31337,
    contract=check_address("0x" + "c0" * 20),
    datanet_id=DatanetId("0x" + "1" * 64),
    account=ADA.address,
    licence="CC-BY-4.0",
    rows=tuple(Digest(f"0x{place:064x}") for place in range(3)),
)


def signed(offer: RowOffer, key: bytes = ADA.private_key) -> RowOffer:
    return replace(offer, signature="0x" + sign_digest(key, offer_digest(offer)).hex())


def test_a_wallet_signs_the_typed_data_that_is_printed() -> None:
    wallet = Account.sign_message(encode_typed_data(full_message=offer_typed_data(OFFER)), ADA.private_key)
    assert check_offer(replace(OFFER, signature=wallet.signature.to_0x_hex())) == signed(OFFER)


@pytest.mark.parametrize(
    "changed",
    [
        {"chain_id": 1},
        {"contract": BEN},
        {"datanet_id": "0x" + "2" * 64},
        {"licence": "CC0-1.0"},
        {"rows": OFFER.rows[:2]},
        {"rows": OFFER.rows[::-1]},
        {"account": BEN},
    ],
)
def test_the_signature_is_of_this_statement_alone(changed: dict[str, Any]) -> None:
    with pytest.raises(BadSignatureError, match="has not signed this offer"):
        check_offer(replace(signed(OFFER), **changed))


def test_another_consent_is_another_statement() -> None:
    with pytest.raises(MalformedError, match="sign the batch again"):
        check_offer(signed(replace(OFFER, consent="I agree to nothing.")))


@pytest.mark.parametrize("signature", ["", "0x", "0xzz", "0x" + "00" * 64])
def test_what_is_no_signature_says_so(signature: str) -> None:
    with pytest.raises(MalformedError):
        check_offer(replace(OFFER, signature=signature))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", []),
        ("rows", None),
        ("rows", ["0x1"]),
        ("chain_id", "1"),
        ("chain_id", -1),
        ("licence", "x" * 1_001),
        ("licence", "\ud800"),
        ("account", "ada"),
        ("consent", None),
    ],
)
def test_a_malformed_offer_is_refused(name: str, value: object) -> None:
    content = to_plain(signed(OFFER))
    assert offer_from_json(content) == signed(OFFER)
    assert isinstance(content, dict)
    with pytest.raises(MalformedError):
        offer_from_json({**content, name: value})
    with pytest.raises(MalformedError, match="must have the fields"):
        offer_from_json({each: content[each] for each in content if each != name})


def test_a_commitment_is_the_hash_of_place_account_rows_and_salt() -> None:
    offer = signed(OFFER)
    words = ["bytes32", "bytes32", "address", "bytes32", "bytes32"]
    kind = keccak(b"CommitRows(bytes32 datanetId,address account,bytes32 rowsRoot,bytes32 salt)")
    root, salt = (bytes.fromhex(text[2:]) for text in (offer_rows_root(offer.rows), offer.signature))
    place = bytes.fromhex(offer.datanet_id[2:])
    expected = keccak(encode(words, [kind, place, offer.account, root, keccak(salt)]))
    assert offer_commitment(offer) == f"0x{expected.hex()}"
