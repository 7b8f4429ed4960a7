"""What the EVM brings along must not let a text that is nested deeply end the process."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, openledger_node.chain.rpc_methods, openledger_node.chain.clients.simulated
from openledger_node.chain.rpc_server import respond
print(respond(b"[" * 100_000, lambda *_: None).decode())
"""


@pytest.mark.slow
def test_a_deeply_nested_question_is_refused_by_a_process_with_the_evm_in_it() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["error"]["message"] == "parse error"
