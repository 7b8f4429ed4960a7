"""`--unsigned` and `wallet submit`: from a command through another program's signature to the chain."""

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from support.chain_world.deployed import deploy_over
from support.chain_world.ways import served_chain
from support.commands import write_shell_command
from support.processes.nodes import ROOT, node_environment
from support.verbs import Run

from openledger_node.chain.dev.faucet import fund
from openledger_node.cli.chain import open_endpoint
from openledger_node.home import Home
from openledger_node.network_file import Network, join_network
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of

OPEN = 10**18
CAST = shutil.which("cast", path=f"{ROOT / 'contracts' / 'node_modules' / '.bin'}:{os.environ['PATH']}")
STRANGER = address_of(b"\x42" * 32)


class Hardware:
    """A wallet outside of the node: it signs what it is shown."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.address: Address = address_of(key)

    def sign(self, printed: dict[str, Any]) -> list[str]:
        signed = [Account.sign_transaction(each["transaction"], self._key) for each in printed["transactions"]]
        return ["0x" + bytes(each.raw_transaction).hex() for each in signed]

    def send_coins(self, network: Network, to: Address, *, nonce: int) -> str:
        fields = {"type": 2, "chainId": network.chain_id, "nonce": nonce, "to": to, "value": 5, "gas": 50_000}
        signed = Account.sign_transaction(
            {**fields, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9, "data": "0x"}, self._key
        )
        return "0x" + bytes(signed.raw_transaction).hex()


@pytest.fixture
def network(home: Home, run: Run) -> Iterator[Network]:
    """A network whose chain mines each transaction as it comes, joined by a node whose own wallet is empty."""
    with served_chain() as url:
        found = deploy_over(url)
        join_network(home, found)
        assert run("wallet", "create").status == 0
        yield found


@pytest.fixture
def hardware(network: Network) -> Hardware:
    made = Hardware(b"\x41" * 32)
    with open_endpoint(network.rpc[0]) as client:
        fund(client, network, made.address, coin_wei=OPEN, open_wei=500 * OPEN)
    return made


def printed(run: Run, hardware: Hardware, *words: str) -> dict[str, Any]:
    ran = run(*words, "--wallet", hardware.address, "--unsigned", "--json")
    assert ran.status == 0, ran.stderr
    assert ran.json["schema"] == "openledger.unsigned/1"
    return dict(ran.json)


def test_stake_is_printed_signed_elsewhere_and_submitted(run: Run, hardware: Hardware, tmp_path: Path) -> None:
    found = printed(run, hardware, "stake", "add", "100")
    assert [each["what"] for each in found["transactions"]][:2] == ["let NodeStaking take 100 OPEN", "bond 100 OPEN"]
    file = tmp_path / "signed.txt"
    file.write_text("\n".join(hardware.sign(found)) + "\n")
    sent = run("wallet", "submit", str(file), "--json")
    assert sent.status == 0, sent.stderr
    assert sent.json["schema"] == "openledger.submitted/1"
    assert {each["state"] for each in sent.json["transactions"]} == {"mined"}
    assert "stake 100 OPEN" in sent.stderr
    assert [each["contract"] for each in sent.json["transactions"]] == ["OpenToken", "NodeStaking", "NodeStaking"]
    again = run("wallet", "submit", str(file))
    assert again.status == 0
    assert again.stderr.count("already mined in block") + again.stderr.count("already final in block") == 3
    # The stake is there: a part of it can be unbonded, and more than it can't.
    assert printed(run, hardware, "stake", "remove", "100")["transactions"][0]["what"] == "begin to unbond 100 OPEN"
    refused = run("stake", "remove", "101", "--wallet", hardware.address, "--unsigned")
    assert (refused.status, "the stake is 100 OPEN" in refused.stderr) == (1, True)


def test_a_node_whose_wallet_is_a_hardware_wallet(run: Run, home: Home, network: Network, hardware: Hardware) -> None:
    join_network(home, replace(network, network="openledger-test"))  # a real network, so no key is a throwaway
    assert run("wallet", "watch", hardware.address).status == 0
    assert run("stake", "show", "--json").json["node"] == hardware.address
    refused = run("stake", "add", "100")
    assert (refused.status, "commands with --unsigned" in refused.stderr) == (4, True)
    found = run("stake", "add", "100", "--unsigned", "--json").json
    for raw in hardware.sign(found):
        assert run("wallet", "submit", raw, "--yes").status == 0
    shown = run("stake", "show", "--json").json
    assert (shown["bonded_wei"], shown["is_appointed"]) == (str(100 * OPEN), True)


@pytest.mark.skipif(None in (CAST, shutil.which("jq")), reason="cast and jq: `npm ci` in contracts/ brings cast")
def test_the_script_of_the_docs_signs_with_cast(
    run: Run, network: Network, hardware: Hardware, home: Home, tmp_path: Path
) -> None:
    """All of the script but the device: a key in its place."""
    page = (ROOT / "docs" / "how-to" / "hardware-wallets.md").read_text()
    (script,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    script = script.replace("--ledger", "--private-key " + "0x" + "41" * 32)
    script = script.replace("stake add 100", f"stake add 100 --wallet {hardware.address}")
    write_shell_command(tmp_path)
    path = f"{tmp_path}:{Path(str(CAST)).parent}:{os.environ['PATH']}"
    env = node_environment(home, PATH=path, OPENLEDGER_NODE_NETWORK="auto")
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("mined in block") == 3
    assert printed(run, hardware, "stake", "remove", "100")["transactions"]


def test_people_read_what_each_transaction_does_and_the_bytes_to_sign(run: Run, hardware: Hardware) -> None:
    ran = run("stake", "add", "100", "--wallet", hardware.address, "--unsigned")
    assert ran.status == 0
    lines = ran.stdout.splitlines()
    assert lines[0] == "1  let NodeStaking take 100 OPEN"
    assert "2  bond 100 OPEN" in lines
    assert sum(line.strip().startswith("unsigned") and "0x02" in line for line in lines) == 3
    assert f"as {hardware.address}" in ran.stderr
    assert "openledger-node wallet submit FILE" in ran.stderr


@pytest.mark.parametrize(
    "shape",
    [
        lambda raw: raw,
        lambda raw: json.dumps(raw),
        lambda raw: json.dumps([raw]),
        lambda raw: json.dumps({"raw": raw, "tx": {"nonce": "0x0"}}),
        lambda raw: json.dumps([{"rawTransaction": raw, "messageHash": "0x00"}]),
        lambda raw: json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"raw": raw, "tx": {}}}),
        lambda raw: raw.removeprefix("0x"),
    ],
)
def test_the_answers_of_other_programs_are_read(
    run: Run, hardware: Hardware, monkeypatch: pytest.MonkeyPatch, shape: Any
) -> None:
    (raw,) = hardware.sign(printed(run, hardware, "stake", "payout", STRANGER))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(shape(raw).encode())))
    sent = run("wallet", "submit", "-", "--json")
    assert sent.status == 0, sent.stderr
    assert [each["summary"] for each in sent.json["transactions"]] == [f"credit earnings to {STRANGER}"]


def test_an_unknown_target_needs_yes(run: Run, network: Network, hardware: Hardware) -> None:
    raw = hardware.send_coins(network, STRANGER, nonce=0)
    refused = run("wallet", "submit", raw)
    assert refused.status == 1
    assert "this is not one of the network's calls" in refused.stderr
    sent = run("wallet", "submit", raw, "--yes", "--json")
    assert [each["state"] for each in sent.json["transactions"]] == ["mined"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no signed transaction"),
        ("[]", "has no signed transaction"),
        ('{"hash": "0x00"}', "has no signed transaction"),
        ("{", "is neither hex nor JSON"),
        ("[" * 100_000, "is neither hex nor JSON"),
        ("stake", "transaction 1 is not hex"),
        ("0x02", "these bytes are not a whole transaction"),
        ("0x02" + "f8" * 20_000, "these bytes are not a whole transaction"),
        ("0x02" + "c0", "has 12 fields, and this has others"),
        ("0x02" + "cc" + "c0" * 12, "has 12 fields, and this has others"),
        ("0x02" + "cc" + "80" * 12, "its target is no address"),
    ],
)
@pytest.mark.usefixtures("network")
def test_what_is_no_signed_transaction_is_refused(run: Run, tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "signed.txt"
    file.write_text(content)
    refused = run("wallet", "submit", str(file))
    assert refused.status == 1
    assert says in refused.stderr


def test_what_is_printed_is_not_taken_for_signed(run: Run, hardware: Hardware, tmp_path: Path) -> None:
    file = tmp_path / "unsigned.json"
    file.write_text(json.dumps(printed(run, hardware, "stake", "add", "100")))
    refused = run("wallet", "submit", str(file))
    assert (refused.status, "this transaction is not signed" in refused.stderr) == (1, True)


def test_a_missing_file_and_a_bare_address_are_refused(run: Run, hardware: Hardware) -> None:
    assert run("wallet", "submit", "nowhere.txt").status == 1
    refused = run("stake", "add", "1", "--wallet", hardware.address)
    assert (refused.status, "add --unsigned" in refused.stderr) == (4, True)
    wrong = run("stake", "add", "1", "--unsigned", "--wallet", hardware.address[:-1] + "0")
    assert (wrong.status, "checksum" in wrong.stderr) == (1, True)
