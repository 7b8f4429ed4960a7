"""A node says what it offers, in time and on change, on the topic of its base, and newcomers are told of all."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from node.market.advertising import Node, ask, open_node, open_nodes
from support.market_world.liars import messages_of
from support.market_world.seller import ad_of, signed_ad
from support.market_world.terms import ADS, BASE, NETWORK, TERMS, now_s, peer_id_of, priced, word
from support.peers import say_nothing

from openledger_node.market.ads_server import may_know_more
from openledger_node.market.board import Held
from openledger_node.market.greeting import ASK_EVERY_S
from openledger_node.market.worth import Worth
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryTransport
from openledger_protocol.advertisement import OfferedAdapter, open_advertisement
from openledger_protocol.primitives import AdapterId, Digest, Wei
from openledger_protocol.wire import ads
from openledger_protocol.wire.ads import DIGEST_BYTES, Ads, Bases, GetAds, GetBases, ads_topic, digest_of, encode
from openledger_protocol.wire.inference import ErrorMessage

pytestmark = pytest.mark.usefixtures("autojump_clock")

HARBOUR = AdapterId(word("harbour"))
Pair = tuple[Node, Node]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with open_nodes(tmp_path, "a") as nodes:
        yield nodes["a"]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two nodes that are connected."""
    async with open_nodes(tmp_path, "a", "b") as nodes:
        yield nodes["a"], nodes["b"]


async def test_nodes_in_a_row_hear_of_each_other_within_seconds(tmp_path: Path) -> None:
    async with open_nodes(tmp_path, "a", "b", "c") as nodes:
        await trio.sleep(11)
        ids = {node.transport.peer_id for node in nodes.values()}
        assert [node.heard_of() | {node.transport.peer_id} for node in nodes.values()] == [ids] * 3
        kept = nodes["c"].ledger.peers.seqs()
    assert set(kept) == ids


async def test_a_node_advertises_each_ten_minutes_or_so_and_its_offer_never_runs_out(pair: Pair) -> None:
    _, b = pair
    await trio.sleep(3)
    seqs = set()
    for _ in range(120):
        await trio.sleep(10)
        (ad,) = b.board.live()
        seqs.add(ad.seq)
    assert 2 <= len(seqs) <= 3  # one in 600 s


async def test_a_change_is_said_at_once_and_many_changes_a_little_later(pair: Pair) -> None:
    a, b = pair
    await trio.sleep(25)
    a.offer = replace(a.offer, warm=(OfferedAdapter(id=HARBOUR, name="harbour"),))
    await trio.sleep(2)
    assert b.board.resolve("harbour").adapter == HARBOUR
    for number in range(2, 7):
        a.offer = replace(a.offer, terms=priced(TERMS, number))
        await trio.sleep(1)
    a.offer = replace(a.offer, serves=False)
    await trio.sleep(25)
    (ad,) = b.board.live()
    assert (ad.serves, ad.terms) == (False, priced(TERMS, 6))
    assert "more often" not in (b.board.why_refused or "")


async def test_a_node_that_stops_says_so_before_its_next_look_and_only_once(pair: Pair) -> None:
    a, b = pair
    await trio.sleep(25)
    (before,) = b.board.live()
    a.offer = replace(a.offer, serves=False)
    await a.advertiser.say_goodbye()
    (goodbye,) = b.board.live()
    assert (before.serves, goodbye.serves) == (True, False)
    await a.advertiser.say_goodbye()
    await trio.sleep(5)
    assert b.board.live() == [goodbye]


async def test_a_sequence_grows_though_the_clock_was_set_back(tmp_path: Path) -> None:
    async with open_nodes(tmp_path, "a", clock_s=20) as nodes:
        await trio.sleep(2)
        first = _own(nodes["a"])
    async with open_nodes(tmp_path, "a", clock_s=-3_600) as nodes:
        await trio.sleep(2)
        second = _own(nodes["a"], at_s=int(now_s()) - 3_600)
    assert second.seq == first.seq + 1


