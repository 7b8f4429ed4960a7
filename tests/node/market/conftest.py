from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.market_world.terms import NOW_S, TERMS, priced, wallet_of
from support.offers import BID

from openledger_node.market.calls import ReceivedBid
from openledger_node.p2p.transport import PeerId
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
