"""Each base has its own topic, and a newcomer is told what it lacks by two peers."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.advertising import Node, ask, open_node, open_nodes
from support.market_world.seller import signed_ad
from support.market_world.terms import ADS, BASE, NETWORK, now_s, peer_id_of, word

from openledger_node.errors import NetworkError
from openledger_node.market import ads_server
from openledger_node.market.ads_server import AdsServer, may_know_more
from openledger_node.market.board import Held
from openledger_node.market.greeting import ASK_EVERY_S, AskedPeers
from openledger_node.market.topics import BASES_MAX, SHARD_MAX
from openledger_node.market.worth import Worth
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryTransport
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.primitives import AdapterId, Digest, Wei
from openledger_protocol.wire.ads import (
    ADS_MAX,
    DIGEST_BYTES,
    Ads,
    Bases,
    GetAds,
    GetBases,
    OfferedBase,
    ads_topic,
    digest_of,
    encode,
    shard_of,
)
from openledger_protocol.wire.inference import ErrorMessage

OTHER = Digest(word("another base"))
BONDED = Worth(bonded_wei=Wei(1))


# ---- topics


async def test_nodes_of_two_bases_hear_only_those_of_their_own(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a", "x", "b", "y", bases={"x": OTHER, "y": OTHER}) as nodes:
        for one, other in (("a", "b"), ("x", "y")):
            await nodes[one].transport.connect(nodes[other].transport.addresses[0])
        await trio.sleep(60)
        assert sellers(nodes["a"], BASE) == {peer_id_of("b")}
        assert sellers(nodes["x"], OTHER) == {peer_id_of("y")}
        topics = nodes["b"].transport.topics_of_peers()
        assert topics[peer_id_of("a")] == {ads_topic(NETWORK, BASE)}
        assert topics[peer_id_of("x")] == {ads_topic(NETWORK, OTHER)}


async def test_a_node_that_changes_its_base_is_heard_and_hears_there_and_is_gone_from_the_old_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a", "me", "x", bases={"x": OTHER}) as nodes:
        await trio.sleep(30)
        a, me, x = nodes.values()
        assert sellers(a, BASE) == {me.transport.peer_id}
        assert me.offer
        me.base, me.offer = OTHER, replace(me.offer, base=OTHER)
        await trio.sleep(30)
        assert sellers(a, BASE) == set()
        assert sellers(x, OTHER) == {me.transport.peer_id}
        assert sellers(me, OTHER) == {x.transport.peer_id}
        assert ads_topic(NETWORK, BASE) not in x.transport.topics_of_peers()[me.transport.peer_id]


@pytest.mark.parametrize("num_sent", [0, 1])
async def test_a_change_of_base_that_could_not_be_published_at_first_is_told_on_the_old_topic_later(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, num_sent: int
) -> None:
    async with open_nodes(tmp_path, "a", "me", "x", bases={"x": OTHER}) as nodes:
        await trio.sleep(30)
        a, me, x = nodes.values()
        publish, num_tried = me.transport.publish, 0

        async def fail(topic: str, content: bytes) -> None:
            nonlocal num_tried
            num_tried += 1
            if num_sent < num_tried <= num_sent + 1:
                raise NetworkError("nobody listens")
            await publish(topic, content)

        me.transport.publish = fail  # type: ignore[method-assign]
        assert me.offer
        me.base, me.offer = OTHER, replace(me.offer, base=OTHER)
        await trio.sleep(60)
        assert sellers(x, OTHER) == {me.transport.peer_id}
        assert sellers(a, BASE) == set()


async def test_a_change_of_base_while_nobody_is_connected_is_told_on_the_old_topic_later(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a", "me") as nodes:
        await trio.sleep(30)
        a, me = nodes.values()
        assert sellers(a, BASE) == {me.transport.peer_id}
        me.transport.disconnect(a.transport.peer_id)
        assert me.offer
        me.base, me.offer = OTHER, replace(me.offer, base=OTHER)
        await trio.sleep(60)
        await me.transport.connect(a.transport.addresses[0])
        await trio.sleep(30)
        assert sellers(a, BASE) == set()


async def test_a_seller_of_another_base_or_shard_is_not_taken_from_a_topic(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        board, stranger = nodes["a"].board, MemoryTransport(nodes["a"].transport._network, peer_id_of("x"))
        async with trio.open_nursery() as nursery:
            await nursery.start(stranger.run)
            await stranger.connect(nodes["a"].transport.addresses[0])
            await stranger.publish(ads_topic(NETWORK, BASE), signed_ad("x", base=OTHER, at_s=now_s()))
            await trio.lowlevel.checkpoint()
            assert "where another one is sold" in (board.why_refused or "")
            nodes["a"].advertiser.offered.num_in_shard = lambda _: SHARD_MAX // 2  # type: ignore[method-assign]
            nodes["a"].advertiser.followed.step(lambda _: SHARD_MAX + 1)
            await trio.sleep(2)
            mine = shard_of(nodes["a"].transport.peer_id, 1)
            topic = ads_topic(NETWORK, BASE, 1, mine)
            far = next(name for name in map(str, range(99)) if shard_of(peer_id_of(name), 1) != mine)
            far_peer = MemoryTransport(nodes["a"].transport._network, peer_id_of(far))
            await nursery.start(far_peer.run)
            await far_peer.connect(nodes["a"].transport.addresses[0])
            await far_peer.publish(topic, signed_ad(far, at_s=now_s()))
            await trio.lowlevel.checkpoint()
            assert "another shard" in (board.why_refused or "")
            nursery.cancel_scope.cancel()


async def test_a_large_base_splits_and_its_sellers_still_hear_each_other(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """One node has heard of 310 sellers and has split its topic; another one has heard of fewer and has not."""
    async with open_nodes(tmp_path, "a", "b") as nodes:
        a, b = nodes.values()
        await trio.sleep(30)
        a.board.worth_of = b.board.worth_of = lambda _: BONDED
        a.advertiser.offered.num_in_shard = lambda base: 310 >> a.advertiser.followed.bits(base)  # type: ignore[method-assign]
        b.advertiser.offered.num_in_shard = lambda base: 290 >> b.advertiser.followed.bits(base)  # type: ignore[method-assign]
        await trio.sleep(30)
        assert [node.advertiser.followed.bits(BASE) for node in (a, b)] == [1, 0]
        for node, other in ((a, b), (b, a)):
            before = other.board.find(node.transport.peer_id)
            assert node.offer
            node.offer = replace(node.offer, chunk_tokens=4)
            await trio.sleep(5)
            after = other.board.find(node.transport.peer_id)
            assert before
            assert after
            assert (before.chunk_tokens, after.chunk_tokens) == (8, 4)


# ---- what the network offers


async def test_the_bases_of_the_network_are_told_with_one_seller_of_each(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    names = ("a", "b", "x", "y", "z")
    async with open_nodes(tmp_path, *names, bases=dict.fromkeys("xyz", OTHER)) as nodes:
        await trio.sleep(60)
        await nodes["x"].transport.connect(nodes["z"].transport.addresses[0])
        await trio.sleep(130)
        offered = nodes["b"].advertiser.offered
        assert offered.list_bases(1)[0].base == BASE, "its own comes first"
        await nodes["b"].advertiser.greeter.look_around()  # what it was told at the start was early
        assert {each.base for each in offered.list_bases(8)} == {BASE, OTHER}
        assert offered.num_sellers(OTHER) >= 2


async def test_a_search_finds_adapters_of_other_bases_and_follows_them_for_an_hour(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    harbour = OfferedAdapter(id=AdapterId(word("harbour")), name="harbour")
    async with open_nodes(tmp_path, "a", "x", "y", bases=dict.fromkeys("xy", OTHER)) as nodes:
        a, x, y = nodes.values()
        await y.transport.connect(a.transport.addresses[0])
        assert y.offer
        y.offer = replace(y.offer, warm=(harbour,))
        await trio.sleep(60)
        assert a.advertiser.followed.bases == (BASE,)
        await a.advertiser.greeter.look_around()
        assert a.board.resolve("harbour").base == OTHER
        assert sellers(a, OTHER) == {x.transport.peer_id, y.transport.peer_id}
        assert a.advertiser.followed.bases == (BASE, OTHER)


async def test_the_board_is_not_searched_for_each_base_that_is_listed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Strangers can make up 256 bases, and any peer may ask for the list."""
    async with open_nodes(tmp_path, "a") as nodes:
        board, searches = nodes["a"].board, 0
        for number in range(12):
            assert board.learn(signed_ad(f"x {number}", base=Digest(word(f"base {number}")), at_s=now_s()))
        live = board.live

        def count() -> Any:
            nonlocal searches
            searches += 1
            return live()

        board.live = count  # type: ignore[method-assign]
        assert len(nodes["a"].advertiser.offered.list_bases(99)) == 12
        assert searches <= 4


