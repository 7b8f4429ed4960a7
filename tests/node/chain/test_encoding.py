"""Transactions as bytes: what we write is what another implementation reads."""

from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.chain.encoding import UnsignedTransaction, encode_signed, signing_digest, transaction_hash
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Wei, checksum_address
from openledger_protocol.signatures import sign_digest
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
