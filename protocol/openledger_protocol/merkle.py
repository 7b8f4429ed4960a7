"""The two Merkle trees of a claim: its receipts, and each contributor's part of each receipt.

The index is the path, and all proofs of a tree have the same length, so nobody can move a leaf or hide one behind
another. Leaves are hashed twice and carry a tag, so that no node can pass as a leaf, nor a leaf of one tree as one of
the other. A tree is padded to a power of two with the hash of an unused tag, at weight zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from eth_hash.auto import keccak

from .eip712 import address_word, digest_word, hex_digest, type_hash, uint_word
from .errors import BadProofError
from .primitives import ZERO_DIGEST, AdapterId, Address, ChannelId, Digest, Nonce, Wei

TAG_RECEIPT = type_hash("openledger.receipt-leaf/1")
TAG_ATTRIBUTION = type_hash("openledger.attribution-leaf/1")
EMPTY_LEAF = type_hash("openledger.empty-leaf/1")
"""The padding of a level; its weight in the sum tree is zero."""

WEIGHT_BITS = 256

Node = TypeVar("Node")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptLeaf:
    """A receipt in its claim's tree; leaves ascend by (channel, seq)."""

    channel_id: ChannelId
    seq: int
    adapter_id: AdapterId
    amount_wei: Wei
    cumulative_wei: Wei
    receipt_digest: Digest
    shares_hash: Digest
    nonce: Nonce  # zero: the payer did not countersign


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionLeaf:
    """One receipt's contribution to one payout; leaves ascend by (pot, account, receipt)."""

    pot: int
    account: Address
    receipt_index: int  # in the tree of receipts
    weight: int  # amount · ppm


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree of hashes, from leaves to root."""

    levels: tuple[tuple[bytes, ...], ...]

    @classmethod
    def of(cls, leaves: Sequence[bytes]) -> Self:
        """Build a tree over hashes of leaves."""
        level = _filled(leaves, EMPTY_LEAF)
        levels = [level]
        while len(level) > 1:
            level = tuple(keccak(level[i] + level[i + 1]) for i in range(0, len(level), 2))
            levels.append(level)
        return cls(levels=tuple(levels))

    @property
    def root(self) -> Digest:
        """The root; zero for a tree without leaves."""
        return _root(self.levels[-1])

    def proof(self, index: int) -> tuple[bytes, ...]:
        """The siblings on the path from a leaf to the root."""
        return tuple(level[(index >> height) ^ 1] for height, level in enumerate(self.levels[:-1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class SumNode:
    """A node of the sum tree: its hash, and the total weight of the leaves below it."""

    hash: bytes
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SumTree:
    """A tree whose nodes also hash their children's weights, so that the weight of the first leaves is provable."""

    levels: tuple[tuple[SumNode, ...], ...]

    @classmethod
    def of(cls, leaves: Sequence[SumNode]) -> Self:
        """Build a tree over hashes and weights of leaves."""
        level = _filled(leaves, SumNode(hash=EMPTY_LEAF, weight=0))
        levels = [level]
        while len(level) > 1:
            level = tuple(_sum_node(level[i], level[i + 1]) for i in range(0, len(level), 2))
            levels.append(level)
        return cls(levels=tuple(levels))

    @property
    def root(self) -> Digest:
        """The root; zero for a tree without leaves."""
        return _root([node.hash for node in self.levels[-1]])

    def proof(self, index: int) -> tuple[SumNode, ...]:
        """The siblings on the path from a leaf to the root, with their weights."""
        return tuple(level[(index >> height) ^ 1] for height, level in enumerate(self.levels[:-1]))


def receipt_leaf_hash(leaf: ReceiptLeaf, *, node: Address, claim_seq: int, index: int) -> bytes:
    """Hash a leaf bound to its place: the claim of one node, and the index there."""
    return _leaf_hash(
        TAG_RECEIPT,
        address_word(node),
        uint_word(claim_seq, 64),
        uint_word(index, 32),
        digest_word(leaf.channel_id),
        uint_word(leaf.seq, 64),
        digest_word(leaf.adapter_id),
        uint_word(leaf.amount_wei, 128),
        uint_word(leaf.cumulative_wei, 128),
        digest_word(leaf.receipt_digest),
        digest_word(leaf.shares_hash),
        digest_word(leaf.nonce),
    )


