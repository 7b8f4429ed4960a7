"""Scenario of a simulation, and its result."""

from dataclasses import dataclass, field
from math import ceil

KINDS = ("flooder", "stale", "liar", "cheater", "sybil", "squatter")
"""Kinds of hostile nodes; see `hostile`."""

NODES_PER_POINT, POINTS_MIN = 100, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A network, and what happens to it. All times are simulated seconds."""

    seed: int
    num_nodes: int = 60  # honest and hostile, without bootstrap nodes
    share_hostile: float = 0.2  # the kinds in turn
    kinds: tuple[str, ...] = KINDS
    share_homes: float = 0.5  # honest nodes behind a router that nobody can dial; four of five can be punched
    share_churn: float = 0.1  # honest nodes that crash during the calls, and are back after `CHURN_S`
    loss: float = 0.01  # of gossip messages
    start_s: float = 15.0  # nodes start within this time
    settle_s: float = 30.0  # until the calls begin
    calls_s: float = 30.0
    part_s: float = 0.0  # a third of the network is cut off for so long; 0: never

    @property
    def num_hostile(self) -> int:
        """Hostile nodes."""
        return round(self.num_nodes * self.share_hostile)

    @property
    def num_points(self) -> int:
        """Bootstrap nodes."""
        return max(POINTS_MIN, ceil(self.num_nodes / NODES_PER_POINT))


@dataclass(slots=True, kw_only=True)
class Result:
    """What a simulation measured. Shares are 0 to 1; a time of None was not reached."""

    share_known: float = 0.0  # of the honest advertisements that honest nodes should know
    share_known_after_churn: float = 0.0
    share_served: float = 0.0  # of the honest nodes' requests
    num_calls: int = 0
    why_not_served: list[str] = field(default_factory=list)
    share_paid_hostile: float = 0.0  # of the answers, those that a liar or cheater gave
    sent_bytes_per_s: float = 0.0  # of an honest node, mean over the steady time
    received_bytes_per_s: float = 0.0
    newcomer_s: float | None = None  # from its start until it knows all that it should
    point_lost_s: float | None = None  # from the loss until all nodes have two bootstrap nodes and hear a new offer
    healed_s: float | None = None  # from the end of a partition until all know of all again
