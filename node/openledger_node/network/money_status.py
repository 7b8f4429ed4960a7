"""The state of a node's money, for `status`, the page and the metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from openledger_protocol.chain import Block
from openledger_protocol.primitives import Address

from ..chain.client import Health
from ..p2p.transport import PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyStatus:
    """The state of this node's money, known without a question to the chain."""

    chain: Health | None  # None: the node is on no network
    why: str | None
    address: Address | None
    why_not_claimed: str | None = None
    alerts: tuple[str, ...] = ()  # what may cost money until the operator acts
    alert_counts: Mapping[str, int] = field(default_factory=dict)  # the same by kind: gas, claims, sellers
    peer_id: PeerId | None = None
    num_peers: int = 0
    num_waiting: int = 0  # things that wait for the operator
    num_votes_waiting: int = 0  # proposals on which the operator has votes and has not voted
    head: Block | None = None  # as last seen
