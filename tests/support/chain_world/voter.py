"""Voters on a world's chain, who act by the plans that commands make."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openledger_node.accounting.governing import GovernanceQueries
from openledger_node.accounting.transactions import TransactionPlanner
from openledger_node.chain.dev.constants import DEVELOPMENT_VOTING
from openledger_node.home import Home
from openledger_node.keystore import ensure_node_password, import_account, key_from_private
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of

from .world import OPEN, World

SUPPLY_WEI = 10_000 * OPEN
"""Of which 4 %, 400 OPEN, are the quorum."""

KEYS = {name: bytes([number]) * 32 for number, name in enumerate(("ada", "ben", "eve"), start=0x41)}
VOTES_WEI = {"ada": 500 * OPEN, "ben": 300 * OPEN, "eve": 200 * OPEN}


@dataclass
class Voters:
    """A data directory with some accounts, on a world's chain."""

    world: World
    home: Home
    planner: TransactionPlanner = field(init=False)
    queries: GovernanceQueries = field(init=False)

    def __post_init__(self) -> None:
        self.planner = TransactionPlanner(self.home, self.world.node)
        self.queries = GovernanceQueries(self.world.node)

    def account(self, name: str) -> Address:
        return address_of(KEYS[name])

    def plan(self, command: str, by: str = "ada", **arguments: Any) -> dict[str, Any]:
        self.world.node.step()  # as each command does
        return self.planner.plan(command, {"wallet": by, **arguments}, None)

    def send(self, command: str, by: str = "ada", **arguments: Any) -> list[dict[str, Any]]:
        """Plan and confirm; nothing is mined yet."""
        return self.planner.act(self.plan(command, by, **arguments)["plan"])

    def do(self, command: str, by: str = "ada", **arguments: Any) -> None:
        """Plan, confirm, and wait until the chain has it and the ledger has read that."""
        sent = self.send(command, by, **arguments)
        self.world.wait_until_mined(sent)
        self.world.settle()

    def ask(self, question: str, **arguments: Any) -> Any:
        self.world.node.step()
        return self.queries.answers[question](arguments)

    def show(self, proposal: int = 1, by: str = "ada") -> dict[str, Any]:
        shown: dict[str, Any] = self.ask("gov_show", proposal=str(proposal), account=self.account(by))
        return shown

    # ---- the course of a vote

    def begin(self) -> None:
        """Wait until voting on the newest proposal has begun."""
        self.world.wait(DEVELOPMENT_VOTING.delay_s + 1)

    def end(self) -> None:
        """Wait until voting has ended."""
        self.world.wait(DEVELOPMENT_VOTING.period_s + 1)

    def carry(self, proposal: int = 1) -> None:
        """Vote for a proposal, queue it, and execute it."""
        self.begin()
        self.do("gov vote", proposal=str(proposal), support="for")
        self.end()
        self.do("gov queue", proposal=str(proposal))
        self.world.wait(DEVELOPMENT_VOTING.timelock_s + 1)
        self.do("gov execute", proposal=str(proposal))


def open_voters(root: Path, world: World, *, are_delegated: bool = True) -> Voters:
    """Give each voter OPEN, and let each vote with their own."""
    home = Home(root)
    folder = home.network_keys(world.node.network.network)
    password = ensure_node_password(folder)
    voters = Voters(world, home)
    for name, key in KEYS.items():
        import_account(folder, name, key_from_private(key), password)
        world.chain.fund(address_of(key), open_wei=VOTES_WEI[name])
        if are_delegated:
            assert world.chain.send("OpenToken", "delegate", address_of(key), key=key).is_ok
    world.settle()
    return voters