def attribution_leaf_hash(leaf: AttributionLeaf, *, node: Address, claim_seq: int, index: int) -> bytes:
    """Hash a leaf bound to its place: the claim of one node, and the index there."""
    return _leaf_hash(
        TAG_ATTRIBUTION,
        address_word(node),
        uint_word(claim_seq, 64),
        uint_word(index, 32),
        uint_word(leaf.pot, 16),
        address_word(leaf.account),
        uint_word(leaf.receipt_index, 32),
        uint_word(leaf.weight, WEIGHT_BITS),
    )


def receipt_tree(leaves: Sequence[ReceiptLeaf], *, node: Address, claim_seq: int) -> Tree:
    """The tree of a claim's receipts."""
    return Tree.of(
        [receipt_leaf_hash(leaf, node=node, claim_seq=claim_seq, index=index) for index, leaf in enumerate(leaves)]
    )


def attribution_tree(leaves: Sequence[AttributionLeaf], *, node: Address, claim_seq: int) -> SumTree:
    """The tree of contributors' parts of a claim's receipts, summed by weight."""
    hashes = (
        attribution_leaf_hash(leaf, node=node, claim_seq=claim_seq, index=index) for index, leaf in enumerate(leaves)
    )
    return SumTree.of([SumNode(hash=hash_, weight=leaf.weight) for hash_, leaf in zip(hashes, leaves, strict=True)])


def check_proof(root: Digest, count: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> None:
    """Require that a leaf is at `index` of the tree with `count` leaves and this root.

    Raises:
        BadProofError: the index, the proof's length or its root is wrong.
    """
    _check_place(count, index, len(proof))
    for height, sibling in enumerate(proof):
        leaf = keccak(sibling + leaf) if index >> height & 1 else keccak(leaf + sibling)
    _check_end(leaf, root)


def check_sum_proof(root: Digest, count: int, index: int, leaf: SumNode, proof: Sequence[SumNode]) -> tuple[int, int]:
    """Require that a leaf is at `index`; return the weight of all leaves before it, and of all leaves.

    Raises:
        BadProofError: the index, the proof's length or its root is wrong, or a weight has more than 256 bits.
    """
    _check_place(count, index, len(proof))
    before = 0
    for height, sibling in enumerate(proof):
        if index >> height & 1:
            before += sibling.weight
            leaf = _checked_sum_node(sibling, leaf)
        else:
            leaf = _checked_sum_node(leaf, sibling)
    _check_end(leaf.hash, root)
    return before, leaf.weight


def depth_of(count: int) -> int:
    """The length of every proof in a tree of `count` leaves: ceil(log2 count)."""
    return max(count - 1, 0).bit_length()


def _leaf_hash(tag: bytes, *words: bytes) -> bytes:
    return keccak(keccak(tag + b"".join(words)))


def _filled(leaves: Sequence[Node], empty: Node) -> tuple[Node, ...]:
    if not leaves:
        return ()
    padding = [empty] * (2 ** depth_of(len(leaves)) - len(leaves))
    return (*leaves, *padding)


def _sum_node(left: SumNode, right: SumNode) -> SumNode:
    weights = uint_word(left.weight, WEIGHT_BITS) + uint_word(right.weight, WEIGHT_BITS)
    return SumNode(hash=keccak(left.hash + right.hash + weights), weight=left.weight + right.weight)


def _checked_sum_node(left: SumNode, right: SumNode) -> SumNode:
    # A weight that wraps around or is negative could cancel another.
    if min(left.weight, right.weight) < 0 or (left.weight + right.weight) >> WEIGHT_BITS:
        raise BadProofError(f"the weights in a proof are negative or over {WEIGHT_BITS} bits")
    return _sum_node(left, right)


def _root(top: Sequence[bytes]) -> Digest:
    return hex_digest(top[0]) if top else ZERO_DIGEST


def _check_place(count: int, index: int, length: int) -> None:
    if not 0 <= index < count:
        raise BadProofError(f"a tree of {count} leaves has none at {index}")
    if length != depth_of(count):
        raise BadProofError(f"a proof in a tree of {count} leaves has {depth_of(count)} steps, not {length}")


def _check_end(end: bytes, root: Digest) -> None:
    if hex_digest(end) != root:
        raise BadProofError(f"the proof leads to {hex_digest(end)}, not to the root {root}")
