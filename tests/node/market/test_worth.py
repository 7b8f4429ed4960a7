"""The board is bounded by worth: whoever has stake gets on it, however many strangers advertise."""

import sys
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.chain import Chain
from support.market_world.seller import ad_of, signed_ad
from support.market_world.terms import BASE, NETWORK, NOW_S, peer_id_of, wallet_of, word

from openledger_node.errors import ChainError
from openledger_node.ledger.ledger import Ledger
from openledger_node.market import worth
from openledger_node.market.board import AdTable
from openledger_node.market.places import Placed, PlacedAds
from openledger_node.market.vetting import ASK_TIMEOUT_S, AWAY_S, KEPT_S, STALE_S, WANTED_S, Vetting
from openledger_node.market.worth import Coverage, Worth, crowded_out
from openledger_node.p2p.transport import PeerId
from openledger_protocol.advertisement import Advertisement, OfferedAdapter
from openledger_protocol.errors import BadSignatureError, ProtocolError, UnknownModelError
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Digest, Wei

pytestmark = pytest.mark.usefixtures("autojump_clock")

BONDED, UNREAD, UNBONDED = Worth(bonded_wei=Wei(10**18)), Worth(), Worth(bonded_wei=Wei(0))
AD = ad_of("seller")


class Board:
    """Peers on a board, each with its worth, and what has to make room for the next one."""

    def __init__(self) -> None:
        self.placed = PlacedAds()
        self.worths: dict[str, Worth] = {}
        self.covered: dict[Digest, Coverage] = {}  # bases whose ads are not all followed

    def coverage_of(self, ad: Advertisement) -> Coverage:
        return self.covered.get(ad.base, Coverage.FOLLOWED)

    def add(self, peer_id: str, worth: Worth, **changes: Any) -> str | None:
        """Add a peer with a wallet of its own, and drop whoever makes room."""
        wallet = Address("0x" + word(peer_id)[-40:])
        ad = replace(AD, **{"peer_id": peer_id, "wallet": wallet, "signer": wallet, **changes})
        self.placed.put(Placed(ad=ad, number=len(self.worths)))
        self.worths[peer_id] = worth
        worst = crowded_out(self.placed, ad, lambda each: self.worths[each.peer_id], self.coverage_of, now_s=NOW_S)
        if worst:
            self.placed.drop(worst)
        return worst

    def fill(self, count: int, worth: Worth, prefix: str = "stranger", **changes: Any) -> None:
        for number in range(count):
            self.add(f"{prefix} {number}", worth, **changes)

    def put(self, count: int, worth: Worth, prefix: str, **changes: Any) -> None:
        """Add peers that are known to have room, which is faster."""
        for number in range(count):
            peer_id = f"{prefix} {number}"
            ad = replace(AD, peer_id=peer_id, wallet=Address("0x" + word(peer_id)[-40:]), **changes)
            self.placed.put(Placed(ad=ad, number=len(self.worths)))
            self.worths[peer_id] = worth

    def count(self, prefix: str) -> int:
        return sum(peer_id.startswith(prefix) for peer_id in self.placed)


@pytest.mark.parametrize(("worth", "count"), [(UNREAD, worth.UNPROVEN_MAX), (UNBONDED, worth.UNBONDED_MAX)])
def test_a_thousand_strangers_take_few_places(worth: Worth, count: int) -> None:
    board = Board()
    board.fill(count + 100, worth)
    assert board.count("stranger") == count
    assert board.add("honest", BONDED) is None
    board.fill(100, worth, prefix="more")
    assert "honest" in board.placed


def test_a_newcomer_whose_bond_was_not_read_yet_displaces_one_without_a_bond_and_then_the_oldest() -> None:
    board = Board()
    board.put(worth.UNPROVEN_MAX - 1, UNREAD, "stranger")
    board.add("without", UNBONDED)
    assert board.add("newcomer", UNREAD) == "without"
    assert board.add("next", UNREAD) == "stranger 0"
    assert board.add("without again", UNBONDED) == "without again"


def test_known_sellers_stay_before_stake_and_stake_before_less_of_it() -> None:
    board = Board()
    board.put(worth.BASE_MAX - 2, BONDED, "usual")
    board.add("known", Worth(bonded_wei=Wei(1), num_answers=1))
    board.add("small", Worth(bonded_wei=Wei(2)))
    assert board.add("large", Worth(bonded_wei=Wei(10**20))) == "small"
    assert board.add("smaller", Worth(bonded_wei=Wei(1))) == "smaller"
    assert "known" in board.placed