def _own(node: Node, at_s: int | None = None):  # type: ignore[no-untyped-def]
    assert node.advertiser.own is not None
    return open_advertisement(node.advertiser.own.content, network=NETWORK, now_s=at_s or int(now_s()), seq_last=None)


async def test_a_warm_list_that_is_too_long_is_cut_and_the_filter_still_tells(pair: Pair) -> None:
    a, b = pair
    many = tuple(OfferedAdapter(id=AdapterId(word(f"{n}")), name=f"adapter-{n}-{'x' * 40}") for n in range(40))
    a.offer = replace(a.offer, warm=many, cold=tuple(one.id for one in many))
    await trio.sleep(30)
    (ad,) = b.board.live()
    assert 1 < len(ad.warm) < 16
    assert len(b.board.offers(BASE, many[-1].id)) == 1


async def test_a_peer_that_asks_may_tell_its_own_after_the_answer(node: Node) -> None:
    stream = await MemoryTransport(node.transport._network, peer_id_of("x")).open_stream(node.transport.peer_id, ADS)
    async with stream:
        messages = messages_of(stream)
        await messages.send(encode(GetAds(base=BASE)))
        await messages.receive()
        await messages.send(encode(Ads(ads=(signed_ad("x", at_s=now_s()), signed_ad("y", at_s=now_s())))))
        await trio.sleep(1)
    assert node.heard_of() == {peer_id_of("x")}, "one, its own"


async def test_a_peer_that_asks_again_and_again_is_refused(node: Node) -> None:
    told = [each for _ in range(4) for each in await ask(node, GetAds(base=BASE))]
    assert [isinstance(one, Ads) for one in told] == [True, True, True, False]
    assert told[3].message == "you have asked more often than once in 10 s: come back later"


async def test_a_peer_that_tells_lies_and_one_that_says_nothing_do_no_harm(node: Node) -> None:
    async def lie(_: object, stream: trio.abc.Stream) -> None:
        messages = messages_of(stream)
        assert isinstance(ads.decode(await messages.receive()), GetBases)
        await messages.send(encode(Bases(bases=())))
        await messages.receive()
        good = signed_ad("honest", at_s=now_s())
        late = signed_ad("after a forged one", at_s=now_s())
        await messages.send(encode(Ads(ads=(signed_ad("x", at_s=now_s() - 300), good, b"garbage", late))))

    network = node.transport._network
    async with trio.open_nursery() as nursery:
        for name, answer in (("liar", lie), ("mute", say_nothing)):
            peer = MemoryTransport(network, peer_id_of(name))
            peer.handle(ADS, answer)
            await nursery.start(peer.run)
            await peer.connect(node.transport.addresses[0])
        await trio.sleep(30)
        assert node.heard_of() == {ad_of("honest").peer_id}
        nursery.cancel_scope.cancel()


OTHER = Digest(word("another base"))
BONDED = Worth(bonded_wei=Wei(1))


async def test_a_node_that_changes_its_base_sells_and_listens_there_alone(tmp_path: Path) -> None:
    async with open_nodes(tmp_path, "a", "me", "x", bases={"x": OTHER}) as nodes:
        await trio.sleep(30)
        a, me, x = nodes.values()
        assert sellers(a, BASE) == {me.transport.peer_id}
        me.base, me.offer = OTHER, replace(me.offer, base=OTHER)
        await trio.sleep(30)
        assert sellers(a, BASE) == set()
        assert sellers(x, OTHER) == {me.transport.peer_id}
        assert sellers(me, OTHER) == {x.transport.peer_id}
        assert x.transport.topics_of_peers()[me.transport.peer_id] == {ads_topic(NETWORK, OTHER)}


async def test_a_seller_of_another_base_is_not_taken_from_a_topic(node: Node) -> None:
    board, stranger = node.board, MemoryTransport(node.transport._network, peer_id_of("x"))
    async with trio.open_nursery() as nursery:
        await nursery.start(stranger.run)
        await stranger.connect(node.transport.addresses[0])
        await stranger.publish(ads_topic(NETWORK, BASE), signed_ad("x", base=OTHER, at_s=now_s()))
        await trio.lowlevel.checkpoint()
        assert "where another one is sold" in (board.why_refused or "")
        nursery.cancel_scope.cancel()


