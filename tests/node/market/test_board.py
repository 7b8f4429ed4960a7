"""Advertisements: which ones count, for how long, the meaning of their names, and a second copy of this node."""

import sys
from typing import Any

import pytest
from support.market_world import terms
from support.market_world.seller import ad_of, signed_ad
from support.market_world.terms import BASE, NETWORK, NOW_S, key_of, peer_id_of, seed_of, signer_of, wallet_of, word

from openledger_node.ledger.ledger import Ledger
from openledger_node.ledger.peers import PEERS_MAX
from openledger_node.market.board import KEYS_MAX, AdTable, Buckets, Listed
from openledger_node.market.second_copy import CopyWatch
from openledger_node.market.worth import Worth
from openledger_protocol.advertisement import OfferedAdapter, sign_advertisement, sign_binding
from openledger_protocol.bloom import make_filter
from openledger_protocol.constants import AD_BYTES_MAX
from openledger_protocol.errors import UnavailableError, UnknownModelError
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Digest, Wei

from .conftest import Now

HARBOUR, OTHER = (AdapterId(word(name)) for name in ("harbour", "other"))
OTHER_BASE = Digest(word("other base"))


def board_of(ledger: Ledger, now: Now) -> AdTable:
    return AdTable(NETWORK, now, ledger.peers, own=peer_id_of("me"), base_names={BASE: "fake"})


@pytest.fixture
def board(ledger: Ledger, now: Now) -> AdTable:
    return board_of(ledger, now)


def receive(board: AdTable, name: str, **changes: Any) -> bool:
    return board.receive(peer_id_of(name), signed_ad(name, **changes))


def warm(*names: str, of: AdapterId | None = None) -> tuple[OfferedAdapter, ...]:
    return tuple(OfferedAdapter(id=of or AdapterId(word(name)), name=name) for name in names)


def forged(board: AdTable) -> tuple[str, bytes]:
    """Another peer's key under the advertisement of a third."""
    content = signed_ad("ada")
    return "ada", content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


def unbound(board: AdTable) -> tuple[str, bytes]:
    """A peer that speaks for somebody else's wallet."""
    ada = ad_of("ada")
    return "ben", sign_advertisement(ad_of("ben", wallet=ada.wallet, binding=ada.binding), seed_of("ben"))


