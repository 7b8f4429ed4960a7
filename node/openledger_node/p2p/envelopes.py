"""Verdicts on gossip: what is passed on, what is dropped, and what counts against the peer that passed it on.

A node counts against a forwarder only what the forwarder could have seen itself: a wrong envelope, signature or size.
Whatever depends on a clock, a rate, the chain or an earlier message is dropped without a mark. Otherwise one stranger
could make honest nodes shut each other out, because they pass on what looks right to them.
"""

from enum import Enum

from openledger_protocol.advertisement import check_envelope
from openledger_protocol.errors import ProtocolError, UnknownVersionError


class GossipVerdict(Enum):
    """The result of a check of one message."""

    PASS = "pass"
    IGNORE = "ignore"
    """Neither received nor passed on; no mark."""
    REJECT = "reject"
    """Neither received nor passed on, and counted against the forwarder."""


def judge_envelope(topic: str, origin: str, content: bytes) -> GossipVerdict:
    """Judge a message by its bytes alone, as every node can, bootstrap nodes too.

    An unknown version is no fault: the forwarder may be newer than this node.
    """
    if _kind_of(topic) != "ads":
        return GossipVerdict.PASS
    try:
        signer = check_envelope(content)
    except UnknownVersionError:
        return GossipVerdict.IGNORE
    except ProtocolError:
        return GossipVerdict.REJECT
    return GossipVerdict.PASS if signer == origin else GossipVerdict.REJECT


def _kind_of(topic: str) -> str:
    """`ads` in `/openledger/<network>/ads/1`; empty for a topic that is not ours."""
    parts = topic.split("/")
    return parts[3] if len(parts) > 4 and parts[1] == "openledger" else ""