async def test_a_large_base_splits_and_its_sellers_still_hear_each_other(pair: Pair) -> None:
    a, b = pair
    await trio.sleep(30)
    a.board.worth_of = b.board.worth_of = lambda _: BONDED
    a.advertiser.offered.num_in_shard = lambda base: 310 >> a.advertiser.followed.bits(base)  # type: ignore[method-assign]
    b.advertiser.offered.num_in_shard = lambda base: 290 >> b.advertiser.followed.bits(base)  # type: ignore[method-assign]
    await trio.sleep(30)
    assert [node.advertiser.followed.bits(BASE) for node in (a, b)] == [1, 0]
    for node, other in ((a, b), (b, a)):
        before: Any = other.board.find(node.transport.peer_id)
        node.offer = replace(node.offer, chunk_tokens=4)
        await trio.sleep(5)
        after: Any = other.board.find(node.transport.peer_id)
        assert (before.chunk_tokens, after.chunk_tokens) == (8, 4)


async def test_a_search_finds_adapters_of_other_bases_and_follows_them_for_an_hour(tmp_path: Path) -> None:
    harbour = OfferedAdapter(id=AdapterId(word("harbour")), name="harbour")
    async with open_nodes(tmp_path, "a", "x", "y", bases=dict.fromkeys("xy", OTHER)) as nodes:
        a, x, y = nodes.values()
        await y.transport.connect(a.transport.addresses[0])
        y.offer = replace(y.offer, warm=(harbour,))
        await trio.sleep(60)
        assert a.advertiser.followed.bases == (BASE,)
        await a.advertiser.greeter.look_around()
        assert a.board.resolve("harbour").base == OTHER
        assert sellers(a, OTHER) == {x.transport.peer_id, y.transport.peer_id}
        assert a.advertiser.followed.bases == (BASE, OTHER)


async def test_a_base_that_only_liars_count_is_not_listed(node: Node) -> None:
    offered = node.advertiser.offered
    made_up = ads.OfferedBase(base=OTHER, num_sellers=10**6, ad=signed_ad("x", at_s=now_s()))
    offered.tell(PeerId("liar"), [made_up])
    assert offered.list_bases(8) == []
    assert node.board.learn(signed_ad("y", base=OTHER, at_s=now_s()))
    for teller, count in (("liar", 10**6), ("one", 3), ("two", 4)):
        offered.tell(PeerId(teller), [replace(made_up, num_sellers=count)])
    assert offered.num_sellers(OTHER) == 4, "half of the peers agree on so many"


async def test_a_newcomer_asks_two_peers_and_then_one_now_and_then(tmp_path: Path) -> None:
    names, asked = [f"peer {number}" for number in range(4)], list[PeerId]()
    async with open_nodes(tmp_path, *names) as nodes, trio.open_nursery() as nursery:
        await trio.sleep(60)
        a = await open_node(tmp_path, "a", nodes[names[0]].transport._network, nursery, 0.0)
        greet = a.advertiser.greeter._greet

        async def note(peer_id: PeerId, *more: Any) -> None:
            asked.append(peer_id)
            await greet(peer_id, *more)

        a.advertiser.greeter._greet = note  # type: ignore[method-assign]
        for name in names:
            await a.transport.connect(nodes[name].transport.addresses[0])
        await trio.sleep(4)
        assert sellers(a, BASE) == {peer_id_of(name) for name in names}
        first = set(asked)
        assert len(asked) == len(first) == 2
        await trio.sleep(16)
        assert set(asked[:4]) == first, "once more, since they may have been newcomers themselves"
        assert len(asked) == len(set(asked)) + 2 == 6, "then the others"
        await trio.sleep(2 * ASK_EVERY_S)
        assert len(asked) in (7, 8)
        nursery.cancel_scope.cancel()
    a.ledger.close()


async def test_strangers_whose_digests_promise_news_are_asked_back_eight_times_at_most(pair: Pair) -> None:
    a, _ = pair
    await trio.sleep(60)
    greeter = a.advertiser.greeter
    for name in ["one"] * 20 + [f"peer {number}" for number in range(20)]:
        greeter.ask_back(PeerId(name), BASE)
    asked_back = list(greeter._asked[BASE].again_s)
    assert asked_back == ["one", *(f"peer {number}" for number in range(7))]


