"""The state of this node's reachability in words, for `status`, `doctor` and the page."""

from collections.abc import Mapping
from typing import Any, Final

from ..p2p.reachability import Reach, ReachState
from ..p2p.scopes import endpoint_of

_SAYS: Final[Mapping[ReachState, str]] = {
    ReachState.UNKNOWN: "whether other nodes can reach this one is not known yet",
    ReachState.PUBLIC: "other nodes reach this one directly{at}",
    ReachState.MAPPED: "other nodes reach this one directly{at}, a port that the router forwards",
    ReachState.PUNCHED: "other nodes meet this one over a relay and then connect directly",
    ReachState.RELAYED: "other nodes reach this one over a relay only, which is slower and carries no adapter files",
    ReachState.UNREACHABLE: "no other node can reach this one, so only peers that it has dialled itself can call it",
}

REACHED: Final = (ReachState.PUBLIC, ReachState.MAPPED, ReachState.PUNCHED, ReachState.RELAYED)
"""The states in which somebody outside can reach this node."""


def reach_says(reach: Reach) -> str:
    """The state as a clause without a full stop."""
    at = f" at {endpoint_of(reach.addresses[0])}" if reach.addresses else ""
    return _SAYS[reach.state].format(at=at)


def reach_to_plain(reach: Reach) -> dict[str, Any]:
    """The state for JSON."""
    return {
        "state": reach.state,
        "says": reach_says(reach),
        "remedy": reach.remedy or None,
        "addresses": list(reach.addresses),
        "relays": list(reach.relays),
        "seen_as": list(reach.seen_as),
        "router": reach.router or None,
    }