REFUSED = {
    "forged": (forged, "not signed by peer"),
    "another's wallet": (unbound, "the binding of 12D3Koo"),
    "run out": (lambda _: ("ada", signed_ad("ada", at_s=NOW_S - 121)), "ran out 1 s ago"),
    "of tomorrow": (lambda _: ("ada", signed_ad("ada", at_s=NOW_S + 31)), "dated 31 s ahead"),
    "foreign": (
        lambda _: ("ada", signed_ad("ada", network="elsewhere-1", binding=ad_of("ada").binding)),
        "for network elsewhere-1, not for development-1a2b3c4d",
    ),
    "too long": (lambda _: ("ada", bytes(AD_BYTES_MAX + 1)), "2049 bytes is over its cap of 2048"),
    "garbage": (lambda _: ("ada", b"\x93garbage"), "msgpack"),
    "by another origin": (lambda _: ("ben", signed_ad("ada")), "each publishes its own"),
    "our own": (lambda _: ("me", signed_ad("me")), "an advertisement of our own comes back"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_advertisement_that_does_not_count_is_refused_and_leaves_no_trace(board: AdTable, case: str) -> None:
    make, why = REFUSED[case]
    name, content = make(board)
    assert not board.receive(peer_id_of(name), content)
    assert why in (board.why_refused or "")
    assert board.live() == []
    assert receive(board, "cleo")


def test_a_replay_is_refused_and_so_is_what_came_before(board: AdTable) -> None:
    old, new = signed_ad("ada"), signed_ad("ada", at_s=NOW_S + 1)
    assert board.receive(peer_id_of("ada"), new)
    assert not board.receive(peer_id_of("ada"), new)
    assert "is here already" in (board.why_refused or "")
    assert not board.receive(peer_id_of("ada"), old)
    assert not board.learn(old)
    assert [ad.issued_s for ad in board.live()] == [NOW_S + 1]
    learned = signed_ad("ben")
    assert board.learn(learned)
    assert [board.receive(peer_id_of("ben"), learned) for _ in range(2)] == [True, False], "passed on once"


def test_after_a_restart_a_peer_tells_the_newest_again_and_nothing_older(ledger: Ledger, now: Now) -> None:
    board, old, new = board_of(ledger, now), signed_ad("ada"), signed_ad("ada", at_s=NOW_S + 1)
    assert board.learn(new)
    board.keep()
    again = board_of(ledger, now)
    assert not again.learn(old)
    assert again.learn(new)
    assert not again.learn(new)
    assert [ad.issued_s for ad in again.live()] == [NOW_S + 1]


def test_a_peer_that_advertises_too_often_is_passed_over_and_no_other_is(board: AdTable, now: Now) -> None:
    received = [receive(board, "ada", at_s=NOW_S + number) for number in range(5)]
    assert received == [True, True, True, False, False]
    assert "more often than once in 10 s" in (board.why_refused or "")
    assert receive(board, "ben")
    now.now_s += 10
    assert receive(board, "ada", at_s=NOW_S + 10)
    assert not receive(board, "ada", at_s=NOW_S + 11)


def test_an_advertisement_counts_until_it_runs_out(board: AdTable, now: Now) -> None:
    assert receive(board, "ada")
    now.now_s += 119
    assert len(board.offers(BASE, BASE_ONLY)) == 1
    now.now_s += 1
    assert board.offers(BASE, BASE_ONLY) == []
    assert board.held(BASE) == []
    assert board.find(peer_id_of("ada")) is None


def test_offers_come_cheapest_first_and_warm_before_cold(board: AdTable) -> None:
    receive(board, "dear", terms=terms.priced(terms.TERMS, 2), warm=warm("harbour"))
    receive(board, "cold", cold=make_filter([HARBOUR]), num_cold=1)
    receive(board, "warm", warm=warm("harbour"), cold=make_filter([HARBOUR]), num_cold=1)
    receive(board, "without")
    receive(board, "paused", warm=warm("harbour"), serves=False)
    receive(board, "elsewhere", warm=warm("harbour"), base=OTHER_BASE)
    names = {peer_id_of(name): name for name in ("dear", "cold", "warm", "without", "paused", "elsewhere")}
    assert [names[ad.peer_id] for ad in board.offers(BASE, HARBOUR)] == ["warm", "cold", "dear"]  # type: ignore[index]
    assert len(board.offers(BASE, BASE_ONLY)) == 4
    assert board.adapters() == [
        Listed(adapter=OfferedAdapter(id=HARBOUR, name="harbour"), base=base, num_nodes=count)
        for base, count in sorted([(BASE, 3), (OTHER_BASE, 1)])
    ]


@pytest.mark.parametrize(
    ("name", "adapter", "unique"),
    [
        ("harbour", HARBOUR, f"harbour@{HARBOUR[2:10]}"),
        (f"fake:harbour@{HARBOUR[2:10]}", HARBOUR, f"harbour@{HARBOUR[2:10]}"),
        ("fake", BASE_ONLY, "fake"),
        (HARBOUR, HARBOUR, HARBOUR),
    ],
)
def test_a_name_means_what_somebody_offers(board: AdTable, name: str, adapter: AdapterId, unique: str) -> None:
    receive(board, "ada", warm=warm("harbour"))
    receive(board, "ben", warm=warm("harbour"))
    found = board.resolve(name)
    assert (found.base, found.adapter, found.name) == (BASE, adapter, unique)


def test_an_ambiguous_name_is_refused_with_all_that_it_may_mean(board: AdTable) -> None:
    receive(board, "ada", warm=warm("harbour"))
    receive(board, "ben", warm=warm("harbour", of=OTHER))
    both = sorted([f"harbour@{HARBOUR[2:10]}", f"harbour@{OTHER[2:10]}"])
    with pytest.raises(UnknownModelError, match=f"'harbour' means several adapters .*: {', '.join(both)}"):
        board.resolve("harbour")
    assert board.resolve(both[0]).name == both[0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ferry", "nobody on the network offers 'ferry' just now"),
        ("gemma:harbour", "nobody on the network serves a base 'gemma', only fake"),
        (OTHER, f"nobody on the network offers '{OTHER}' just now"),
    ],
)
def test_a_name_that_nobody_offers_is_refused(board: AdTable, name: str, why: str) -> None:
    with pytest.raises(UnavailableError, match="nobody on the network serves 'fake' just now"):
        board.resolve("fake")
    receive(board, "ada", warm=warm("harbour"))
    with pytest.raises(UnknownModelError, match=why):
        board.resolve(name)


def test_an_adapter_that_went_cold_keeps_its_name_while_somebody_has_it(board: AdTable, now: Now) -> None:
    board.worth_of = lambda _: Worth(bonded_wei=Wei(1))
    receive(board, "ada", warm=warm("harbour"))
    receive(board, "ada", at_s=NOW_S + 1, cold=make_filter([HARBOUR]), num_cold=1)
    assert board.resolve("harbour").adapter == HARBOUR
    receive(board, "ada", at_s=NOW_S + 2)
    with pytest.raises(UnknownModelError):
        board.resolve("harbour")


def test_buckets_fill_with_time_and_do_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    keys_max = KEYS_MAX // 16  # each take beyond it looks at all keys, so a test of them all would take seconds
    monkeypatch.setattr(sys.modules[Buckets.__module__], "KEYS_MAX", keys_max)
    now = Now(0.0)
    buckets: Buckets[int] = Buckets(interval_s=1.0, burst=2, now_s=now)
    assert [buckets.take(0) for _ in range(3)] == [True, True, False]
    now.now_s = -100.0  # the clock is set back
    assert not buckets.take(0)
    now.now_s = 2.0
    assert [buckets.take(0) for _ in range(3)] == [True, True, False]
    for key in range(2 * keys_max):
        buckets.take(key)
    assert len(buckets._empty_at) <= keys_max


def test_sequences_only_grow_and_peers_seen_longest_ago_are_forgotten_first(ledger: Ledger) -> None:
    ledger.peers.keep_seqs({"a": 2**64 - 1, "b": 1}, now_ns=1)
    ledger.peers.keep_seqs({"a": 5}, now_ns=2)
    assert ledger.peers.seqs() == {"a": 2**64 - 1, "b": 1}
    assert (ledger.peers.seq_last("a"), ledger.peers.seq_last("nobody")) == (2**64 - 1, None)
    ledger.peers.keep_seqs({f"peer {number}": 1 for number in range(PEERS_MAX - 1)}, now_ns=3)
    assert {"a", "b"} & ledger.peers.seqs().keys() == {"a"}
    assert len(ledger.peers.seqs()) == PEERS_MAX


class Copy:
    """One process of the node `me`: its table, and what it has noticed."""

    def __init__(self, ledger: Ledger, now: Now) -> None:
        self.watch = CopyWatch(peer_id=peer_id_of("me"), signer=signer_of("me"), now_s=now)
        self.board = AdTable(
            NETWORK, now, ledger.peers, own=peer_id_of("me"), base_names={BASE: "fake"}, copies=self.watch
        )
        self._now = now

    def advertise(self) -> bytes:
        """Make an advertisement as of now."""
        content = signed_ad("me", at_s=self._now())
        self.watch.add_own(int(self._now() * 10**9))
        return content


@pytest.fixture
def copies(ledger: Ledger, now: Now) -> tuple[Copy, Copy]:
    """Two processes, the second started a minute after the first."""
    first = Copy(ledger, now)
    now.now_s += 60
    return first, Copy(ledger, now)


def test_both_copies_notice_the_other_and_the_one_that_is_left_sells_again_once_that_is_silent(
    copies: tuple[Copy, Copy], now: Now, caplog: pytest.LogCaptureFixture
) -> None:
    now.now_s += 1
    contents = []
    for copy in copies:
        now.now_s += 1
        contents.append(copy.advertise())
    for copy, content in zip(copies, reversed(contents), strict=True):
        assert not copy.board.learn(content)
        assert copy.watch.why_not
        assert "stop one with `openledger-node stop`" in copy.watch.why_not
        assert copy.watch.seq_last > 0
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    now.now_s += 119
    assert copies[0].watch.why_not
    now.now_s += 1
    assert copies[0].watch.why_not is None
    assert "this one sells again" in caplog.records[-1].getMessage()


def test_an_advertisement_of_an_earlier_process_or_a_forged_one_shows_no_copy(
    copies: tuple[Copy, Copy], ledger: Ledger, now: Now
) -> None:
    """A restart is no copy, and neither is a move to another machine."""
    now.now_s += 1
    content = copies[0].advertise()
    later, second = Copy(ledger, now), copies[1]
    copies[0].board.learn(content)
    later.board.learn(content)
    now.now_s += 1
    forged = signed_ad("me", at_s=now())
    assert not second.board.learn(forged[:-1] + bytes([forged[-1] ^ 1]))
    assert [copy.watch.why_not for copy in (copies[0], later, second)] == [None] * 3


def test_a_copy_with_another_peer_key_is_noticed_by_its_signer(copies: tuple[Copy, Copy], now: Now) -> None:
    now.now_s += 1
    binding = sign_binding(key_of("me signer"), NETWORK, peer_id_of("other"), wallet_of("me"))
    ad = ad_of("other", at_s=now(), wallet=wallet_of("me"), signer=signer_of("me"), binding=binding)
    assert copies[0].board.receive(peer_id_of("other"), sign_advertisement(ad, seed_of("other")))
    assert copies[0].watch.why_not


def test_a_stranger_that_advertises_with_our_wallet_stops_nobody(copies: tuple[Copy, Copy], now: Now) -> None:
    """It has its own signer, or a binding that our signer has made for our own peer."""
    now.now_s += 1
    assert copies[0].board.receive(peer_id_of("b"), signed_ad("b", at_s=now(), wallet=wallet_of("b")))
    mine = sign_binding(key_of("me signer"), NETWORK, peer_id_of("me"), wallet_of("me"))
    stolen = ad_of("c", at_s=now(), wallet=wallet_of("me"), signer=signer_of("me"), binding=mine)
    assert not copies[0].board.receive(peer_id_of("c"), sign_advertisement(stolen, seed_of("c")))
    binding = sign_binding(key_of("d signer"), NETWORK, peer_id_of("d"), wallet_of("me"))
    named = ad_of("d", at_s=now(), wallet=wallet_of("me"), binding=binding)
    assert copies[0].board.receive(peer_id_of("d"), sign_advertisement(named, seed_of("d")))
    assert copies[0].watch.why_not is None
