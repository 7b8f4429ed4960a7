"""A binary tree in which each inner node hashes its children and their sums.

The leaves are amounts, end to end on a line, and a proof shows a leaf and the place on the line where it begins. A
claim has two such trees over the same money: the contract's, over its items, and the node's, over its receipts.
Source: `contracts/src/lib/SumTree.sol`, which fills up to a power of two with zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from eth_hash.auto import keccak

from .eip712 import hex_digest, uint_word
from .errors import BadProofError
from .primitives import ZERO_DIGEST, Digest

SUM_BITS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class SumLeaf:
    """A leaf's tagged hash, and its amount."""

    hash: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SumProof:
    """A leaf's number, and on each level, from the leaf up, the other child and its sum."""

    index: int
    siblings: tuple[bytes, ...]
    sums: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumTree:
    """All levels of a tree, from its leaves to its root."""

    levels: tuple[tuple[SumLeaf, ...], ...]

    @classmethod
    def of(cls, leaves: Sequence[SumLeaf]) -> Self:
        """Build the tree over these leaves, of which there is at least one.

        Raises:
            MalformedError: the amounts sum to more than 128 bits.
        """
        width = 1 << (len(leaves) - 1).bit_length()
        level = (*leaves, *[SumLeaf(hash=bytes(32), amount=0)] * (width - len(leaves)))
        levels = [level]
        while len(level) > 1:
            level = tuple(_node(level[i], level[i + 1]) for i in range(0, len(level), 2))
            levels.append(level)
        return cls(levels=tuple(levels))

    @property
    def root(self) -> Digest:
        """The root."""
        return hex_digest(self.levels[-1][0].hash)

    def proof(self, index: int) -> SumProof:
        """Prove the leaf with this number."""
        beside = [level[index >> height ^ 1] for height, level in enumerate(self.levels[:-1])]
        return SumProof(
            index=index,
            siblings=tuple(node.hash for node in beside),
            sums=tuple(node.amount for node in beside),
        )


def sum_root(leaves: Sequence[SumLeaf]) -> Digest:
    """The root over leaves; zero without any."""
    return SumTree.of(leaves).root if leaves else ZERO_DIGEST


def place_of(root: Digest, leaf: SumLeaf, proof: SumProof) -> int:
    """The place where a leaf begins, which is the sum of all leaves before it.

    Raises:
        BadProofError: the leaf is not there in the tree.
        MalformedError: the sums have more than 128 bits.
    """
    if len(proof.sums) != len(proof.siblings) or proof.index >> len(proof.siblings):
        raise BadProofError(f"a proof of {len(proof.siblings)} steps has no leaf {proof.index}")
    place, node = 0, leaf
    for height, (sibling, amount) in enumerate(zip(proof.siblings, proof.sums, strict=True)):
        beside = SumLeaf(hash=sibling, amount=amount)
        if proof.index >> height & 1:
            place += amount
            node = _node(beside, node)
        else:
            node = _node(node, beside)
    if hex_digest(node.hash) != root:
        raise BadProofError(f"the proof leads to {hex_digest(node.hash)}, not to the root {root}")
    return place


def _node(left: SumLeaf, right: SumLeaf) -> SumLeaf:
    uint_word(left.amount + right.amount, SUM_BITS)
    sums = uint_word(left.amount, SUM_BITS)[16:] + uint_word(right.amount, SUM_BITS)[16:]
    return SumLeaf(hash=keccak(left.hash + right.hash + sums), amount=left.amount + right.amount)
