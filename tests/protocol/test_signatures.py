"""Digests and signatures are those that wallets make: compared with eth-account's, which packs from a description."""

import pytest
from eth_account import Account
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from openledger_protocol.eip712 import (
    address_word,
    digest_word,
    uint_word,
)
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of, check_signer, recover_address, sign_digest

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY, OTHER_KEY = b"\x01" * 32, b"\x02" * 32
DIGEST = keccak(b"a receipt")

keys = st.integers(min_value=1, max_value=ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
digests = st.binary(min_size=32, max_size=32)


@given(keys, digests)
def test_a_signature_is_the_one_that_eth_account_makes(key: bytes, digest: bytes) -> None:
    signature = sign_digest(key, digest)
    assert signature == Account.unsafe_sign_hash(digest, key).signature
    assert address_of(key) == Account.from_key(key).address
    assert recover_address(digest, signature) == address_of(key)


def test_the_higher_s_is_refused_although_it_recovers_the_same_key() -> None:
    signature = sign_digest(KEY, DIGEST)
    higher = ORDER - int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + higher.to_bytes(32, "big") + bytes([55 - signature[64]])
    assert Account._recover_hash(DIGEST, signature=twin) == address_of(KEY)
    with pytest.raises(BadSignatureError, match="only its lower twin counts"):
        recover_address(DIGEST, twin)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        (b"", "a signature has 65 bytes"),
        (b"\x01" * 64, "a signature has 65 bytes"),
        (b"\x01" * 66, "a signature has 65 bytes"),
        (b"\x01" * 64 + b"\x00", "v is 27 or 28, not 0"),
        (b"\x01" * 64 + b"\x01", "v is 27 or 28, not 1"),
        (b"\x01" * 64 + b"\x1d", "v is 27 or 28, not 29"),
    ],
)
def test_a_signature_of_another_form_is_refused(signature: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        recover_address(DIGEST, signature)


@pytest.mark.parametrize("r", [0, 5, ORDER, 2**256 - 1], ids=["zero", "no point", "the order", "over the order"])
def test_numbers_that_no_key_makes_are_refused(r: int) -> None:
    signature = r.to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\x1b"
    with pytest.raises(BadSignatureError, match="no key makes this signature"):
        recover_address(DIGEST, signature)


def test_a_zero_s_is_refused() -> None:
    with pytest.raises(BadSignatureError, match="no key makes this signature"):
        recover_address(DIGEST, sign_digest(KEY, DIGEST)[:32] + bytes(32) + b"\x1b")


def test_the_signature_of_another_is_refused_by_name() -> None:
    signature = sign_digest(OTHER_KEY, DIGEST)
    check_signer(DIGEST, signature, address_of(OTHER_KEY))
    with pytest.raises(BadSignatureError, match=f"signed by {address_of(OTHER_KEY)}, not by {address_of(KEY)}"):
        check_signer(DIGEST, signature, address_of(KEY))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (b"", "32 bytes, not 0"),
        (b"\x01" * 31, "32 bytes, not 31"),
        (b"\x01" * 33, "32 bytes, not 33"),
        (bytes(32), "over 0 and below"),
        (ORDER.to_bytes(32, "big"), "over 0 and below"),
    ],
)
def test_what_is_no_private_key_is_refused_without_showing_it(key: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message) as refusal:
        sign_digest(key, DIGEST)
    assert key.hex() not in str(refusal.value) or not key


@pytest.mark.parametrize(("value", "bits"), [(-1, 128), (2**128, 128), (2**64, 64), (2**32, 32), (2**256, 256)])
def test_a_number_that_a_contract_could_not_read_has_no_word(value: int, bits: int) -> None:
    assert uint_word(2**bits - 1, bits) == (2**bits - 1).to_bytes(32, "big")
    with pytest.raises(MalformedError, match=f"{value} is no uint{bits}"):
        uint_word(value, bits)


def test_a_short_word_never_moves_the_fields_behind_it() -> None:
    with pytest.raises(AssertionError, match="a word of"):
        digest_word("0x" + "a" * 62)
    with pytest.raises(AssertionError, match="a word of"):
        address_word(Address("0x" + "a" * 66))
