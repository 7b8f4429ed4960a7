"""Messages that a bootstrap node passes on: advertisements on the topic of their own base and shard."""

from typing import Any

import pytest
from support.market_world.seller import signed_ad
from support.market_world.terms import BASE, NETWORK, NOW_S, peer_id_of, word

from openledger_node.p2p.bootstrap_gossip import MESSAGES_AT_ONCE, GossipJudge
from openledger_node.p2p.envelopes import GossipVerdict
from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import ads_topic, shard_of

ADA = peer_id_of("ada")
OTHER = Digest(word("another base"))
OWN_TOPIC, OTHER_TOPIC = ads_topic(NETWORK, BASE), ads_topic(NETWORK, OTHER)
PASS, IGNORE, REJECT = GossipVerdict.PASS, GossipVerdict.IGNORE, GossipVerdict.REJECT


class World:
    """A bootstrap node's judge, and a clock that a test sets."""

    def __init__(self) -> None:
        self.now_s, self.clock_s = float(NOW_S), 0.0
        self.judge = GossipJudge(NETWORK, now_s=lambda: self.now_s, clock=lambda: self.clock_s)

    def hear(self, topic: str, **changes: Any) -> GossipVerdict:
        """The verdict on an advertisement that ada publishes on a topic."""
        self.clock_s += 1.0
        return self.judge.judge(topic, ADA, signed_ad("ada", **changes))


def shard_topic(bits: int, offset: int = 0) -> str:
    return ads_topic(NETWORK, BASE, bits, (shard_of(ADA, bits) + offset) % (1 << bits))


@pytest.mark.parametrize(
    ("topic", "changes", "verdict"),
    [
        (OWN_TOPIC, {}, PASS),
        (OTHER_TOPIC, {}, IGNORE),
        (OTHER_TOPIC, {"base": OTHER}, PASS),
        (shard_topic(3), {}, PASS),
        (shard_topic(3, offset=1), {}, IGNORE),
        (OWN_TOPIC, {"network": "other-net"}, IGNORE),
        (OWN_TOPIC, {"at_s": NOW_S - 1_000}, IGNORE),
        ("/openledger/other-net/news/1", {}, PASS),
    ],
)
def test_an_advertisement_is_passed_on_where_its_base_and_shard_are_followed(
    topic: str, changes: dict[str, Any], verdict: GossipVerdict
) -> None:
    assert World().hear(topic, **changes) is verdict


def test_a_seller_that_has_changed_its_base_is_passed_on_once_where_it_has_sold() -> None:
    world = World()
    assert world.hear(OWN_TOPIC) is PASS
    assert world.hear(OTHER_TOPIC, base=OTHER) is PASS
    assert world.hear(OWN_TOPIC, base=OTHER, seq=2) is PASS
    assert world.hear(OWN_TOPIC, base=OTHER, seq=3) is IGNORE


def test_only_a_wrong_envelope_counts_against_the_forwarder() -> None:
    world = World()
    assert world.judge.judge(OWN_TOPIC, ADA, b"junk") is REJECT
    assert world.judge.judge(OTHER_TOPIC, peer_id_of("ben"), signed_ad("ada")) is REJECT


def test_an_origin_that_sends_too_much_is_not_heard_for_a_while() -> None:
    world = World()
    verdicts = [world.judge.judge(OWN_TOPIC, ADA, signed_ad("ada", seq=seq)) for seq in range(1, 25)]
    assert verdicts.count(PASS) == int(MESSAGES_AT_ONCE)
    assert verdicts[-1] is IGNORE


def test_memory_of_sellers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openledger_node.p2p.bootstrap_gossip.SELLERS_MAX", 4)
    world = World()
    for number in range(9):
        name = f"seller {number}"
        assert world.judge.judge(OWN_TOPIC, peer_id_of(name), signed_ad(name)) is PASS
    assert len(world.judge._sold) == 4
