import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.market_world.terms import NOW_S, TERMS, priced, wallet_of
from support.offers import BID
from support.peft_folders import write_adapter

from openledger_node.home import Home
from openledger_node.market.calls import ReceivedBid
from openledger_node.models.adapters import Adapter, add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.p2p.transport import PeerId
from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import Address


@dataclass
class Now:
    now_s: float = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def now() -> Now:
    return Now()


def received_bid(
    name: str, *, wallet: str = "", times: float = 1, at_s: float = 0, round_trip_ms: int = 0, **changes: Any
) -> ReceivedBid:
    """A bid of a peer at so many times the usual price; its wallet is that of its name, or as given."""
    owner = Address(wallet) if wallet.startswith("0x") else wallet_of(wallet or name)
    return ReceivedBid(
        peer_id=PeerId(name),
        message=replace(BID, wallet=owner, terms=priced(TERMS, times), **changes),
        messages=None,  # type: ignore[arg-type]  # nothing is sent
        at_s=at_s,
        round_trip_ms=round_trip_ms,
    )


def share_harbour(root: Path) -> Adapter:
    """Put an adapter that has an owner into the library of the seller `with`."""
    source = write_adapter(root / "source" / "harbour")
    made = add_adapter(Home(root / "made"), source, FAKE_BASE)
    manifest = replace(made.manifest, owner=Address("0x" + "7" * 40))
    (source / "adapter.json").write_text(json.dumps(to_plain(manifest)))
    return add_adapter(Home(root / "with"), source, FAKE_BASE)
