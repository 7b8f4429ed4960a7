"""Transactions as bytes: what we write is what another implementation reads."""

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.chain.encoding import (
    UnsignedTransaction,
    encode_rlp,
    encode_signed,
    signing_digest,
    transaction_hash,
)
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import ZERO_ADDRESS, Wei, checksum_address
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.transactions import GasPrice

KEY = bytes(range(1, 33))


def encode(unsigned: UnsignedTransaction) -> bytes:
    return encode_signed(unsigned, sign_digest(KEY, signing_digest(unsigned)))


transactions = st.builds(
    lambda chain_id, nonce, tip, more, gas, to, data, value: UnsignedTransaction(
        chain_id=chain_id,
        nonce=nonce,
        price=GasPrice(fee_max_wei=Wei(tip + more), tip_max_wei=Wei(tip)),
        gas_limit=gas,
        call=ContractCall(to=checksum_address(to), data=data, value_wei=Wei(value)),
    ),
    st.integers(1, 2**62),
    st.integers(0, 2**63),
    st.integers(0, 2**90),
    st.integers(0, 2**90),
    st.integers(21_000, 2**40),
    st.binary(min_size=20, max_size=20),
    st.binary(max_size=300),
    st.integers(0, 2**127),
)


@given(transactions)
def test_another_implementation_reads_what_we_write(unsigned: UnsignedTransaction) -> None:
    raw = encode(unsigned)
    read = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    assert read["chainId"] == unsigned.chain_id
    assert read["nonce"] == unsigned.nonce
    assert (read["maxFeePerGas"], read["maxPriorityFeePerGas"]) == (
        unsigned.price.fee_max_wei,
        unsigned.price.tip_max_wei,
    )
    assert (read["gas"], read["value"]) == (unsigned.gas_limit, unsigned.call.value_wei)
    assert (read["to"], read["data"]) == (bytes.fromhex(unsigned.call.to[2:]), unsigned.call.data)
    assert Account.recover_transaction(raw) == address_of(KEY)


@given(transactions)
def test_another_implementation_writes_the_same_bytes(unsigned: UnsignedTransaction) -> None:
    fields = {
        "type": 2,
        "chainId": unsigned.chain_id,
        "nonce": unsigned.nonce,
        "maxFeePerGas": unsigned.price.fee_max_wei,
        "maxPriorityFeePerGas": unsigned.price.tip_max_wei,
        "gas": unsigned.gas_limit,
        "to": unsigned.call.to,
        "data": unsigned.call.data,
        "value": unsigned.call.value_wei,
    }
    signed = Account.sign_transaction(fields, KEY)
    raw = encode(unsigned)
    assert raw == bytes(signed.raw_transaction)
    assert transaction_hash(raw) == "0x" + signed.hash.hex()


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (0, "80"),
        (127, "7f"),
        (128, "8180"),
        (1024, "820400"),
        (b"", "80"),
        (b"\x00", "00"),
        (b"dog", "83646f67"),
        ([], "c0"),
        ([b"cat", [b"dog", []]], "ca83636174c583646f67c0"),
        (b"x" * 55, "b7" + "78" * 55),
        (b"x" * 56, "b838" + "78" * 56),
        ([b"x" * 300], "f9012f" + "b9012c" + "78" * 300),
    ],
)
def test_rlp_is_written_as_its_source_says(item: object, expected: str) -> None:
    assert encode_rlp(item).hex() == expected  # type: ignore[arg-type]  # the table mixes all kinds


def test_a_call_to_nobody_is_still_twenty_bytes() -> None:
    unsigned = UnsignedTransaction(
        chain_id=1,
        nonce=0,
        price=GasPrice(fee_max_wei=Wei(1), tip_max_wei=Wei(1)),
        gas_limit=21_000,
        call=ContractCall(to=ZERO_ADDRESS),
    )
    assert TypedTransaction.from_bytes(HexBytes(encode(unsigned))).as_dict()["to"] == bytes(20)
