"""A Merkle tree over hashes, as Datanets commit to their rows.

The index is the path, and all proofs of a tree have the same length, so nobody can move a leaf or hide one behind
another. A tree is padded to a power of two with the hash of an unused tag.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from eth_hash.auto import keccak

from .eip712 import hex_digest, type_hash
from .errors import BadProofError
from .primitives import ZERO_DIGEST, Digest

EMPTY_LEAF = type_hash("openledger.empty-leaf/1")
"""The padding of a tree's lowest level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree of hashes, from leaves to root."""

    levels: tuple[tuple[bytes, ...], ...]

    @classmethod
    def of(cls, leaves: Sequence[bytes]) -> Self:
        """Build a tree over hashes of leaves."""
        level = _filled(leaves)
        levels = [level]
        while len(level) > 1:
            level = tuple(keccak(level[i] + level[i + 1]) for i in range(0, len(level), 2))
            levels.append(level)
        return cls(levels=tuple(levels))

    @property
    def root(self) -> Digest:
        """The root; zero for a tree without leaves."""
        return hex_digest(self.levels[-1][0]) if self.levels[-1] else ZERO_DIGEST

    def proof(self, index: int) -> tuple[bytes, ...]:
        """The siblings on the path from a leaf to the root."""
        return tuple(level[(index >> height) ^ 1] for height, level in enumerate(self.levels[:-1]))


def check_proof(root: Digest, count: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> None:
    """Require that a leaf is at `index` of the tree with `count` leaves and this root.

    Raises:
        BadProofError: the index, the proof's length or its root is wrong.
    """
    _check_place(count, index, len(proof))
    for height, sibling in enumerate(proof):
        leaf = keccak(sibling + leaf) if index >> height & 1 else keccak(leaf + sibling)
    _check_end(leaf, root)


def depth_of(count: int) -> int:
    """The length of every proof in a tree of `count` leaves: ceil(log2 count)."""
    return max(count - 1, 0).bit_length()


def _filled(leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    if not leaves:
        return ()
    return (*leaves, *[EMPTY_LEAF] * (2 ** depth_of(len(leaves)) - len(leaves)))


def _check_place(count: int, index: int, length: int) -> None:
    if not 0 <= index < count:
        raise BadProofError(f"a tree of {count} leaves has none at {index}")
    if length != depth_of(count):
        raise BadProofError(f"a proof in a tree of {count} leaves has {depth_of(count)} steps, not {length}")


def _check_end(end: bytes, root: Digest) -> None:
    if hex_digest(end) != root:
        raise BadProofError(f"the proof leads to {hex_digest(end)}, not to the root {root}")