async def test_a_search_follows_the_bases_with_most_sellers(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        a, bases = nodes["a"], [Digest(word(f"base {number}")) for number in range(BASES_MAX + 2)]
        for rank, base in enumerate(bases):
            for number in range(1 + (rank == 3)):
                assert a.board.learn(signed_ad(f"x {rank} {number}", base=base, at_s=now_s()))
        await a.advertiser.greeter.look_around()
        assert len(a.advertiser.followed.bases) == BASES_MAX
        assert bases[3] in a.advertiser.followed.bases, "it has two sellers, and each other one has one"


async def test_a_base_that_only_liars_count_is_not_listed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        offered = nodes["a"].advertiser.offered
        made_up = OfferedBase(base=OTHER, num_sellers=10**6, ad=signed_ad("x", at_s=now_s()))
        offered.tell(PeerId("liar"), [made_up])
        assert offered.list_bases(8) == []
        assert nodes["a"].board.learn(signed_ad("y", base=OTHER, at_s=now_s()))
        for teller, count in (("liar", 10**6), ("one", 3), ("two", 4)):
            offered.tell(PeerId(teller), [replace(made_up, num_sellers=count)])
        assert offered.num_sellers(OTHER) == 4, "half of the peers agree on so many"


# ---- greeting


async def test_what_a_peer_knows_of_two_bases_comes_in_two_rounds_each_and_is_not_sent_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """330 of each base, more than one answer holds."""
    names = {base: [f"{base[:4]} seller {number}" for number in range(330)] for base in (BASE, OTHER)}
    async with open_nodes(tmp_path, "b") as nodes, trio.open_nursery() as nursery:
        b = nodes["b"]
        b.board.worth_of = lambda _: BONDED
        b.advertiser.followed.ask(OTHER)
        for base, each in names.items():
            for name in each:
                assert b.board.learn(signed_ad(name, base=base, expires_s=int(now_s()) + 1_200)), b.board.why_refused
        sent = count_sent(b)
        a = await open_node(tmp_path, "a", b.transport._network, nursery, 0.0)
        a.board.worth_of = b.board.worth_of
        a.advertiser.followed.ask(OTHER)
        await a.transport.connect(b.transport.addresses[0])
        await trio.sleep(30)
        for base, each in names.items():
            assert {peer_id_of(name) for name in each} <= sellers(a, base)
        by_base = {base: [count for asked, count in sent if asked == base] for base in names}
        for counts in by_base.values():
            assert counts[0] == ADS_MAX
            assert counts[1] < 20, "the rest, and what shares a bucket with it"
            assert sum(counts[2:]) < 10, "and later only what differs"
        nursery.cancel_scope.cancel()
    a.ledger.close()


async def test_all_bases_that_a_node_follows_are_asked_for_on_one_stream(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A peer answers three streams at once and then one in 10 s, so a stream for each base was refused."""
    bases = [BASE, *(Digest(word(f"base {number}")) for number in range(BASES_MAX - 1))]
    async with open_nodes(tmp_path, "b") as nodes, trio.open_nursery() as nursery:
        b, num_streams = nodes["b"], 0
        for number, base in enumerate(bases):
            assert b.board.learn(signed_ad(f"x {number}", base=base, at_s=now_s()))
            b.advertiser.followed.ask(base)
        serve = b.advertiser.server.serve

        async def count(peer_id: PeerId, stream: trio.abc.Stream) -> None:
            nonlocal num_streams
            num_streams += 1
            await serve(peer_id, stream)

        b.transport.handle(ADS, count)
        a = await open_node(tmp_path, "a", b.transport._network, nursery, 0.0)
        for base in bases:
            a.advertiser.followed.ask(base)
        await a.transport.connect(b.transport.addresses[0])
        await trio.sleep(4)
        assert [base for base in bases if not sellers(a, base)] == []
        assert num_streams <= 3, "one for all bases, and two for the list of bases"
        nursery.cancel_scope.cancel()
    a.ledger.close()


async def test_a_base_that_found_no_room_on_a_stream_is_asked_for_at_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "b") as nodes, trio.open_nursery() as nursery:
        b = nodes["b"]
        b.advertiser.followed.ask(OTHER)
        for base in (BASE, OTHER):
            assert b.board.learn(signed_ad(f"x {base}", base=base, at_s=now_s()))
        a = await open_node(tmp_path, "a", b.transport._network, nursery, 0.0)
        a.advertiser.followed.ask(OTHER)
        fetch = a.advertiser.greeter._fetch

        async def fill(base: Digest, messages: Any) -> Any:
            fetched = await fetch(base, messages)
            fetched.num_told = 2 * ADS_MAX
            return fetched

        a.advertiser.greeter._fetch = fill  # type: ignore[method-assign]
        await a.transport.connect(b.transport.addresses[0])
        await trio.sleep(4)
        assert sellers(a, BASE)
        assert sellers(a, OTHER)
        nursery.cancel_scope.cancel()
    a.ledger.close()


async def test_a_newcomer_asks_two_peers_and_then_one_now_and_then(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
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


async def test_many_peers_that_connect_at_once_are_asked_one_in_a_minute_after_the_first_four(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    names = [f"peer {number}" for number in range(12)]
    async with open_nodes(tmp_path, *names) as nodes, trio.open_nursery() as nursery:
        a = await open_node(tmp_path, "a", nodes[names[0]].transport._network, nursery, 0.0)
        for name in names[:2]:
            await a.transport.connect(nodes[name].transport.addresses[0])
        await trio.sleep(60)
        asked_s = list[float]()

        async def note(*_: Any, **__: Any) -> int:
            await trio.lowlevel.checkpoint()
            asked_s.append(trio.current_time())
            return 0

        a.advertiser.greeter._ask = note  # type: ignore[method-assign]
        began_s = trio.current_time()
        for name in names[2:]:
            await a.transport.connect(nodes[name].transport.addresses[0])
        await trio.sleep(130)
        num_asked = [sum(at_s <= began_s + wait_s for at_s in asked_s) for wait_s in (10, 50, 70, 130)]
        assert num_asked == [4, 4, 5, 6]
        nursery.cancel_scope.cancel()
    a.ledger.close()


async def test_a_part_of_the_network_that_was_cut_off_is_heard_within_seconds(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path / "1", "a", "b", "c") as one, trio.open_nursery() as nursery:
        network = one["a"].transport._network
        far = [await open_node(tmp_path, name, network, nursery, 0.0) for name in ("d", "e", "f")]
        for before, after in pairwise(far):
            await after.transport.connect(before.transport.addresses[0])
        await trio.sleep(120)
        assert sellers(one["a"], BASE) == {peer_id_of(name) for name in "bc"}
        await one["a"].transport.connect(far[0].transport.addresses[0])
        await trio.sleep(20)
        for node in (*one.values(), *far):
            assert sellers(node, BASE) == {peer_id_of(name) for name in "abcdef"} - {node.transport.peer_id}
        nursery.cancel_scope.cancel()
    for node in far:
        node.ledger.close()


async def test_strangers_whose_digests_promise_news_are_asked_back_eight_times_at_most(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a", "b") as nodes:
        await trio.sleep(60)
        greeter = nodes["a"].advertiser.greeter
        for name in ["one"] * 20 + [f"peer {number}" for number in range(20)]:
            greeter.ask_back(PeerId(name), BASE)
        asked_back = list(greeter._asked[BASE].again_s)
    assert asked_back == ["one", *(f"peer {number}" for number in range(7))]


async def test_news_of_several_bases_goes_to_the_same_peers_and_takes_one_budget(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A peer takes one stream in 10 s, and all bases of a request go on one."""
    async with open_nodes(tmp_path, "a") as nodes:
        greeter = nodes["a"].advertiser.greeter
        await trio.sleep(1)
        bases = [AskedPeers() for _ in range(4)]
        greeter._asked = {Digest(word(f"base {number}")): asked for number, asked in enumerate(bases)}
        others = [PeerId(f"peer {number}") for number in range(12)]
        for number, asked in enumerate(bases):
            greeter._pass_on(asked, others[number:])
        told = [set(asked.again_s) for asked in bases]
    assert [len(each) for each in told] == [3] * 4
    assert len(set().union(*told)) <= 6


async def test_an_asker_that_does_not_follow_a_base_keeps_no_new_peer_from_being_asked_for_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "b", "a", "c", "x", "d", bases={"x": OTHER}) as nodes:
        a, greeter = nodes["a"], nodes["a"].advertiser.greeter
        await nodes["x"].transport.connect(a.transport.addresses[0])
        await trio.sleep(120)
        greeter.ask_back(peer_id_of("x"), BASE)
        assert peer_id_of("x") in greeter._asked[BASE].again_s
        a.advertiser.server._ask_back = lambda *_: None  # as if the new peer did not ask this node first
        asked = list[PeerId]()

        async def note(peer_id: PeerId, *_: Any, **__: Any) -> int:
            await trio.lowlevel.checkpoint()
            asked.append(peer_id)
            return 0

        greeter._ask = note  # type: ignore[method-assign]
        await a.transport.connect(nodes["d"].transport.addresses[0])
        await trio.sleep(10)
        assert asked == [peer_id_of("d")]


async def test_a_peer_that_says_nothing_delays_a_newcomer_by_two_seconds(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
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


async def test_a_peer_that_refuses_is_asked_again_after_a_minute(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    asked_s = list[float]()

    async def refuse(_: PeerId, stream: trio.abc.Stream) -> None:
        asked_s.append(trio.current_time())
        await stream.aclose()

    async with open_nodes(tmp_path, "a") as nodes, trio.open_nursery() as nursery:
        a = nodes["a"]
        mute = MemoryTransport(a.transport._network, peer_id_of("mute"))
        mute.handle(ADS, refuse)
        mute.subscribe(ads_topic(NETWORK, BASE), lambda *_: True)
        await nursery.start(mute.run)
        await a.transport.connect(mute.addresses[0])
        await trio.sleep(170)
        assert 2 <= len(asked_s) <= 6, "three times for its sellers, and three times for the list of bases"
        nursery.cancel_scope.cancel()


# ---- hostile requests


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
async def test_any_digest_is_answered_with_what_differs(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, digest: bytes
) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        assert nodes["a"].board.learn(signed_ad("x", at_s=now_s()))
        await trio.sleep(2)
        (told,) = await ask(nodes["a"], GetAds(base=BASE, digest=digest))
        assert isinstance(told, Ads)
        assert len(told.ads) == 2
        (none,) = await ask(nodes["a"], GetAds(base=BASE, digest=digest, bucket_min=255, count_max=1))
        assert isinstance(none, Ads)
        assert len(none.ads) <= 1


async def test_a_digest_of_a_wrong_size_ends_the_stream_with_an_error(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        plain = {**encode(GetAds(base=BASE)), "digest": bytes(DIGEST_BYTES + 1)}
        told, *more = await ask(nodes["a"], plain, GetBases())
        assert isinstance(told, ErrorMessage)
        assert (told.code, more) == ("malformed", [])


async def test_a_stream_lists_the_bases_once(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """The list is thousands of times larger than the request."""
    async with open_nodes(tmp_path, "a") as nodes:
        told = await ask(nodes["a"], GetBases(), GetAds(base=BASE), GetBases(), GetBases())
        assert [type(each) for each in told] == [Bases, Ads, ErrorMessage]


async def test_a_stream_gets_two_full_answers_at_most(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        server = nodes["a"].advertiser.server
        assert nodes["a"].board.learn(signed_ad("x", at_s=now_s()))
        held = nodes["a"].board.held(BASE)
        many = [replace(held[0], peer_id=peer_id_of(f"{number}")) for number in range(400)]
        server.held = lambda _: many  # type: ignore[method-assign]
        told = await ask(nodes["a"], *[GetAds(base=BASE)] * 4)
        assert [len(each.ads) for each in told if isinstance(each, Ads)] == [ADS_MAX, ADS_MAX, 0, 0]


# ---- helpers


async def say_nothing(_: PeerId, stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


def sellers(node: Node, base: Digest) -> set[str]:
    """The peers that serve a base, by a node's board."""
    return {ad.peer_id for ad in node.board.live() if ad.base == base and ad.serves}


def count_sent(node: Node) -> list[tuple[Digest, int]]:
    """From now on, the base of each request that a node answers, and the number of advertisements in the answer."""
    counted, answer = list[tuple[Digest, int]](), ads_server.ads_lacking

    def count(request: GetAds) -> list[Held]:
        found = AdsServer.held(node.advertiser.server, request)
        counted.append((request.base, len(answer(found, request))))
        return found

    node.advertiser.server.held = count  # type: ignore[method-assign]
    return counted