def test_each_base_and_the_whole_board_have_their_limits() -> None:
    board = Board()
    for number in range(2):
        board.put(worth.BASE_MAX, BONDED, prefix=f"of {number}", base=base_of(number))
    assert board.add("one more", BONDED, base=base_of(1)) == "of 1 0"
    assert board.add("another", BONDED, base=base_of(2)) == "of 0 0"
    assert len(board.placed) == worth.OTHERS_MAX


def test_sellers_of_other_bases_take_no_place_from_those_of_the_own_base() -> None:
    board = Board()
    board.covered[base_of(0)] = Coverage.OWN_BASE
    board.put(worth.BASE_MAX, UNREAD, prefix="own", base=base_of(0))
    for number in (1, 2):
        board.put(worth.BASE_MAX, BONDED, prefix=f"of {number}", base=base_of(number))
    assert board.add("one more", BONDED, base=base_of(3)) == "of 1 0"
    assert board.count("own") == worth.BASE_MAX


def test_a_base_that_is_not_followed_has_four_places_and_all_of_them_have_256() -> None:
    board, count = Board(), worth.UNFOLLOWED_ALL_MAX // worth.UNFOLLOWED_MAX
    board.covered.update({base_of(number): Coverage.OTHER_BASE for number in range(count + 1)})
    for number in range(count):
        board.put(worth.UNFOLLOWED_MAX, BONDED, prefix=f"of {number}", base=base_of(number))
    assert board.add("fifth", BONDED, base=base_of(1)) == "of 1 0"
    assert board.add("new", BONDED, base=base_of(count)) == "of 0 0"
    assert board.add("made up", UNREAD, base=base_of(count)) == "made up"


def base_of(number: int) -> Digest:
    return Digest(word(f"base {number}"))


def test_a_wallet_has_four_places_and_a_stranger_that_names_it_takes_none_of_them() -> None:
    board, wallet = Board(), wallet_of("owner")
    board.fill(6, BONDED, prefix="own", wallet=wallet)
    assert board.count("own") == worth.WALLET_MAX
    board.fill(9, UNREAD, prefix="thief", wallet=wallet)
    assert board.count("own") == worth.WALLET_MAX
    board.fill(9, UNREAD, prefix="same key", wallet=wallet, signer=wallet)
    assert board.count("same key") == worth.WALLET_MAX


@pytest.mark.parametrize(("host", "count"), [("93.184.216", worth.SUBNET_MAX), ("192.168.1", 20), ("127.0.0", 20)])
def test_a_public_network_of_256_addresses_has_eight_places(host: str, count: int) -> None:
    board = Board()
    for number in range(20):
        board.add(f"near {number}", BONDED, addresses=(f"/ip4/{host}.{number}/tcp/1/p2p/x",))
    assert board.count("near") == count
    board.add("far", BONDED, addresses=("/ip4/93.184.217.1/tcp/1/p2p/x", "/dns4/x/tcp/1"))
    assert board.count("far") == 1


def test_a_dropped_advertisement_leaves_no_group_behind() -> None:
    board = Board()
    for number in range(3):
        board.add("moves", BONDED, base=base_of(number), addresses=(f"/ip4/93.184.{number}.1/tcp/1",))
    board.placed.drop("moves")
    board.placed.drop("never there")
    assert board.placed._groups == {}


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def vetting(ledger: Ledger, chain: Chain) -> Vetting:
    return Vetting(
        may_sign=chain.may_sign, bond_of=chain.bond_of, sellers=ledger.sellers, now_ns=lambda: NOW_S * 10**9
    )


@pytest.fixture
def table(ledger: Ledger) -> AdTable:
    return AdTable(NETWORK, lambda: NOW_S, ledger.peers, own=peer_id_of("me"))


async def test_a_bonded_seller_gets_on_a_full_board(table: AdTable, vetting: Vetting, chain: Chain) -> None:
    """The strangers advertise first, and again faster than their bonds can be read."""
    table.worth_of = vetting.worth_of
    for number in range(worth.UNPROVEN_MAX + 8):
        name = f"sybil {number}"
        chain.unbonded.add(wallet_of(name))
        assert table.learn(signed_ad(name))
    assert table.learn(signed_ad("honest"))
    await vetting.read(table.unread(16))
    for number in range(400, 408):
        chain.unbonded.add(wallet_of(f"sybil {number}"))
        assert table.learn(signed_ad(f"sybil {number}"))
    seen = table.offers(BASE, BASE_ONLY)
    assert len(seen) <= worth.UNPROVEN_MAX + 1
    assert vetting.worth_of(ad_of("honest")).is_bonded
    assert peer_id_of("honest") in {ad.peer_id for ad in seen}


