"""Forfeits of bonds: what a curator signs, and the hash of those who decide."""

import re
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from support.contributors import ADA, BEN, key_of

from openledger_protocol.bond import (
    FORFEIT_BOND_TYPE,
    Forfeit,
    deciders_hash,
    forfeit_digest,
    forfeit_typed_data,
    reason_hash,
)
from openledger_protocol.offer import OFFER_ROWS_TYPE
from openledger_protocol.primitives import DatanetId, Digest, Wei, check_address
from openledger_protocol.signatures import recover_address

CONTRACT = Path(__file__).parents[2] / "contracts" / "src" / "lib" / "ContributorBonds.sol"
FORFEIT = Forfeit(
    chain_id=31337,
    contract=check_address("0x" + "c0" * 20),
    datanet_id=DatanetId("0x" + "1" * 64),
    account=ADA,
    rows_root=Digest("0x" + "2" * 64),
    amount_max_wei=Wei(5 * 10**18 + 1),
    reason=reason_hash("copied from a site"),
)


def test_another_wallet_signs_the_same_words() -> None:
    message = encode_typed_data(full_message=forfeit_typed_data(FORFEIT))
    signature = bytes(Account.sign_message(message, key_of("ben").private_key).signature)
    assert recover_address(forfeit_digest(FORFEIT), signature) == BEN


def test_the_contract_names_the_same_types() -> None:
    text = CONTRACT.read_text()
    assert re.findall(r'"((?:ForfeitBond|OfferRows)\([^"]*\))"', text) == [OFFER_ROWS_TYPE, FORFEIT_BOND_TYPE]


@pytest.mark.parametrize(("curators", "need"), [((), 0), ((ADA,), 1), ((ADA, BEN), 2)])
def test_deciders_are_hashed_as_the_contract_does(curators: tuple[str, ...], need: int) -> None:
    packed = encode(["address", "address[]", "uint32"], [BEN, list(curators), need])
    assert deciders_hash(BEN, [check_address(each) for each in curators], need) == f"0x{keccak(packed).hex()}"
