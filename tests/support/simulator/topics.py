"""Topics of advertisements."""

from openledger_protocol.wire.frames import wire_name

from ..market_world.terms import NETWORK


def topic_of(base):
    return wire_name(NETWORK, "ads")