async def test_a_peer_that_says_nothing_delays_a_newcomer_by_two_seconds(tmp_path: Path) -> None:
    async with open_nodes(tmp_path, "b") as nodes, trio.open_nursery() as nursery:
        network = nodes["b"].transport._network
        mute = MemoryTransport(network, peer_id_of("mute"))
        mute.handle(ADS, say_nothing)
        mute.subscribe(ads_topic(NETWORK, BASE), lambda *_: True)
        await nursery.start(mute.run)
        a = await open_node(tmp_path, "a", network, nursery, 0.0)
        await a.transport.connect(mute.addresses[0])
        await a.transport.connect(nodes["b"].transport.addresses[0])
        await trio.sleep(6)
        assert sellers(a, BASE) == {peer_id_of("b")}
        nursery.cancel_scope.cancel()
    a.ledger.close()


@pytest.mark.parametrize(
    ("digest", "is_asked_back"),
    [
        (b"", False),
        (digest_of([("x", 1)]), False),
        (digest_of([("x", 2)]), True),
        (digest_of([("x", 1), ("y", 1)]), True),
        (digest_of([]), False),
    ],
    ids=["a newcomer's", "the same", "of a newer one", "of one more", "of none"],
)
def test_an_asker_is_asked_back_if_it_has_something_where_digests_differ(digest: bytes, is_asked_back: bool) -> None:
    held = [Held(base=BASE, peer_id="x", seq=1, content=b"")]
    assert may_know_more(held, GetAds(base=BASE, digest=digest)) is is_asked_back


@pytest.mark.parametrize("digest", [b"\xff" * DIGEST_BYTES, b"", digest_of([("nobody", 1)])])
async def test_any_digest_is_answered_with_what_differs(node: Node, digest: bytes) -> None:
    assert node.board.learn(signed_ad("x", at_s=now_s()))
    await trio.sleep(2)
    assert node.advertiser.own
    (told,) = await ask(node, GetAds(base=BASE, digest=digest))
    assert set(told.ads) == {node.advertiser.own.content, signed_ad("x", at_s=now_s() - 2)}
    (one,) = await ask(node, GetAds(base=BASE, digest=digest, count_max=1))
    assert one.ads == told.ads[:1]
    (last,) = await ask(node, GetAds(base=BASE, digest=digest, bucket_min=255))
    assert len(last.ads) <= 1


@pytest.mark.parametrize(
    "wrong", [encode(Ads(ads=())), {**encode(GetAds(base=BASE)), "digest": bytes(DIGEST_BYTES + 1)}]
)
async def test_a_stream_that_begins_wrongly_ends_with_an_error(node: Node, wrong: dict[str, object]) -> None:
    told, *more = await ask(node, wrong, GetBases())
    assert (told.code, more) == ("malformed", [])


async def test_a_stream_lists_the_bases_once(node: Node) -> None:
    """The list is thousands of times larger than the request."""
    told = await ask(node, GetBases(), GetAds(base=BASE), GetBases(), GetBases())
    assert [type(each) for each in told] == [Bases, Ads, ErrorMessage]


async def test_a_stream_gets_two_full_answers_at_most(node: Node) -> None:
    server = node.advertiser.server
    assert node.board.learn(signed_ad("x", at_s=now_s()))
    held = node.board.held(BASE)
    many = [replace(held[0], peer_id=peer_id_of(f"{number}")) for number in range(400)]
    server.held = lambda _: many  # type: ignore[method-assign]
    told = await ask(node, *[GetAds(base=BASE)] * 4)
    assert [len(each.ads) for each in told if isinstance(each, Ads)] == [ads.ADS_MAX, ads.ADS_MAX, 0, 0]


def sellers(node: Node, base: Digest) -> set[str]:
    """The peers that serve a base, by a node's board."""
    return {ad.peer_id for ad in node.board.live() if ad.base == base and ad.serves}
