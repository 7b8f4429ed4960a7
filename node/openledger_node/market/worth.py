"""The worth of advertisements: which ones keep their places on the board, by stake and not by arrival."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.primitives import Wei

BASE_MAX, OTHERS_MAX = 512, 1_024
"""Advertisements on the board: of one base, and of all bases together but the node's own."""

OTHER_SHARDS_MAX = 128
"""Advertisements of a base from other shards than the one that the node follows."""

UNFOLLOWED_MAX, UNFOLLOWED_ALL_MAX = 4, 256
"""Advertisements of a base that the node does not follow, and of all such bases: they show what the network has."""

WALLET_MAX, SUBNET_MAX, UNBONDED_MAX = 4, 8, 64
"""Advertisements of one wallet and of one public /24, and of a base by all wallets whose bond is too small."""

UNPROVEN_MAX = 320
"""Advertisements of a base by wallets whose bond is too small or was not read yet. A peer tells a newcomer so many at
once, and they must all stay until their bonds are read."""


class Coverage(Enum):
    """The part that an advertisement has in what a node follows."""

    OWN_BASE = "own base"
    FOLLOWED = "followed base"
    OTHER_SHARD = "other shard"
    """Of a base that is followed, but by a seller of another shard."""
    OTHER_BASE = "other base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """The chain's word on an advertiser, and this node's own experience with it."""

    bonded_wei: Wei | None = None  # of its wallet, by the chain; None: not read yet
    num_answers: int = 0  # of its wallet to this node

    @property
    def is_bonded(self) -> bool:
        """True if the chain says that its wallet has a bond, and that its signer may sign for the wallet."""
        return bool(self.bonded_wei)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An advertisement on the board, and the order in which it came."""

    ad: Advertisement
    number: int


WorthOf = Callable[[Advertisement], Worth]
CoverageOf = Callable[[Advertisement], Coverage]


def covers_all(_: Advertisement) -> Coverage:
    """The coverage of a node that follows every base."""
    return Coverage.FOLLOWED


def crowded_out(
    placed: Mapping[str, Placed],
    newest: Advertisement,
    worth_of: WorthOf,
    coverage_of: CoverageOf = covers_all,
    *,
    now_s: float,
) -> str | None:
    """The peer whose advertisement has to make room, now that `newest` is on the board; None if there is room.

    In each group that is over its limit the worst makes room. A wallet that nothing proves is no group of its own, or
    anyone could take the places of another's.
    """
    # NOTE: each new advertisement is compared with all others. A group that is not full must cost little.
    for is_member, limit in (*_groups(newest, worth_of), *_base_groups(newest, coverage_of)):
        members = [each for each in placed.values() if is_member(each.ad)] if len(placed) > limit else []
        if len(members) > limit:
            return min(members, key=lambda each: _rank(each, worth_of(each.ad), now_s)).ad.peer_id
    return None


def _is_in(subnet: str, ad: Advertisement) -> bool:
    return subnet in _public_subnets(ad.addresses)


def _groups(newest: Advertisement, worth_of: WorthOf) -> Iterable[tuple[Callable[[Advertisement], bool], int]]:
    """The groups that the newest advertisement belongs to, each with its limit."""
    is_bonded, wallet, signer, base = worth_of(newest).is_bonded, newest.wallet, newest.signer, newest.base
    if is_bonded:
        yield (lambda ad: ad.wallet == wallet and worth_of(ad).is_bonded), WALLET_MAX
    else:
        yield (lambda ad: ad.wallet == wallet and ad.signer == signer), WALLET_MAX
    for subnet in _public_subnets(newest.addresses):
        yield partial(_is_in, subnet), SUBNET_MAX
    if not is_bonded:
        yield (lambda ad: ad.base == base and worth_of(ad).bonded_wei == 0), UNBONDED_MAX
        yield (lambda ad: ad.base == base and not worth_of(ad).is_bonded), UNPROVEN_MAX
    yield (lambda ad: ad.base == base), BASE_MAX


def _base_groups(
    newest: Advertisement, coverage_of: CoverageOf
) -> Iterable[tuple[Callable[[Advertisement], bool], int]]:
    """The groups that keep what a node follows from being crowded out by what it does not follow."""
    coverage = coverage_of(newest)

    def is_alike(ad: Advertisement) -> bool:
        return coverage_of(ad) is coverage

    if coverage in (Coverage.OTHER_SHARD, Coverage.OTHER_BASE):
        limit = OTHER_SHARDS_MAX if coverage is Coverage.OTHER_SHARD else UNFOLLOWED_MAX
        yield (lambda ad: ad.base == newest.base and is_alike(ad)), limit
    if coverage is Coverage.OTHER_BASE:
        yield is_alike, UNFOLLOWED_ALL_MAX
    if coverage is not Coverage.OWN_BASE:
        yield (lambda ad: coverage_of(ad) is not Coverage.OWN_BASE), OTHERS_MAX


def _rank(placed: Placed, worth: Worth, now_s: float) -> tuple[int, bool, float, int]:
    """Bonded first, then known by answers to this node, then bond × time left; not read yet before not bonded.

    Among those that are alike the oldest makes room, so that a newcomer is there until its bond is read.
    """
    stage = 2 if worth.is_bonded else 1 if worth.bonded_wei is None else 0
    stake = float(worth.bonded_wei or 0) * max(0.0, placed.ad.expires_s - now_s)
    return stage, worth.num_answers > 0, stake, placed.number


@lru_cache(maxsize=2 * (BASE_MAX + OTHERS_MAX))
def _public_subnets(addresses: tuple[str, ...]) -> frozenset[str]:
    """The public IPv4 networks of 256 addresses among addresses; others are shared by strangers at home."""
    # NOTE: each new advertisement is compared with all others, and reading their addresses anew took 80 times longer.
    found = set()
    for address in addresses:
        kind, _, rest = address.removeprefix("/").partition("/")
        host = rest.partition("/")[0]
        if kind == "ip4" and _is_public(host):
            found.add(host.rpartition(".")[0])
    return frozenset(found)


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False
