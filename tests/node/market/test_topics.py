"""The bases that a node follows, and how deep it splits them into shards."""

from dataclasses import replace

import pytest
from support.market_world.seller import ad_of
from support.market_world.terms import BASE, NETWORK, peer_id_of, word

from openledger_node.market import topics
from openledger_node.market.topics import FollowedBases, bits_after, depths_of_peers, published_bits
from openledger_node.market.worth import Coverage
from openledger_node.p2p.transport import PeerId
from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import SHARD_BITS_MAX, ads_topic, shard_of

OTHER = Digest(word("another base"))
ME = PeerId(peer_id_of("me"))


class Node:
    """The followed bases of `me`, whose base and clock a test sets."""

    def __init__(self) -> None:
        self.base, self.now_s = BASE, 0.0
        self.followed = FollowedBases(NETWORK, ME, lambda: self.base, lambda: self.now_s)

    def expect(self, depths: list[int], *, num_heard: int = 10 * topics.SHARD_MAX, num_in_shard: int = 0) -> int:
        """The depth of BASE after a look at connected peers."""
        self.followed.expect(BASE, depths, num_heard=num_heard, num_in_shard=num_in_shard)
        return self.followed.bits(BASE)


def test_a_node_follows_its_own_base_and_for_an_hour_what_its_owner_asks_for() -> None:
    node = Node()
    node.followed.ask(OTHER)
    assert node.followed.bases == (BASE, OTHER)
    assert set(node.followed.topics()) == {ads_topic(NETWORK, BASE), ads_topic(NETWORK, OTHER)}
    node.now_s = topics.ASKED_S - 1
    node.followed.ask(OTHER)
    node.now_s = 2 * topics.ASKED_S - 2
    assert node.followed.bases == (BASE, OTHER)
    node.now_s = 2 * topics.ASKED_S - 1
    assert node.followed.bases == (BASE,)
    node.base = OTHER
    assert set(node.followed.topics()) == {ads_topic(NETWORK, OTHER)}
    assert node.followed.coverage(ad_of("seller")) is Coverage.OTHER_BASE


def test_the_base_that_was_asked_for_longest_ago_makes_room() -> None:
    node, asked = Node(), [Digest(word(f"base {number}")) for number in range(20)]
    for number, base in enumerate(asked):
        node.now_s = number
        node.followed.ask(base)
    assert set(node.followed.bases) == {BASE, *asked[-(topics.BASES_MAX - 1) :]}


def test_a_base_with_many_sellers_is_followed_in_one_shard() -> None:
    node = Node()
    node.expect([2, 2, 2])
    index = shard_of(ME, 2)
    assert list(node.followed.topics()) == [ads_topic(NETWORK, BASE, 2, index)]
    ads = [ad_of(f"seller {number}") for number in range(40)]
    covered = {node.followed.coverage(ad) for ad in ads if shard_of(ad.peer_id, 2) == index}
    assert covered == {Coverage.OWN_BASE}
    assert {node.followed.coverage(ad) for ad in ads} == {Coverage.OWN_BASE, Coverage.OTHER_SHARD}
    assert node.followed.coverage(replace(ads[0], base=OTHER)) is Coverage.OTHER_BASE


def test_shards_split_at_once_and_join_only_after_all_sellers_could_be_heard() -> None:
    node = Node()
    node.followed.step(lambda _: topics.SHARD_MAX + 1)
    assert node.followed.bits(BASE) == 1
    node.now_s = topics.SETTLE_S - 1
    node.followed.step(lambda _: 10)
    assert node.followed.bits(BASE) == 1
    node.now_s = topics.SETTLE_S
    node.followed.step(lambda _: 10)
    assert node.followed.bits(BASE) == 0


def test_a_node_that_liars_have_led_too_deep_is_back_after_one_wait() -> None:
    node = Node()
    assert node.expect([SHARD_BITS_MAX] * topics.PEERS_MIN) == SHARD_BITS_MAX
    node.now_s = topics.SETTLE_S
    assert node.expect([SHARD_BITS_MAX] * topics.PEERS_MIN) == SHARD_BITS_MAX, "and their word counts no more"
    node.followed.step(lambda base: 200 >> node.followed.bits(base))
    assert node.expect([SHARD_BITS_MAX] * topics.PEERS_MIN) == 0


@pytest.mark.parametrize(
    ("depths", "num_heard", "depth"),
    [
        ([], 1_000, 0),
        ([8, 8], 1_000, 0),
        ([8, 8, 8], 1_000, 8),
        ([8, 8, 8], topics.SHARD_MIN - 1, 0),
        ([8, 8, 0], 1_000, 8),
        ([8, 8, 0, 0], 1_000, 0),
        ([3, 2, 2, 3], topics.SHARD_MIN, 2),
    ],
)
def test_a_newcomer_goes_where_half_of_three_peers_or_more_are(depths: list[int], num_heard: int, depth: int) -> None:
    assert Node().expect(depths, num_heard=num_heard) == depth


def test_a_newcomer_that_hears_a_full_shard_by_itself_stays_there() -> None:
    node = Node()
    node.followed.step(lambda _: topics.SHARD_MAX + 1)
    assert node.expect([0, 0, 0], num_in_shard=topics.SHARD_MIN) == 1
    assert node.expect([0, 0, 0], num_in_shard=topics.SHARD_MIN - 1) == 0


def test_the_depth_of_a_peer_is_that_of_its_one_topic() -> None:
    shard = shard_of(peer_id_of("deep"), 3)
    found = {
        peer_id_of("shallow"): frozenset([ads_topic(NETWORK, BASE), ads_topic(NETWORK, OTHER, 2, 1), "/x"]),
        peer_id_of("deep"): frozenset([ads_topic(NETWORK, BASE, 3, shard)]),
        peer_id_of("elsewhere"): frozenset([ads_topic(NETWORK, BASE, 3, shard_of(peer_id_of("elsewhere"), 3) ^ 1)]),
        peer_id_of("bootstrap node"): frozenset([ads_topic(NETWORK, BASE), ads_topic(NETWORK, BASE, 1, 0)]),
        peer_id_of("stranger"): frozenset(),
    }
    assert depths_of_peers(NETWORK, BASE, found) == [0, 3]


@pytest.mark.parametrize("num_sellers", [1, 150, 300, 310, 700, 1_300, 2_800, 6_000])
def test_nodes_that_count_a_tenth_more_or_less_hear_each_other(num_sellers: int) -> None:
    """Each may have come to any depth at which its count leaves it."""
    counts = [round(num_sellers * part) for part in (0.9, 1.0, 1.1)]
    nodes = [
        (bits, count >> bits)
        for count in counts
        for bits in range(SHARD_BITS_MAX + 1)
        if bits_after(bits, count >> bits, is_settled=True) == bits
    ]
    assert nodes
    deaf = [
        (seller, listener) for seller in nodes for listener in nodes if listener[0] not in published_bits(*seller)
    ]
    assert not deaf