def test_a_strangers_name_for_its_adapter_counts_if_it_is_new_until_its_bond_is_read(table: AdTable) -> None:
    ours, theirs = (OfferedAdapter(id=AdapterId(word(name)), name="harbour") for name in ("ours", "theirs"))
    new = OfferedAdapter(id=AdapterId(word("new")), name="valley")
    worths = {peer_id_of("honest"): BONDED}
    table.worth_of = lambda ad: worths.get(ad.peer_id, UNREAD)  # type: ignore[call-overload]  # a peer id
    assert table.learn(signed_ad("honest", warm=(ours,)))
    assert table.learn(signed_ad("thief", warm=(theirs, new)))
    assert table.resolve("harbour").adapter == ours.id
    assert table.resolve("valley").adapter == new.id
    worths[peer_id_of("thief")] = UNBONDED
    assert table.resolve("harbour").adapter == ours.id
    assert [listed.adapter for listed in table.adapters()] == [ours]
    with pytest.raises(UnknownModelError, match="only sellers without the network's minimum stake name it"):
        table.resolve("valley")
    with pytest.raises(UnknownModelError, match=r"just now$"):
        table.resolve("island")


def test_a_stranger_gives_no_name_to_anothers_adapter(table: AdTable) -> None:
    """Else each request by that name fails as ambiguous, long after the stranger is known to have no bond."""
    harbour, valley = (OfferedAdapter(id=AdapterId(word(name)), name=name) for name in ("harbour", "valley"))
    worths: dict[str, Worth] = {}
    table.worth_of = lambda ad: worths.get(ad.peer_id, UNREAD)
    assert table.learn(signed_ad("honest", warm=(harbour, valley)))
    assert table.learn(signed_ad("thief", warm=(replace(valley, name="harbour"),)))
    worths |= {peer_id_of("honest"): BONDED, peer_id_of("thief"): UNBONDED}
    assert table.resolve("harbour").adapter == harbour.id
    assert [listed.adapter for listed in table.adapters()] == [harbour, valley]


def test_strangers_that_fill_the_table_displace_no_name(table: AdTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[AdTable.__module__], "NAMES_MAX", 4)
    ours = OfferedAdapter(id=AdapterId(word("ours")), name="harbour")
    many = tuple(OfferedAdapter(id=AdapterId(word(f"{n}")), name=f"name-{n}") for n in range(8))
    table.worth_of = lambda ad: BONDED if ad.peer_id == peer_id_of("honest") else UNREAD
    assert table.learn(signed_ad("honest", warm=(ours,)))
    assert table.learn(signed_ad("thief", warm=many))
    assert table.resolve("harbour").adapter == ours.id


async def test_a_silent_chain_holds_up_a_call_once(ledger: Ledger, vetting: Vetting, chain: Chain) -> None:
    ads = [ad_of(f"seller {number}") for number in range(32)]
    records = ledger.sellers.of([ad.wallet for ad in ads])
    chain.is_silent = True
    with trio.fail_after(ASK_TIMEOUT_S + 1):
        fit, unfit = await vetting.choose(ads, records, 8)
    assert (fit, len(unfit)) == ([], 8)
    assert "it says nothing within 5 s, see [chain] rpc" in unfit[ads[0].peer_id].message
    chain.is_silent = False
    assert (await vetting.choose(ads[:1], records, 8))[0] == ads[:1]


async def test_a_wallet_without_a_bond_is_read_again_less_and_less_often(vetting: Vetting, chain: Chain) -> None:
    """As on a development network, where a node bonds and advertises at the same time."""
    ad = ad_of("new")
    chain.unbonded.add(ad.wallet)
    asked_s = []
    for second in range(300):
        if vetting.worth_of(ad).bonded_wei is None:
            asked_s.append(second)
            await vetting.read([ad])
        await trio.sleep(1)
    assert asked_s == [0, 5, 15, 35, 75, 135, 195, 255], "as seldom as it is likely"


async def test_unfit_sellers_are_read_again_if_none_is_fit(ledger: Ledger, vetting: Vetting, chain: Chain) -> None:
    """F: a seller was refused for up to a minute after its bond was in a block."""
    new, other = ad_of("new"), ad_of("other")
    chain.unbonded |= {new.wallet, other.wallet}
    records = ledger.sellers.of([new.wallet, other.wallet])
    fit, unfit = await vetting.choose([new, other], records, 8)
    assert (fit, set(unfit)) == ([], {new.peer_id, other.peer_id})
    chain.unbonded -= {new.wallet}
    assert (await vetting.choose([new, other], records, 8))[0] == [], "it was asked less than a second ago"
    await trio.sleep(WANTED_S)
    fit, unfit = await vetting.choose([new, other], records, 8)
    assert (fit, set(unfit)) == ([new], {other.peer_id})
    num_asked = chain.num_asked
    await trio.sleep(WANTED_S)
    assert (await vetting.choose([other, new], records, 8))[0] == [new]
    assert chain.num_asked == num_asked, "one that is fit is enough"


