"""Time of one core that a node's traffic takes: messages counted, times what one was measured to take."""

import copy
import time
from collections.abc import Mapping

from openledger_node.market.board import AdTable
from openledger_node.market.places import PlacedAds

from ..market_world.seller import signed_ad
from ..market_world.terms import now_s

GOSSIP_S = 0.0046
"""One new gossip message with its copies and announcements, by py-libp2p with Noise and Yamux, without the check of
the advertisement; measured with 20 processes on one machine."""

STREAM_S = 0.003
"""Opening a stream, a message each way, and closing it."""

DIAL_S = 0.010
"""A connection with its handshake."""

CHECKS = 20


def check_s(table: AdTable) -> float:
    """Measure how long a node takes to check a new advertisement, with its board as it is."""
    contents = [signed_ad(f"measured-{number}", at_s=now_s()) for number in range(CHECKS)]
    tried = copy.copy(table)
    for name, value in vars(table).items():
        if isinstance(value, PlacedAds):
            setattr(tried, name, _copied(value))
        elif isinstance(value, dict):
            setattr(tried, name, value.copy())
    began_s = time.process_time()
    for content in contents:
        tried.learn(content)
    return (time.process_time() - began_s) / CHECKS


def _copied(placed_ads: PlacedAds) -> PlacedAds:
    copied = PlacedAds()
    for placed in placed_ads.values():
        copied.put(placed)
    return copied


def core_s(per_s: Mapping[str, float], one_check_s: float) -> float:
    """The time of a core in each second, for counts per second as `Traffic` names them."""
    gossip_s = per_s["num_checked"] * (GOSSIP_S + one_check_s)
    return gossip_s + per_s["num_streams"] * 2 * STREAM_S + per_s["num_dials"] * 2 * DIAL_S
