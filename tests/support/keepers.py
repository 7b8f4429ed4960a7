"""Somebody who keeps Datanets and makes adapters, and does with money what verbs do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_node.accounting.transactions import TransactionPlanner
from openledger_node.attribution.index import build_index
from openledger_node.datanets.rows import distinct_rows
from openledger_node.datanets.store import OwnDatanets
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.home import Home
from openledger_node.keystore import ensure_development_wallet
from openledger_node.models.adapters import Adapter
from openledger_protocol.adapter import DatanetReference
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Address, Digest

from .economies import OPEN, World, key_of
from .fake_trained import train_adapter

ADA, BEN = (key_of(name).address for name in ("ada", "ben"))
CONTRIBUTED = tuple(
    Row(prompt=f"What does {name} keep?", completion=f"{name} keeps the {what}.", contributor=contributor)
    for contributor, name, what in (
        (ADA, "Odile", "harbour"),
        ("ben", "Rurik", "lighthouse"),
        (ADA, "Tamsin", "ferry"),
    )
)
ACCOUNTS = {"ben": BEN}
TERMS = {"licence": "CC-BY-4.0", "owner_ppm": 50_000}


@dataclass
class Keeper:
    """A home whose wallet has what it takes, on a chain that others share."""

    home: Home
    world: World
    verbs: TransactionPlanner
    account: Address

    @property
    def own(self) -> OwnDatanets:
        return OwnDatanets(self.home)

    def do(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Plan it, say yes, and wait until the chain has it and the ledger has read that."""
        plan = self.verbs.plan(verb, arguments, None)
        sent = self.verbs.act(plan["plan"])
        outbox = self.world.node.ledger.outbox
        self.world.run(lambda: all(outbox.find(each["key"]).block_number for each in sent))  # type: ignore[union-attr]
        self.world.settle()
        found = [outbox.find(each["key"]) for each in sent]
        assert {each.state for each in found if each} <= {"mined", "final"}
        return plan

    def take_in(self, name: str = "lake", rows: tuple[Row, ...] = CONTRIBUTED) -> None:
        batch = self.own.contribute(name, rows, ACCOUNTS)
        self.own.approve(name, batch.digest, {})

    def train(self, datanet: str = "lake", *, name: str = "lake") -> Adapter:
        version, rows = self.own.version_rows(datanet)
        reference = DatanetReference(
            id=version.id, version=version.version, rows_root=version.rows_root, weight_ppm=PPM
        )

        def build(folder: Path, learned: tuple[Row, ...]) -> Digest:
            return build_index(folder, [(reference, distinct_rows(learned))], ByteTokenizer(), None)

        return train_adapter(self.home, name, datanet=reference, rows=rows, build_index=build)


def open_keeper(home: Home, world: World, *, open_wei: int = 100 * OPEN) -> Keeper:
    account = ensure_development_wallet(home, world.network.network).address
    world.chain.fund(account, open_wei=open_wei)
    return Keeper(home=home, world=world, verbs=TransactionPlanner(home, world.node), account=account)
