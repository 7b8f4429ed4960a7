"""A bootstrap node: topics that it follows, messages that it passes on, and peers that it has room for."""

import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from support.market_world.seller import ad_of, signed_ad
from support.market_world.terms import BASE, NETWORK, NOW_S, peer_id_of, word
from support.peers import opener, receive, seed, until

from openledger_node.p2p import bootstrap
from openledger_node.p2p.bootstrap import CONNECTIONS_MAX, TOPICS_A_PEER_MAX, TOPICS_MAX, chosen_topics, places_for
from openledger_node.p2p.envelopes import GossipVerdict
from openledger_node.p2p.transport import TOPICS_PER_PEER_MAX, PeerId, Transport
from openledger_protocol.advertisement import sign_advertisement
from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import ads_topic, parse_ads_topic, shard_of

NET = "test-net"
Peers = dict[PeerId, frozenset[str]]

UNLIMITED = resource.RLIM_INFINITY
ENOUGH = CONNECTIONS_MAX + bootstrap.FILES_FOR_OTHERS

ADA = peer_id_of("ada")
OTHER = Digest(word("another base"))
OWN_TOPIC, OTHER_TOPIC = ads_topic(NETWORK, BASE), ads_topic(NETWORK, OTHER)
PASS, IGNORE, REJECT = GossipVerdict.PASS, GossipVerdict.IGNORE, GossipVerdict.REJECT


def topic(number: int) -> str:
    return ads_topic(NET, Digest(f"0x{number:08x}" + "0" * 56))


def choose(peers: Peers, followed: frozenset[str] = frozenset()) -> frozenset[str]:
    """Choose topics where the name of a peer begins with its network of addresses."""
    return chosen_topics(
        peers,
        lambda peer_id: peer_id.split(" ")[0],
        followed=followed,
        is_ours=lambda name: parse_ads_topic(NET, name) is not None,
    )


def junk(group: str, first: int) -> Peers:
    """Peers of one network of addresses, which together have subscribed to as many topics as are followed."""
    return {
        PeerId(f"{group} {place}"): frozenset(map(topic, range(first + place, first + place + TOPICS_A_PEER_MAX)))
        for place in range(0, TOPICS_MAX, TOPICS_A_PEER_MAX)
    }


def test_topics_of_peers_are_followed_and_only_those_of_the_network() -> None:
    peers = {PeerId("home 1"): frozenset([topic(1), ads_topic("other", Digest("0x" + "0" * 64)), "/x", ""])}
    assert choose(peers) == {topic(1)}
    assert choose({}, frozenset([topic(1)])) == frozenset()
    too_many = frozenset(map(topic, range(TOPICS_A_PEER_MAX + 1)))
    assert choose({PeerId("x 1"): too_many}) == frozenset(), "no node has so many"


def test_made_up_topics_of_one_network_push_out_none_that_is_followed() -> None:
    peers = {PeerId("home 1"): frozenset([topic(0)])} | junk("stranger", 1_000)
    assert topic(0) in choose(peers, frozenset([topic(0)]))


def test_a_topic_with_subscribers_in_two_networks_comes_before_any_number_in_one() -> None:
    strangers = junk("stranger", 1_000)
    followed = choose(strangers)
    assert len(followed) == TOPICS_MAX
    peers = {PeerId("home 1"): frozenset([topic(0)]), PeerId("other 1"): frozenset([topic(0)])}
    assert topic(0) in choose(strangers | peers, followed)


def test_the_only_base_of_a_home_comes_before_made_up_topics_of_250_networks() -> None:
    home = {PeerId("home 1"): frozenset([topic(0)])}
    names = [frozenset(map(topic, range(first, first + TOPICS_A_PEER_MAX))) for first in range(1_000, 5_000, 16)]
    strangers = {PeerId(f"{number} x"): each for number, each in enumerate(names)}
    followed = choose(strangers)
    assert topic(0) in choose(home | strangers, followed)


