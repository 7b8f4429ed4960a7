"""The embedded chain's methods: whatever is asked, the answer is a result or an error, and never a broken thread."""

from contextlib import closing
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.chain_world.deployed import send_call
from support.chain_world.ways import Simulation

from openledger_node.chain.clients.simulated import GENESIS_S, SEED
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.dev.embedded import open_chain
from openledger_node.chain.dev.rpc_methods import RpcMethods
from openledger_node.chain.rpc import RpcError
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Wei

CHAIN = open_chain(None, GENESIS_S, seed=SEED)
CLIENT = Simulation(CHAIN)
METHODS = sorted(RpcMethods(CHAIN, "test")._methods)
WORD = "0x" + "ab" * 32
MESSAGE = {"from": BANK, "to": BANK, "value": "0x1", "data": "0x1234", "gas": "0x7530", "input": None}

quantities = st.sampled_from(["0x0", "0x1", "0x5", "0x", "0x" + "f" * 64, "0x" + "f" * 65, "-0x1", "1", 1, -1, 2.5])
names = st.sampled_from(
    ["latest", "pending", "finalized", "safe", "earliest", "tomorrow", "", {}, {"blockHash": WORD}]
)
texts = st.sampled_from([BANK, BANK.lower(), WORD, "0x12", "0xzz", "\0", "0x" + "00" * 5_000])
plain = st.one_of(st.none(), st.booleans(), quantities, names, texts)
messages = st.dictionaries(st.sampled_from(sorted(MESSAGE)), plain).map(lambda changes: {**MESSAGE, **changes})
filters = st.dictionaries(
    st.sampled_from(["fromBlock", "toBlock", "blockHash", "address", "topics"]), plain | st.lists(plain, max_size=5)
)
params = st.lists(plain | messages | filters | st.lists(plain, max_size=3), max_size=4)


@given(method=st.sampled_from(METHODS), params=params)
def test_whatever_is_asked_is_answered_or_refused(method: str, params: list[Any]) -> None:
    assert code_of(method, params) in (None, -32602, -32000, 3)


def code_of(method: str, params: list[Any]) -> int | None:
    """The code of the refusal, if it is one."""
    try:
        CLIENT.ask(method, params)
    except RpcError as error:
        return error.code
    return None


def test_blocks_and_transactions_show_whole_or_by_their_hashes() -> None:
    with closing(Simulation(open_chain(None, GENESIS_S))) as client:
        digest = send_call(client, ContractCall(to=BANK, value_wei=Wei(1)))
        waiting = client.ask("eth_getTransactionByHash", [digest])
        assert (waiting["hash"], waiting["blockNumber"], waiting["from"]) == (digest, None, BANK)
        head = client.mine()
        mined = client.ask("eth_getTransactionByHash", [digest])
        assert (mined["blockNumber"], mined["blockHash"], mined["transactionIndex"]) == ("0x1", head.hash, "0x0")
        by_number = client.ask("eth_getBlockByNumber", ["0x1", True])
        assert by_number["transactions"] == [mined]
        assert client.ask("eth_getBlockByHash", [head.hash, False]) == {**by_number, "transactions": [digest]}
        (receipt,) = client.ask("eth_getBlockReceipts", ["latest"])
        assert receipt == client.ask("eth_getTransactionReceipt", [digest])
