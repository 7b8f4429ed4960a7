"""The worth of advertisements: which ones keep their places on the board, by stake and not by arrival."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.primitives import Wei

from .places import Placed, PlacedAds, public_subnets

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


WorthOf = Callable[[Advertisement], Worth]
CoverageOf = Callable[[Advertisement], Coverage]


def covers_all(_: Advertisement) -> Coverage:
    """The coverage of a node that follows every base."""
    return Coverage.FOLLOWED


Members = tuple[Mapping[str, Placed], Callable[[Advertisement], bool], int]
"""A group: the advertisements among which it is, its members, and its limit."""


def crowded_out(
    places: PlacedAds,
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
    for among, is_member, limit in (*_groups(places, newest, worth_of), *_base_groups(places, newest, coverage_of)):
        members = [each for each in among.values() if is_member(each.ad)] if len(among) > limit else []
        if len(members) > limit:
            return min(members, key=lambda each: _rank(each, worth_of(each.ad), now_s)).ad.peer_id
    return None


def _groups(places: PlacedAds, newest: Advertisement, worth_of: WorthOf) -> Iterable[Members]:
    """The groups that the newest advertisement belongs to."""
    is_bonded, signer = worth_of(newest).is_bonded, newest.signer
    same_wallet, same_base = places.of("wallet", newest.wallet), places.of("base", newest.base)
    if is_bonded:
        yield same_wallet, (lambda ad: worth_of(ad).is_bonded), WALLET_MAX
    else:
        yield same_wallet, (lambda ad: ad.signer == signer), WALLET_MAX
    for subnet in public_subnets(newest.addresses):
        yield places.of("subnet", subnet), _is_any, SUBNET_MAX
    if not is_bonded:
        yield same_base, (lambda ad: worth_of(ad).bonded_wei == 0), UNBONDED_MAX
        yield same_base, (lambda ad: not worth_of(ad).is_bonded), UNPROVEN_MAX
    yield same_base, _is_any, BASE_MAX


def _is_any(_: Advertisement) -> bool:
    return True


def _base_groups(places: PlacedAds, newest: Advertisement, coverage_of: CoverageOf) -> Iterable[Members]:
    """The groups that keep what a node follows from being crowded out by what it does not follow."""
    coverage = coverage_of(newest)

    def is_alike(ad: Advertisement) -> bool:
        return coverage_of(ad) is coverage

    if coverage in (Coverage.OTHER_SHARD, Coverage.OTHER_BASE):
        limit = OTHER_SHARDS_MAX if coverage is Coverage.OTHER_SHARD else UNFOLLOWED_MAX
        yield places.of("base", newest.base), is_alike, limit
    if coverage is Coverage.OTHER_BASE:
        yield places, is_alike, UNFOLLOWED_ALL_MAX
    if coverage is not Coverage.OWN_BASE:
        yield places, (lambda ad: coverage_of(ad) is not Coverage.OWN_BASE), OTHERS_MAX


def _rank(placed: Placed, worth: Worth, now_s: float) -> tuple[int, bool, float, int]:
    """Bonded first, then known by answers to this node, then bond × time left; not read yet before not bonded.

    Among those that are alike the oldest makes room, so that a newcomer is there until its bond is read.
    """
    stage = 2 if worth.is_bonded else 1 if worth.bonded_wei is None else 0
    stake = float(worth.bonded_wei or 0) * max(0.0, placed.ad.expires_s - now_s)
    return stage, worth.num_answers > 0, stake, placed.number
