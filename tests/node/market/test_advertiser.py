"""A node says what it offers in time and on change, hears the others, and tells newcomers of all."""

from dataclasses import replace
from pathlib import Path

import trio
import trio.testing
from support.market_world.advertising import Node, ask, open_nodes
from support.market_world.liars import messages_of
from support.market_world.seller import ad_of, signed_ad
from support.market_world.terms import (
    ADS,
    BASE,
    NETWORK,
    TERMS,
    now_s,
    peer_id_of,
    priced,
    word,
)

from openledger_node.p2p.transports.memory import MemoryTransport
from openledger_protocol.advertisement import OfferedAdapter, open_advertisement
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.ads import Ads, Bases, GetAds, GetBases, decode, encode
from openledger_protocol.wire.inference import ErrorMessage

HARBOUR = AdapterId(word("harbour"))


async def test_nodes_in_a_row_hear_of_each_other_within_seconds(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a", "b", "c") as nodes:
        await trio.sleep(11)
        ids = {node.transport.peer_id for node in nodes.values()}
        assert [node.heard_of() | {node.transport.peer_id} for node in nodes.values()] == [ids] * 3
        kept = nodes["c"].ledger.peers.seqs()
    assert set(kept) == ids


async def test_a_node_advertises_each_ten_minutes_or_so_and_its_offer_never_runs_out(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a", "b") as nodes:
        await trio.sleep(3)
        seqs = set()
        for _ in range(120):
            await trio.sleep(10)
            (ad,) = nodes["b"].board.live()
            seqs.add(ad.seq)
    assert 2 <= len(seqs) <= 3  # one in 600 s


async def test_a_change_is_said_at_once_and_many_changes_a_little_later(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a", "b") as nodes:
        a, b = nodes["a"], nodes["b"]
        await trio.sleep(25)
        assert a.offer is not None
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


async def test_a_node_that_stops_says_so_before_its_next_look_and_only_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a", "b") as nodes:
        a, b = nodes["a"], nodes["b"]
        await trio.sleep(25)
        (before,) = b.board.live()
        assert a.offer is not None
        a.offer = replace(a.offer, serves=False)
        await a.advertiser.say_goodbye()
        (goodbye,) = b.board.live()
        assert (before.serves, goodbye.serves) == (True, False)
        await a.advertiser.say_goodbye()
        await trio.sleep(5)
        assert b.board.live() == [goodbye]


async def test_a_sequence_grows_though_the_clock_was_set_back(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
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


async def test_a_warm_list_that_is_too_long_is_cut_and_the_filter_still_tells(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    many = tuple(OfferedAdapter(id=AdapterId(word(f"{n}")), name=f"adapter-{n}-{'x' * 40}") for n in range(40))
    async with open_nodes(tmp_path, "a", "b") as nodes:
        a, b = nodes["a"], nodes["b"]
        assert a.offer is not None
        a.offer = replace(a.offer, warm=many, cold=tuple(one.id for one in many))
        await trio.sleep(30)
        (ad,) = b.board.live()
        assert 1 < len(ad.warm) < 16
        assert len(b.board.offers(BASE, many[-1].id)) == 1


# ---- newcomers, and who asks too much


async def test_a_newcomer_is_told_of_all_at_once(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        for name in ("x", "y"):
            assert nodes["a"].board.learn(signed_ad(name, at_s=now_s()))
        await trio.sleep(2)
        (told,) = await ask(nodes["a"], GetAds(base=BASE))
        assert isinstance(told, Ads)
        own = nodes["a"].advertiser.own
        assert own
        assert own.content in told.ads
        assert len(told.ads) == 3
        (few,) = await ask(nodes["a"], GetAds(base=BASE, count_max=1))
        assert isinstance(few, Ads)
        assert few.ads == told.ads[:1]


async def test_a_peer_that_asks_may_tell_its_own_after_the_answer(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        stream = await MemoryTransport(nodes["a"].transport._network, peer_id_of("x")).open_stream(
            nodes["a"].transport.peer_id, ADS
        )
        async with stream:
            messages = messages_of(stream)
            await messages.send(encode(GetAds(base=BASE)))
            await messages.receive()
            await messages.send(encode(Ads(ads=(signed_ad("x", at_s=now_s()), signed_ad("y", at_s=now_s())))))
            await trio.sleep(1)
        assert nodes["a"].heard_of() == {peer_id_of("x")}, "one, its own"


async def test_who_asks_again_and_again_is_refused(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        told = [each for _ in range(4) for each in await ask(nodes["a"], GetAds(base=BASE))]
        assert [isinstance(one, Ads) for one in told] == [True, True, True, False]
        assert isinstance(told[3], ErrorMessage)
        assert told[3].message == "you have asked more often than once in 10 s: come back later"


async def test_a_stream_of_advertisements_begins_with_get(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_nodes(tmp_path, "a") as nodes:
        (told,) = await ask(nodes["a"], Ads(ads=()))
        assert isinstance(told, ErrorMessage)
        assert (told.code, told.message) == ("malformed", "a stream has `get`, one `get_bases` and at last `ads`")


async def test_a_peer_that_tells_lies_and_one_that_says_nothing_do_no_harm(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def lie(_: object, stream: trio.abc.Stream) -> None:
        messages = messages_of(stream)
        assert isinstance(decode(await messages.receive()), GetBases)
        await messages.send(encode(Bases(bases=())))
        await messages.receive()
        good = signed_ad("honest", at_s=now_s())
        late = signed_ad("after a forged one", at_s=now_s())
        await messages.send(encode(Ads(ads=(signed_ad("x", at_s=now_s() - 300), good, b"garbage", late))))

    async def say_nothing(_: object, stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with open_nodes(tmp_path, "a") as nodes:
        network = nodes["a"].transport._network
        async with trio.open_nursery() as nursery:
            for name, answer in (("liar", lie), ("mute", say_nothing)):
                peer = MemoryTransport(network, peer_id_of(name))
                peer.handle(ADS, answer)
                await nursery.start(peer.run)
                await peer.connect(nodes["a"].transport.addresses[0])
            await trio.sleep(30)
            assert nodes["a"].heard_of() == {ad_of("honest").peer_id}
            nursery.cancel_scope.cancel()
