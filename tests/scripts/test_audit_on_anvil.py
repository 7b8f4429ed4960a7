"""The audit of a chain that another program runs: anvil, with a wei planted by its own means."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.chain_world.deployed import deploy_over, send_call
from support.processes.nodes import ROOT

from openledger_node.audit.storage_layout import layout_of
from openledger_node.chain.clients.evm import open_client
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.anvil import start_anvil
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.dev.launch import find_anvil
from openledger_node.network_file import Network, write_network
from openledger_protocol.chain import ContractCall

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(find_anvil() is None, reason="anvil is not here: `npm ci` in contracts/ brings it"),
]

WAIT_S = 20.0


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    anvil = start_anvil(tmp_path, 0, 0.1)
    yield anvil.url
    anvil.close()


def act(url: str, network: Network, contract: str, function: str, *arguments: object) -> None:
    """Send a call and wait until it is mined."""
    call = ContractCall(to=network.contracts[contract], data=load_contract(contract).encode(function, *arguments))
    with closing(open_client(url)) as client:
        digest = send_call(client, call)
        deadline_s = time.monotonic() + WAIT_S
        while (receipt := client.receipt(digest)) is None and time.monotonic() < deadline_s:
            time.sleep(0.05)
    assert receipt is not None
    assert receipt.is_ok


def run_script(url: str, file: Path) -> tuple[int, Any]:
    command = [sys.executable, str(ROOT / "scripts" / "audit_chain.py"), url, str(file), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, json.loads(ran.stdout)


def plant(url: str, network: Network, contract: str, variable: str, *path: str, more: int) -> None:
    place = layout_of(contract).place(variable, *path)
    address = network.contracts[contract]
    with closing(open_client(url)) as client:
        word = int.from_bytes(client.storage(address, place.slot), "big") + (more << 8 * place.offset)
    params = [address, f"0x{place.slot:064x}", f"0x{word:064x}"]
    question = {"jsonrpc": "2.0", "id": 1, "method": "anvil_setStorageAt", "params": params}
    assert httpx.post(url, json=question, trust_env=False).json()["result"] is True


def test_a_wei_that_anvil_plants_is_named(url: str, tmp_path: Path) -> None:
    network = deploy_over(url)
    write_network(tmp_path / "network.json", network)
    config = (BANK, BANK, BANK, 40, b"\x05" * 32)
    for contract in ("NodeStaking", "PaymentChannels"):
        act(url, network, "OpenToken", "approve", network.contracts[contract], 10**24)
    act(url, network, "NodeStaking", "bond", 10**20 + 1)
    act(url, network, "PaymentChannels", "open", config, 10**18 + 3)
    act(url, network, "OpenToken", "transfer", network.contracts["PaymentChannels"], 9)
    status, report = run_script(url, tmp_path / "network.json")
    assert (status, report["holds"], report["donations"]) == (0, True, {"PaymentChannels": "9"})
    plant(url, network, "NodeStaking", "_nodes", BANK, "bonded", more=1)
    status, report = run_script(url, tmp_path / "network.json")
    assert (status, report["holds"]) == (1, False)
    assert [line["id"] for line in report["lines"] if not line["holds"]] == ["stakes", "tokens.NodeStaking"]
    assert report["faults"][0].startswith(f"NodeStaking._nodes[{BANK}].bonded is ")
