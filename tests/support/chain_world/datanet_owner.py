"""An owner of Datanets and adapters, who publishes them by the plans that commands make."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from openledger_node.accounting.transactions import TransactionPlanner
from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home
from openledger_node.keystore import WALLET, ensure_node_password, import_account
from openledger_node.models.adapters import Adapter
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Address

from ..contributors import ACCOUNTS, CONTRIBUTED, key_of
from ..fake_trained import train_indexed_adapter
from .world import OPEN, World


@dataclass
class DatanetOwner:
    """A data directory with a funded wallet, on a world's chain."""

    home: Home
    world: World
    planner: TransactionPlanner
    account: Address

    @property
    def own(self) -> OwnDatanets:
        return OwnDatanets(self.home)

    def do(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Plan it, agree, and wait until the chain has it and the ledger has read that."""
        plan = self.planner.plan(verb, arguments, None)
        sent = self.planner.act(plan["plan"])
        self.world.wait_until_mined(sent)
        self.world.settle()
        return plan

    def finish(self) -> None:
        """Wait until everything on the chain is final, and give the data directory the chain as the node read it."""
        head = self.world.chain.client.head().number
        self.world.run(lambda: self.world.node.ledger.events.finalized_number() >= head)
        self.copy_chain()

    def copy_chain(self) -> None:
        """Give the data directory the chain as the node has read it."""
        file = self.home.ledger(self.world.node.network.network)
        file.parent.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(file) as copy:
            self.world.node.ledger._store._connection.backup(copy)
        copy.close()

    def approve(self, rows: tuple[Row, ...] = CONTRIBUTED) -> None:
        """Contribute rows to the Datanet, and approve them."""
        batch = self.own.contribute("lake", rows, ACCOUNTS)
        self.own.approve("lake", batch.digest, {})

    def train(self, *, is_owned: bool = True) -> Adapter:
        """Train an adapter on the newest version, with or without a wallet in the data directory."""
        version, rows = self.own.version_rows("lake")
        return train_indexed_adapter(self.home, version.label, rows, self.account if is_owned else None)


def open_owner(home: Home, world: World, name: str = "owner") -> DatanetOwner:
    """An owner with 100 OPEN, whose wallet depends on nothing but the name.

    An adapter's id holds its owner, and by its id the fake backend answers.
    """
    key = key_of(name)
    account = key.address
    keys = home.network_keys(world.node.network.network)
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    import_account(keys, WALLET, key, ensure_node_password(keys))
    world.chain.fund(account, open_wei=100 * OPEN)
    return DatanetOwner(home=home, world=world, planner=TransactionPlanner(home, world.node), account=account)
