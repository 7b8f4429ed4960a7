"""The points of a payout list that a seed draws, and the receipts that show them.

First a pot is drawn, with the chance of its amount, then a place in its list, with the chance of its weight. So a
part f of all money that no receipts can show is missed by K points with the chance (1 − f)^K.
Source: `contracts/src/lib/Draws.sol`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

from .abi import abi_encode
from .constants import PPM
from .eip712 import digest_word
from .primitives import Address, Digest
from .settlement import NOBODY, ClaimRecord, Payout


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A drawn place: `offset` in the entry of `account` in the list of a pot."""

    pot: int
    account: Address  # NOBODY needs no receipt
    offset: int


def drawn_points(seed: Digest, record: ClaimRecord, payouts: Sequence[Payout], num_draws: int) -> list[Point]:
    """The points that a seed draws; none if the pots hold nothing or the list is empty."""
    if not payouts or not any(pot.amount_wei for pot in record.pots):
        return []
    return [_point(seed, record, payouts, number) for number in range(num_draws)]


def _point(seed: Digest, record: ClaimRecord, payouts: Sequence[Payout], number: int) -> Point:
    total = sum(pot.amount_wei for pot in record.pots)
    types = ["bytes32", "address", "uint64", "uint256"]
    random = keccak(abi_encode(types, [digest_word(seed), record.node, record.seq, number]))
    money, pot = _number(random) % total, 0
    while money >= record.pots[pot].amount_wei:
        money -= record.pots[pot].amount_wei
        pot += 1
    # Hashed again, since a list of a large token is longer than the bits that the first number leaves.
    place = _number(keccak(random)) % (PPM * record.pots[pot].gross_wei)
    for payout in payouts:
        if payout.pot == pot:
            if place < payout.weight:
                return Point(pot=pot, account=payout.account, offset=place)
            place -= payout.weight
    return Point(pot=pot, account=NOBODY, offset=0)  # the pot is not listed


def _number(word: bytes) -> int:
    return int.from_bytes(word, "big")
