"""What waits to be read on a topic, and how much of each peer is let through."""

import pytest
import trio

from openledger_node.p2p import rates
from openledger_node.p2p.rates import Rates
from openledger_node.p2p.streams import Inbox
from openledger_node.p2p.transport import GOSSIP_WAITING_MAX, Gossip, PeerId

ADA, BEN = PeerId("ada"), PeerId("ben")


def test_where_there_is_no_room_the_oldest_goes() -> None:
    inbox = Inbox("news", lambda origin, content: True)
    for number in range(GOSSIP_WAITING_MAX + 10):
        inbox.put(Gossip(ADA, b"%d" % number))
    received = [inbox.receive.receive_nowait().content for _ in range(GOSSIP_WAITING_MAX)]
    assert received == [b"%d" % number for number in range(10, GOSSIP_WAITING_MAX + 10)]
    with pytest.raises(trio.WouldBlock):
        inbox.receive.receive_nowait()
    inbox.receive.close()
    inbox.put(Gossip(ADA, b"bread"))  # nobody reads any more, and the topic goes on


def test_a_peer_has_a_burst_and_then_its_rate() -> None:
    now = [0.0]
    buckets: Rates[PeerId] = Rates(per_s=2.0, burst=3.0, clock=lambda: now[0])
    assert [buckets.take(ADA) for _ in range(4)] == [True, True, True, False]
    assert buckets.take(BEN)
    now[0] = 0.5
    assert [buckets.take(ADA) for _ in range(2)] == [True, False]
    now[0] = 1000.0
    assert [buckets.take(ADA) for _ in range(4)] == [True, True, True, False]


def test_of_too_many_peers_the_one_heard_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "KEYS_MAX", 1)
    buckets: Rates[PeerId] = Rates(per_s=1.0, burst=1.0, clock=lambda: 0.0)
    assert [buckets.take(ADA), buckets.take(ADA), buckets.take(BEN), buckets.take(ADA)] == [True, False, True, True]
