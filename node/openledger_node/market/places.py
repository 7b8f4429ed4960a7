"""Places on the board: advertisements by peer id, and those of each wallet, public /24 and base."""

import ipaddress
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from openledger_protocol.advertisement import Advertisement

SUBNETS_KEPT = 4_096
"""Lists of addresses whose networks are remembered."""

Group = tuple[str, str]
"""The kind of a group (wallet, subnet, base), and which one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An advertisement on the board, and the order in which it came."""

    ad: Advertisement
    number: int


class PlacedAds(Mapping[str, Placed]):
    """Advertisements by peer id. Each new one is compared with its own groups only, not with the whole board."""

    def __init__(self) -> None:
        self._placed: dict[str, Placed] = {}
        self._groups: defaultdict[Group, dict[str, Placed]] = defaultdict(dict)

    def __getitem__(self, peer_id: str) -> Placed:
        return self._placed[peer_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._placed)

    def __len__(self) -> int:
        return len(self._placed)

    def of(self, kind: str, which: str) -> Mapping[str, Placed]:
        """The advertisements of one wallet, public /24 or base."""
        return self._groups.get((kind, which), {})

    def put(self, placed: Placed) -> None:
        """Place an advertisement, instead of the one that its peer had."""
        peer_id = placed.ad.peer_id
        self.drop(peer_id)
        self._placed[peer_id] = placed
        for group in _groups_of(placed.ad):
            self._groups[group][peer_id] = placed

    def drop(self, peer_id: str) -> None:
        """Take a peer's advertisement off, if there is one."""
        if placed := self._placed.pop(peer_id, None):
            for group in _groups_of(placed.ad):
                members = self._groups[group]
                del members[peer_id]
                if not members:
                    del self._groups[group]


def _groups_of(ad: Advertisement) -> list[Group]:
    subnets = [("subnet", each) for each in public_subnets(ad.addresses)]
    return [("wallet", ad.wallet), ("base", ad.base), *subnets]


@lru_cache(maxsize=SUBNETS_KEPT)
def public_subnets(addresses: tuple[str, ...]) -> frozenset[str]:
    """The public IPv4 networks of 256 addresses among addresses; others are shared by strangers at home."""
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