async def test_sellers_of_two_bases_share_a_bootstrap_node(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Over real libp2p: each is connected with the bootstrap node only, and one changes its topic while it runs."""
    heard: dict[str, list[str]] = {name: [] for name in ("ada", "ben", "carl", "dora")}

    def accept(name: str, origin: PeerId, content: bytes) -> bool:
        heard[name].append(origin)
        return True

    async def publish(peer: Transport, name: str, number: int, seq: int) -> None:
        base = Digest(f"0x{number:08x}" + "0" * 56)
        ad = ad_of(name, at_s=time.time(), peer_id=peer.peer_id, seq=seq, network=NET, base=base)
        await peer.publish(topic(number), sign_advertisement(ad, seed(name)))

    peers = {name: opener("libp2p")(name) for name in heard}
    bases = {"ada": 1, "ben": 1, "carl": 2, "dora": 2}
    channels = {name: peer.subscribe(topic(bases[name]), partial(accept, name)) for name, peer in peers.items()}
    point = bootstrap.open_bootstrap(tmp_path, ("/ip4/127.0.0.1/tcp/0",))
    await nursery.start(partial(bootstrap.serve, point, network=NET, folder=tmp_path))
    for peer in peers.values():
        await nursery.start(peer.run)
        await peer.connect(point.addresses[0])
    topics = {topic(1), topic(2)}
    await until(lambda: all(topics <= peer.topics_of_peers().get(point.peer_id, set()) for peer in peers.values()))
    await until(lambda: all(_mesh(peer, topic(bases[name])) for name, peer in peers.items()))
    await publish(peers["ada"], "ada", 1, 1)
    await publish(peers["carl"], "carl", 2, 1)
    assert (await receive(channels["ben"])).origin == peers["ada"].peer_id
    assert (await receive(channels["dora"])).origin == peers["carl"].peer_id
    assert set(heard["ben"]) == {peers["ada"].peer_id}
    assert set(heard["dora"]) == {peers["carl"].peer_id}

    peers["ben"].unsubscribe(topic(1))
    now_there = peers["ben"].subscribe(topic(2), partial(accept, "ben"))
    await until(lambda: _mesh(peers["ben"], topic(2)))
    await publish(peers["ada"], "ada", 1, 2)
    await publish(peers["carl"], "carl", 2, 2)
    assert (await receive(now_there)).origin == peers["carl"].peer_id
    assert heard["ben"].count(peers["ada"].peer_id) == 1, "what it has left does not come any more"
    assert [each async for each in channels["ben"]] == [], "the old channel has ended"
    await until(lambda: topic(1) not in peers["ada"].topics_of_peers().get(peers["ben"].peer_id, set()))


async def test_subscriptions_of_a_stranger_are_remembered_to_a_limit(nursery: trio.Nursery) -> None:
    ada, stranger = opener("libp2p")("ada"), opener("libp2p")("stranger")
    for number in range(TOPICS_PER_PEER_MAX - 10):
        stranger.subscribe(topic(number), lambda *_: True)
    stranger.subscribe("/" + "x" * 200, lambda *_: True)
    for peer in (ada, stranger):
        await nursery.start(peer.run)
    await ada.connect(stranger.addresses[0])
    await until(lambda: stranger.peer_id in ada.topics_of_peers())
    for number in range(20):
        stranger.subscribe(topic(1_000 + number), lambda *_: True)
    await until(lambda: len(ada.topics_of_peers()[stranger.peer_id]) == TOPICS_PER_PEER_MAX)
    assert all(len(each) < 200 for each in ada.topics_of_peers()[stranger.peer_id])
    await until(lambda: ada.peer_id in stranger.connected())


async def test_a_neighbour_learns_all_topics_that_are_followed_at_once(nursery: trio.Nursery) -> None:
    """Announcements wait in a queue of its own size, and the library's is too short."""
    ada, ben = opener("libp2p")("ada"), opener("libp2p")("ben")
    for peer in (ada, ben):
        await nursery.start(peer.run)
    await ben.connect(ada.addresses[0])
    await until(lambda: ada._gossip.peer_queues)  # type: ignore[attr-defined]
    for number in range(200):
        ada.subscribe(topic(number), lambda *_: True)
    await until(lambda: len(ben.topics_of_peers().get(ada.peer_id, ())) == 200)


def _mesh(peer: Transport, name: str) -> set[object]:
    """The neighbours to which a peer sends a topic's messages."""
    return peer._gossip.router.mesh.get(name, set())  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("soft", "hard", "places", "soft_after"),
    [(1_024, UNLIMITED, CONNECTIONS_MAX, ENOUGH), (20_000, 20_000, CONNECTIONS_MAX, None), (256, 512, 1, 512)],
    ids=["enough", "more than enough", "too few"],
)
def test_the_soft_limit_of_open_files_is_raised_as_far_as_it_may_be(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    soft: int,
    hard: int,
    places: int,
    soft_after: int | None,
) -> None:
    raised: list[object] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert places_for(CONNECTIONS_MAX) == places
    assert raised == ([(soft_after, hard)] if soft_after else []), "the hard limit stays, as it can't be raised again"
    assert ("LimitNOFILE" in caplog.text) == (places < CONNECTIONS_MAX)


class World:
    """A bootstrap node's judge, and a clock that a test sets."""

    def __init__(self) -> None:
        self.now_s, self.clock_s = float(NOW_S), 0.0
        self.judge = bootstrap.GossipJudge(NETWORK, now_s=lambda: self.now_s, clock=lambda: self.clock_s)

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
        (shard_topic(3), {}, PASS),
        (shard_topic(3, offset=1), {}, IGNORE),
        (OWN_TOPIC, {"at_s": NOW_S - 1_000}, IGNORE),
        ("/openledger/other-net/news/1", {}, PASS),
    ],
)
def test_an_ad_is_passed_on_in_its_own_shard(topic: str, changes: dict[str, Any], verdict: GossipVerdict) -> None:
    assert World().hear(topic, **changes) is verdict


def test_a_seller_that_has_changed_its_base_is_passed_on_once_where_it_has_sold() -> None:
    world = World()
    assert world.hear(OWN_TOPIC) is PASS
    assert world.hear(OTHER_TOPIC, base=OTHER) is PASS
    assert world.hear(OWN_TOPIC, base=OTHER, seq=2) is PASS
    assert world.hear(OWN_TOPIC, base=OTHER, seq=3) is IGNORE


def test_an_origin_that_sends_too_much_is_not_heard_for_a_while() -> None:
    world = World()
    verdicts = [world.judge.judge(OWN_TOPIC, ADA, signed_ad("ada", seq=seq)) for seq in range(1, 25)]
    assert verdicts.count(PASS) == int(bootstrap.MESSAGES_AT_ONCE)
    assert verdicts[-1] is IGNORE


def test_memory_of_sellers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openledger_node.p2p.bootstrap.SELLERS_MAX", 4)
    world = World()
    for number in range(9):
        name = f"seller {number}"
        assert world.judge.judge(OWN_TOPIC, peer_id_of(name), signed_ad(name)) is PASS
    assert len(world.judge._sold) == 4
