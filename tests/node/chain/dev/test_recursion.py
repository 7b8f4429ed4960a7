"""The EVM recurses deeply, and nothing else may: neither a nested text nor a contract ends the process."""

import json
import subprocess
import sys
from contextlib import closing

import pytest
from support.chain_world.deployed import send_call
from support.chain_world.ways import Simulation

from openledger_node.chain.clients.simulated import GENESIS_S
from openledger_node.chain.dev.calls import EVM_FRAMES_MAX, FRAMES_MAX, room_for_calls
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.dev.deploy import CREATE
from openledger_node.chain.dev.embedded import open_chain
from openledger_node.chain.encoding import created_address
from openledger_protocol.chain import ContractCall

CALLS_ITSELF = bytes.fromhex("685f5f5f5f5f305af1005f5260096017f3")
"""Creates a contract of nine bytes, which calls itself with all the gas that it may pass on."""


PROGRAM = """
import json, openledger_node.chain.dev.rpc_methods, openledger_node.chain.clients.simulated
from openledger_node.chain.dev.rpc_server import respond
print(respond(b"[" * 100_000, lambda *_: None).decode())
"""


@pytest.mark.process
def test_a_deeply_nested_question_is_refused_by_a_process_with_the_evm_in_it() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["error"]["message"] == "parse error"


def test_a_contract_that_calls_itself_as_deep_as_it_may_is_mined_as_any_other() -> None:
    with closing(Simulation(open_chain(None, GENESIS_S))) as client:
        send_call(client, ContractCall(to=CREATE, data=CALLS_ITSELF))
        client.mine()
        deep = ContractCall(to=created_address(BANK, 0))
        digest = send_call(client, deep, gas_limit=29_000_000)
        client.mine()
        receipt = client.receipt(digest)
        assert receipt is not None
        assert receipt.is_ok
        assert client.call(deep) == b""


def test_there_is_room_for_the_evm_only_while_it_runs() -> None:
    before = sys.getrecursionlimit()
    with room_for_calls(), room_for_calls():
        assert sys.getrecursionlimit() == EVM_FRAMES_MAX
    assert sys.getrecursionlimit() == FRAMES_MAX <= before
