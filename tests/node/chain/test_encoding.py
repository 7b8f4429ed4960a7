"""Transactions as bytes: what is signed is what another implementation, the chain's own, reads."""

from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.chain.encoding import UnsignedTransaction, sign_transaction, transaction_hash
from openledger_protocol.chain import CREATE, ContractCall
from openledger_protocol.primitives import Wei, checksum_address
from openledger_protocol.signatures import address_of
from openledger_protocol.transactions import GasPrice

KEY = bytes(range(1, 33))

transactions = st.builds(
    lambda chain_id, nonce, tip, more, gas, to, data, value: UnsignedTransaction(
        chain_id=chain_id,
        nonce=nonce,
        price=GasPrice(fee_max_wei=Wei(tip + more), tip_max_wei=Wei(tip)),
        gas_limit=gas,
        call=ContractCall(to=checksum_address(to) if to else CREATE, data=data, value_wei=Wei(value)),
    ),
    st.integers(1, 2**62),
    st.integers(0, 2**63),
    st.integers(0, 2**90),
    st.integers(0, 2**90),
    st.integers(21_000, 2**40),
    st.just(b"") | st.binary(min_size=20, max_size=20),
    st.binary(max_size=300),
    st.integers(0, 2**127),
)


@given(transactions)
def test_the_chain_reads_the_fields_that_were_signed(unsigned: UnsignedTransaction) -> None:
    raw = sign_transaction(unsigned, KEY)
    read = PragueTransactionBuilder.decode(raw)
    assert raw[0] == 2
    assert (read.chain_id, read.nonce, read.gas) == (unsigned.chain_id, unsigned.nonce, unsigned.gas_limit)
    assert (read.max_fee_per_gas, read.max_priority_fee_per_gas) == (
        unsigned.price.fee_max_wei,
        unsigned.price.tip_max_wei,
    )
    assert (read.to, read.value) == (bytes.fromhex(unsigned.call.to[2:]), unsigned.call.value_wei)
    assert (read.data, read.access_list) == (unsigned.call.data, ())
    assert checksum_address(read.sender) == address_of(KEY)
    assert "0x" + read.hash.hex() == transaction_hash(raw)
