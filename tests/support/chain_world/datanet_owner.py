"""An owner of Datanets and adapters, who publishes them by the plans that commands make."""

import sqlite3
from dataclasses import dataclass, replace
from typing import Any

from openledger_node.accounting.transactions import TransactionPlanner
from openledger_node.datanets.signed import DatanetPlace, SignedBatch, draft_batch
from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home
from openledger_node.keystore import WALLET, Key, ensure_node_password, import_account
from openledger_node.ledger.events import EventRows
from openledger_node.models.adapters import Adapter
from openledger_protocol.datanet import Row, datanet_id
from openledger_protocol.offer import RowOffer, offer_commitment, offer_digest
from openledger_protocol.primitives import Address, DatanetId
from openledger_protocol.signatures import sign_digest

from ..contributors import ACCOUNTS, CONTRIBUTED, TERMS, key_of
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

    @property
    def lake(self) -> DatanetId:
        """The id of the owner's Datanet lake."""
        return datanet_id(self.account, "lake")

    @property
    def place(self) -> DatanetPlace:
        """Where lake is registered."""
        network = self.world.node.network
        contract = network.contracts["DatanetRegistry"]
        return DatanetPlace(chain_id=network.chain_id, contract=contract, datanet_id=self.lake)

    @property
    def events(self) -> EventRows:
        """Events of the chain as the node has read it."""
        return self.world.node.ledger.events

    def plan(self, verb: str, **arguments: Any) -> dict[str, Any]:
        return self.planner.plan(verb, arguments, None)

    def do(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Plan it, agree, and wait until the chain has it and the ledger has read that."""
        plan = self.plan(verb, **arguments)
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

    def create(self, **terms: Any) -> None:
        """Register lake."""
        self.do("datanet create", datanet="lake", **TERMS, **terms)

    def publish(self) -> None:
        """Register lake, and publish its first version."""
        self.create()
        self.approve()
        self.do("datanet publish", datanet="lake")

    def approve(self, rows: tuple[Row, ...] = CONTRIBUTED) -> None:
        """Contribute rows to the Datanet, and approve them."""
        batch = self.own.contribute("lake", rows, ACCOUNTS)
        self.own.approve("lake", batch.digest, {})

    def sign(self, key: Key, *rows: Row, **place: Any) -> SignedBatch:
        """A batch for lake that this key has signed."""
        batch = draft_batch(rows, replace(self.place, **place), key.address, TERMS["licence"])
        signature = "0x" + sign_digest(key.private_key, offer_digest(batch.offer)).hex()
        return replace(batch, offer=replace(batch.offer, signature=signature))

    def commit(self, offer: RowOffer, **changes: Any) -> dict[str, Any]:
        """Commit to a batch from an account that is not its contributor's."""
        asked = {"datanet": offer.datanet_id, "chain_id": offer.chain_id, "registry": offer.contract, **changes}
        return self.do("datanet commit", commitment=offer_commitment(offer), **asked)

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
