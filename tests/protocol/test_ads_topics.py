"""Topics of advertisements by base and shard, and digests of what a node has heard."""

import pytest

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import (
    DIGEST_BYTES,
    SHARD_BITS_MAX,
    ads_topic,
    bucket_of,
    differing,
    digest_of,
    parse_ads_topic,
    shard_of,
)

NET, BASE = "home-1", Digest("0x0123abcd" + "0" * 56)
PEERS = [f"peer {number}" for number in range(400)]


@pytest.mark.parametrize(("bits", "index"), [(0, 1), (1, 2), (1, -1), (-1, 0), (SHARD_BITS_MAX + 1, 0)])
def test_a_shard_that_does_not_exist_has_no_topic(bits: int, index: int) -> None:
    with pytest.raises(MalformedError):
        ads_topic(NET, BASE, bits, index)


@pytest.mark.parametrize(
    "topic",
    [
        "/openledger/home-1/ads/2",
        "/openledger/home-1/ads/0123abc/2",
        "/openledger/home-1/ads/0123ABCD/2",
        "/openledger/home-1/ads/0123abcd.0.0/2",
        "/openledger/home-1/ads/0123abcd.9.0/2",
        "/openledger/home-1/ads/0123abcd.1.0/2/2",
        "/openledger/home-1/ads/0123abcd.1.\u0661/2",
        "/openledger/home-1/calls/1",
    ],
)
def test_other_names_are_no_topics(topic: str) -> None:
    assert parse_ads_topic(NET, topic) is None


def test_each_shard_splits_into_two_of_about_the_same_size() -> None:
    for peer in PEERS:
        assert [shard_of(peer, bits + 1) >> 1 for bits in range(8)] == [shard_of(peer, bits) for bits in range(8)]
    assert shard_of(PEERS[0], 0) == 0
    sizes = [sum(shard_of(peer, 2) == index for peer in PEERS) for index in range(4)]
    assert min(sizes) > 60


def test_a_digest_differs_only_where_advertisements_do() -> None:
    held = [(peer, 1) for peer in PEERS]
    mine, theirs = digest_of(held), digest_of([*held[:-2], (PEERS[-1], 2)])
    assert len(mine) == DIGEST_BYTES == 1_024
    assert mine == digest_of(reversed(held))
    assert differing(mine, theirs) == {bucket_of(PEERS[-1]), bucket_of(PEERS[-2])}
    assert differing(mine, mine) == frozenset()
    assert differing(b"", mine) == frozenset(map(bucket_of, PEERS)) == differing(mine, digest_of([]))