async def test_strangers_hide_no_seller_that_has_bonded(ledger: Ledger, vetting: Vetting, chain: Chain) -> None:
    new, strangers = ad_of("new"), [ad_of(f"stranger {number}") for number in range(64)]
    chain.unbonded |= {ad.wallet for ad in (new, *strangers)}
    records = ledger.sellers.of([ad.wallet for ad in (new, *strangers)])
    await vetting.read([*strangers, new])
    chain.unbonded -= {new.wallet}
    num_asked, seconds = chain.num_asked, 0
    while (await vetting.choose([*strangers, new], records, 8))[0] != [new]:
        await trio.sleep(WANTED_S)
        seconds += 1
    assert seconds <= 65 // 8 + 1
    assert chain.num_asked - num_asked < 5 * (len(strangers) + 1)


async def test_a_bond_that_was_read_long_ago_is_read_again(vetting: Vetting, chain: Chain) -> None:
    ads = [ad_of("first"), ad_of("second")]
    await vetting.read(ads[:1])
    await trio.sleep(1)
    await vetting.read(ads)
    await trio.sleep(STALE_S - 2)
    assert not vetting.stale(ads, 2)
    await trio.sleep(2)
    assert vetting.stale(ads, 1) == ads[:1]
    chain.unbonded.add(ads[0].wallet)
    await vetting.read(vetting.stale(ads, 1))
    assert vetting.worth_of(ads[0]).bonded_wei == 0
    assert vetting.stale(ads, 2) == ads[1:]


# ---- while the chain can't be asked, sellers that were fit lately go on


class Sellers:
    """Two sellers, and which of them a buyer may call."""

    def __init__(self, ledger: Ledger, vetting: Vetting) -> None:
        self.known, self.stranger = ad_of("seller"), ad_of("stranger")
        self._ledger, self._vetting = ledger, vetting

    async def choose(self) -> tuple[list[Advertisement], dict[PeerId, ProtocolError]]:
        both = [self.known, self.stranger]
        records = self._ledger.sellers.of([ad.wallet for ad in both])
        return await self._vetting.choose(both, records, 8)


@pytest.fixture
def sellers(ledger: Ledger, vetting: Vetting) -> Sellers:
    return Sellers(ledger, vetting)


async def test_while_the_chain_is_away_a_seller_is_called_that_was_fit_lately(sellers: Sellers, chain: Chain) -> None:
    chain.unbonded.add(sellers.stranger.wallet)
    await sellers.choose()
    chain.is_down = True
    await trio.sleep(KEPT_S + 1)
    fit, unfit = await sellers.choose()
    assert fit == [sellers.known]
    assert "the chain can't be asked about its wallet" in unfit[sellers.stranger.peer_id].message
    await trio.sleep(AWAY_S)
    fit, unfit = await sellers.choose()
    assert (fit, len(unfit)) == ([], 2)


async def test_a_seller_without_its_bond_is_not_called_once_the_chain_says_so(sellers: Sellers, chain: Chain) -> None:
    await sellers.choose()
    chain.is_down = True
    await trio.sleep(KEPT_S + 1)
    await sellers.choose()
    chain.is_down = False
    chain.unbonded.add(sellers.known.wallet)
    await trio.sleep(KEPT_S)
    assert (await sellers.choose())[0] == [sellers.stranger]


@pytest.mark.parametrize("goes_away", ["is_down", "is_silent"])
async def test_a_signer_that_was_fit_lately_is_believed(
    sellers: Sellers, vetting: Vetting, chain: Chain, goes_away: str
) -> None:
    known, stranger = sellers.known, sellers.stranger
    chain.strangers.add(stranger.signer)
    await sellers.choose()
    with pytest.raises(BadSignatureError):
        await vetting.check_signer(stranger.signer, stranger.wallet)
    setattr(chain, goes_away, True)
    num_asked = chain.num_asked
    for _ in range(3):
        await vetting.check_signer(known.signer, known.wallet)
    assert chain.num_asked == num_asked + 1
    for signer in (stranger.signer, known.signer):
        with pytest.raises(ChainError):
            await vetting.check_signer(signer, stranger.wallet)
