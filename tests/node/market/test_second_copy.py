"""Two processes with the same keys notice each other, and the one that is left sells again."""

import pytest
from support.market_world.seller import ad_of, signed_ad
from support.market_world.terms import BASE, NETWORK, key_of, peer_id_of, seed_of, signer_of, wallet_of

from openledger_node.ledger.ledger import Ledger
from openledger_node.market.board import AdTable
from openledger_node.market.second_copy import CopyWatch
from openledger_protocol.advertisement import sign_advertisement, sign_binding

from .conftest import Now


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


def test_both_copies_notice_the_other_and_say_what_to_do(
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


def test_the_copy_that_is_left_sells_again_once_the_other_is_silent(
    copies: tuple[Copy, Copy], now: Now, caplog: pytest.LogCaptureFixture
) -> None:
    now.now_s += 1
    copies[0].board.learn(copies[1].advertise())
    now.now_s += 119
    assert copies[0].watch.why_not
    now.now_s += 1
    assert copies[0].watch.why_not is None
    assert "this one sells again" in caplog.records[-1].getMessage()


def test_what_this_process_has_said_is_no_copy(copies: tuple[Copy, Copy], now: Now) -> None:
    now.now_s += 1
    content = copies[0].advertise()
    copies[0].board.learn(content)
    assert copies[0].watch.why_not is None


def test_what_an_earlier_process_has_said_is_no_copy(copies: tuple[Copy, Copy], ledger: Ledger, now: Now) -> None:
    """A restart is no copy, and neither is a move to another machine."""
    now.now_s += 1
    content = copies[0].advertise()
    later = Copy(ledger, now)
    later.board.learn(content)
    assert later.watch.why_not is None


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


def test_a_forged_advertisement_of_our_own_peer_stops_nobody(copies: tuple[Copy, Copy], now: Now) -> None:
    now.now_s += 1
    content = bytearray(signed_ad("me", at_s=now()))
    content[-1] ^= 1
    assert not copies[0].board.learn(bytes(content))
    assert copies[0].watch.why_not is None
