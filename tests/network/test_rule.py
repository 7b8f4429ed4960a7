"""Disputes and votes by commands alone, between processes, on either engine of the development chain."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.ways import NEEDS_ANVIL
from support.commands import run_command
from support.processes.network import FAKE, RunningNetwork, status_of
from support.processes.nodes import wait_for
from support.processes.taught import NAME, account_of, teach

from openledger_node.chain.clients.evm import open_client
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.constants import BANK_KEY
from openledger_node.chain.dev.deploy import deploy_network
from openledger_node.demo.processes import DemoError, OperatorHome, closing_all
from openledger_node.home import Home
from openledger_node.keystore import ensure_development_wallet
from openledger_node.network_file import Network, Token, network_id_for_development, write_network
from openledger_node.settlement.records import integer
from openledger_protocol.epoch import Voting
from openledger_protocol.primitives import Digest, Wei

pytestmark = [
    pytest.mark.deep(
        reason="minutes of waiting; settlement/test_cases and accounting/test_governance guard each rule"
    )
]

OPEN = 10**18
NODE = {**FAKE, "OPENLEDGER_NODE_AUTO_BOND": "true", "OPENLEDGER_PAYER_KEEP_TEXTS_S": "3600"}
QUICK = Voting(delay_s=2, period_s=15, timelock_s=3, threshold_wei=Wei(100 * OPEN), quorum_floor_wei=Wei(100 * OPEN))
"""Shorter than on other development networks, so that a busy machine can vote on a case within its 60 s."""

VOTES = "50000000"
BOND_WEI = 5 * OPEN
THIEF = account_of("thief")
LIE = f"""
from dataclasses import replace
from openledger_node.attribution import recount
from openledger_node.network import selling
for module in (selling, recount):
    honest = module.registered_shares
    module.registered_shares = lambda *given, honest=honest: (
        replace(honest(*given)[0], account="{THIEF}", ppm=1_000_000),
    )
"""
"""Run by every Python process that finds it at its start: all its shares go to a thief."""


class RuledNetwork(RunningNetwork):
    """A seller A, a bystander B, and a requester R who holds most votes and is the guardian."""

    engine: str = "embedded"

    def begin_chain(self) -> None:
        """Start a chain, and deploy with quick votes."""
        self.host = self._home("host", {})
        self.chain = self._started(
            self.host.start("devnet", "start", "--port", "0", "--engine", self.engine, "--json")
        )
        chain = self.chain.read_object()
        network_id = network_id_for_development(Digest(chain["genesis_hash"]))
        point = self.start_bootstrap(network_id)
        guardian = ensure_development_wallet(Home(self.root / "r"), network_id).address
        with closing(open_client(chain["url"])) as client:
            contracts, block = deploy_network(client, BANK_KEY, voting=QUICK, guardian=guardian)
        self.network_file = self.root / "network.json"
        self.network = Network(
            network=network_id,
            chain_id=chain["chain_id"],
            rpc=(chain["url"],),
            genesis_hash=Digest(chain["genesis_hash"]),
            deploy_block=block,
            contracts=contracts,
            bootstrap=tuple(point["addresses"]),
            token=Token(symbol="OPEN", decimals=18),
        )
        write_network(self.network_file, self.network)

    def make_nodes(self, owner: Home | None = None) -> None:
        """Create the data directories; only A sells."""
        self.a = self._node("A", owner, {})
        self.b, self.r = (self._node(name, owner, {"OPENLEDGER_NODE_SERVE": "false"}) for name in ("B", "R"))


@pytest.fixture(scope="module", params=["embedded", pytest.param("anvil", marks=NEEDS_ANVIL)])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuledNetwork]:
    root = tmp_path_factory.mktemp("ruled")
    with closing_all() as opened:
        network = RuledNetwork(root=root, opened=opened, settings=NODE)
        network.engine = request.param
        network.begin_chain()
        network.make_nodes()
        for node in network.nodes:
            node.start_daemon()
            wait_for(lambda node=node: status_of(node)["chain"] == "ok")
        teach(network.a.run, root / "taught")
        for node in (network.b, network.r):
            wait_for(lambda node=node: attempt(node, "adapters", "pull", NAME))
        network.r.run("devnet", "fund", "--open", VOTES)
        network.b.run("devnet", "fund")
        network.r.run("gov", "delegate", "self")
        yield network


def decide(node: OperatorHome, *words: str) -> None:
    """Propose, vote, queue and execute, each as soon as it can be."""
    wait_for(lambda: attempt(node, "gov", "propose", *words))
    number = str(max(each["number"] for each in node.run("gov", "list")["proposals"]))
    for command in (["vote", number, "for"], ["queue", number], ["execute", number]):
        wait_for(lambda command=command: attempt(node, "gov", *command))


def attempt(node: OperatorHome, *words: str) -> bool:
    """Run a command that may come too early."""
    try:
        node.run(*words)
    except DemoError:
        return False
    return True


def values_of(node: OperatorHome) -> dict[str, Any]:
    return {each["key"]: each["now"] for each in node.run("gov", "params")["values"]}


def restart(node: OperatorHome, folder: Path | None) -> None:
    """Start a daemon again; with a folder it lies about shares, in what it sells and in what it computes."""
    node.close()
    node._environment.pop("PYTHONPATH", None)
    if folder:
        (folder / "sitecustomize.py").write_text(LIE)
        node._environment["PYTHONPATH"] = str(folder)
    node.start_daemon()
    wait_for(lambda: status_of(node)["chain"] == "ok")


def bought(running: RuledNetwork) -> dict[str, Any]:
    """The receipt of an answer that R has bought from A, as R's audit finds it."""
    words = ("attribution", "audit", "--adapter", NAME, "--requests", "1", "--yes", "--json")

    def find() -> list[dict[str, Any]]:
        ran = run_command(*words, env=running.r._environment)  # its exit status says if shares were wrong
        return json.loads(ran.stdout)["receipts"] if ran.stdout else []

    return wait_for(find)[0]


