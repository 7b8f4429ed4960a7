"""Reachability: how other peers reach this node, and the one thing that its operator can do about it.

Everything here is a value or a pure function. `reach_watch` collects the evidence.
"""

from dataclasses import dataclass
from enum import StrEnum


class ReachState(StrEnum):
    """How others reach this node, from best to worst; `UNKNOWN` until somebody has been asked."""

    UNKNOWN = "unknown"
    PUBLIC = "public"
    MAPPED = "mapped"
    PUNCHED = "punched"
    RELAYED = "relayed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The state of this node's reachability at one moment."""

    state: ReachState
    addresses: tuple[str, ...]  # where others reach this node directly
    relays: tuple[str, ...]  # circuit addresses
    seen_as: tuple[str, ...]  # IP addresses that other peers see this node at
    router: str  # what the router said about port mapping, in words; "" if it was not asked
    remedy: str  # the one thing that the operator can do; "" if there is nothing to do


NOT_CHECKED = Reach(state=ReachState.UNKNOWN, addresses=(), relays=(), seen_as=(), router="", remedy="")
"""Before anything is known, and on a chain of its own."""
