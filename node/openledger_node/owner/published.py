"""Which adapters are published, and under what bond, as far as the ledger has read the chain."""

from collections.abc import Mapping, Sequence
from typing import Any

from openledger_protocol.primitives import AdapterId, Wei

from ..home import Home
from ..inference.adapters import Adapter
from ..ledger.events import EventRows
from ..ledger.ledger import open_ledger


def published_bonds(events: EventRows, adapters: Sequence[Adapter]) -> dict[AdapterId, Wei]:
    """The bond of each of these adapters that is published; 0 where its owner has taken it back."""
    found = {adapter.id: _bond_wei(events, adapter.id) for adapter in adapters}
    return {adapter_id: bond_wei for adapter_id, bond_wei in found.items() if bond_wei is not None}


def read_bonds(home: Home, network: str, adapters: Sequence[Adapter]) -> Mapping[AdapterId, Wei]:
    """The same from the ledger's file, whoever writes it."""
    file = home.ledger(network)
    if not file.exists():
        return {}
    ledger = open_ledger(file, is_writer=False)
    try:
        return published_bonds(ledger.events, adapters)
    finally:
        ledger.close()


def _bond_wei(events: EventRows, adapter_id: AdapterId) -> Wei | None:
    named = {"adapterId": adapter_id}
    registered = events.find("AdapterRegistered", named)
    if not registered:
        return None
    terms: Any = registered[-1].arguments["adapter"]
    return Wei(0 if events.find("BondReclaimed", named) else int(terms["bond"]))