def withdrawn_wei(running: RuledNetwork, node: OperatorHome) -> int:
    """All that an account has taken out of cases."""
    disputes, account = load_contract("Disputes"), status_of(node)["address"]
    with closing(open_client(running.network.rpc[0])) as client:
        logs = client.logs(
            [running.network.contracts["Disputes"]], running.network.deploy_block, client.head().number
        )
    events = [event for log in logs if (event := disputes.decode_log(log))]
    withdrawn = [each for each in events if each.name == "Withdrawn" and each.arguments["account"] == account]
    return sum(integer(each, "amount") for each in withdrawn)


def case_of(node: OperatorHome) -> dict[str, Any]:
    """The newest case."""
    found: dict[str, Any] = node.run("attribution", "cases", "--all")["cases"][-1]
    return found


def test_votes_change_the_fees_and_admit_a_rule(running: RuledNetwork) -> None:
    decide(running.r, "protocolPpm=6%", "--reason", "the treasury pays for audits")
    decide(running.r, "algoId=7")
    wait_for(lambda: values_of(running.r)["protocolPpm"] == "60000")
    wait_for(lambda: values_of(running.r)["algoId"] == "7")


def test_a_node_with_false_shares_is_challenged_judged_and_slashed(running: RuledNetwork, tmp_path: Path) -> None:
    requester, liar = running.r, running.a
    restart(liar, tmp_path)
    found = bought(running)
    assert found["verdict"] == "wrong"
    staked = int(liar.run("stake", "show")["bonded_wei"])
    wait_for(lambda: attempt(requester, "attribution", "challenge", found["receipt"]))
    decide(requester, "--judge", f"{found['receipt']}=guilty")
    wait_for(lambda: case_of(requester)["state"] == "guilty")
    assert int(liar.run("stake", "show")["bonded_wei"]) == staked - 100 * OPEN
    wait_for(lambda: withdrawn_wei(running, requester) == 2 * BOND_WEI + 10 * OPEN)  # the liar has contested it
    requester.run("attribution", "forgive", status_of(liar)["address"], "--yes")
    restart(liar, None)
    wait_for(lambda: attempt(liar, "stake", "add", "100"))


def test_who_stands_up_for_an_honest_node_gets_the_bond(running: RuledNetwork, tmp_path: Path) -> None:
    challenger, node, friend = running.r, running.a, running.b
    found = bought(running)
    assert found["verdict"] == "right"
    restart(challenger, tmp_path)  # its own computation is wrong now
    node.close()  # so that it can't stand up for itself
    before = withdrawn_wei(running, friend)
    wait_for(lambda: attempt(challenger, "attribution", "challenge", found["receipt"]))
    friend.run("attribution", "contest", found["receipt"])
    decide(challenger, "--judge", f"{found['receipt']}=not-guilty")
    wait_for(lambda: case_of(friend)["state"] == "not guilty")
    wait_for(lambda: withdrawn_wei(running, friend) == before + 2 * BOND_WEI)
    restart(node, None)
    restart(challenger, None)
