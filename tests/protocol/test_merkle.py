"""Both trees: every leaf proves itself at its own place and nowhere else."""

from dataclasses import replace
from typing import Any

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from support.signed import NODE, account, digest, uints

from openledger_protocol.errors import BadProofError, MalformedError
from openledger_protocol.merkle import (
    EMPTY_LEAF,
    TAG_ATTRIBUTION,
    TAG_RECEIPT,
    AttributionLeaf,
    ReceiptLeaf,
    SumNode,
    SumTree,
    Tree,
    attribution_leaf_hash,
    attribution_tree,
    check_proof,
    check_sum_proof,
    depth_of,
    receipt_leaf_hash,
    receipt_tree,
)
from openledger_protocol.primitives import ZERO_DIGEST, AdapterId, ChannelId, Nonce, Wei

RECEIPT = ReceiptLeaf(
    channel_id=ChannelId(digest("1")),
    seq=2,
    adapter_id=AdapterId(digest("3")),
    amount_wei=Wei(4),
    cumulative_wei=Wei(5),
    receipt_digest=digest("6"),
    shares_hash=digest("7"),
    nonce=Nonce(digest("8")),
)
SHARE = AttributionLeaf(pot=1, account=account(2), receipt_index=3, weight=4)

leaves = st.lists(st.integers(0, 2**32).map(lambda number: number.to_bytes(32, "big")), min_size=1, max_size=20)
weights = st.lists(uints(200), min_size=1, max_size=20)


def words(*values: int | str) -> bytes:
    return b"".join((int(v, 16) if isinstance(v, str) else v).to_bytes(32, "big") for v in values)


def summed(values: list[int]) -> list[SumNode]:
    return [SumNode(hash=keccak(bytes([index])), weight=weight) for index, weight in enumerate(values)]


@pytest.mark.parametrize(
    ("count", "depth"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (1024, 10)]
)
def test_a_trees_depth_is_the_logarithm_rounded_up(count: int, depth: int) -> None:
    assert depth_of(count) == depth


@given(leaves)
def test_every_leaf_is_proven_at_its_index(hashes: list[bytes]) -> None:
    tree = Tree.of(hashes)
    for index, leaf in enumerate(hashes):
        assert len(tree.proof(index)) == depth_of(len(hashes))
        check_proof(tree.root, len(hashes), index, leaf, tree.proof(index))


@given(leaves, st.data())
def test_no_leaf_is_proven_at_another_index(hashes: list[bytes], data: st.DataObject) -> None:
    tree, index = Tree.of(hashes), data.draw(st.integers(0, len(hashes) - 1))
    other = data.draw(st.integers(0, len(hashes) - 1))
    if hashes[index] != hashes[other]:
        with pytest.raises(BadProofError, match="not to the root"):
            check_proof(tree.root, len(hashes), other, hashes[index], tree.proof(other))


def test_a_tree_of_three_is_filled_up_with_the_empty_leaf() -> None:
    a, b, c = (bytes([number]) * 32 for number in (1, 2, 3))
    expected = keccak(keccak(a + b) + keccak(c + EMPTY_LEAF))
    assert Tree.of([a, b, c]).root == "0x" + expected.hex()


def test_a_sum_tree_of_three_is_filled_up_at_weight_zero() -> None:
    a, b, c = summed([1, 2, 4])
    left = keccak(a.hash + b.hash + words(1, 2))
    right = keccak(c.hash + EMPTY_LEAF + words(4, 0))
    assert SumTree.of([a, b, c]).root == "0x" + keccak(left + right + words(3, 4)).hex()


def test_a_tree_of_one_is_its_leaf_and_one_of_none_is_zero() -> None:
    assert Tree.of([b"\x01" * 32]).root == "0x" + "01" * 32
    assert SumTree.of(summed([5])).root == "0x" + summed([5])[0].hash.hex()
    assert Tree.of([]).root == SumTree.of([]).root == ZERO_DIGEST
    assert receipt_tree([], node=NODE, claim_seq=1).root == attribution_tree([], node=NODE, claim_seq=1).root


@given(weights)
def test_a_sum_proof_gives_the_weight_before_a_leaf_and_of_all(values: list[int]) -> None:
    nodes = summed(values)
    tree = SumTree.of(nodes)
    for index, node in enumerate(nodes):
        before, total = check_sum_proof(tree.root, len(nodes), index, node, tree.proof(index))
        assert (before, total) == (sum(values[:index]), sum(values))


@given(weights, st.data())
def test_a_wrong_weight_anywhere_in_a_sum_proof_is_refused(values: list[int], data: st.DataObject) -> None:
    nodes = summed([*values, 1])
    tree, index = SumTree.of(nodes), data.draw(st.integers(0, len(values)))
    proof = list(tree.proof(index))
    wrong = data.draw(st.integers(0, len(proof)))
    leaf = nodes[index]
    if wrong < len(proof):
        proof[wrong] = replace(proof[wrong], weight=proof[wrong].weight + 1)
    else:
        leaf = replace(leaf, weight=leaf.weight + 1)
    with pytest.raises(BadProofError, match="not to the root"):
        check_sum_proof(tree.root, len(nodes), index, leaf, proof)


@pytest.mark.parametrize(
    ("count", "index", "length", "message"),
    [
        (3, 3, 2, "a tree of 3 leaves has none at 3"),
        (3, -1, 2, "a tree of 3 leaves has none at -1"),
        (0, 0, 0, "a tree of 0 leaves has none at 0"),
        (3, 0, 1, "has 2 steps, not 1"),
        (3, 0, 3, "has 2 steps, not 3"),
        (5, 0, 2, "has 3 steps, not 2"),
    ],
)
def test_a_proof_of_another_place_or_length_is_refused(count: int, index: int, length: int, message: str) -> None:
    with pytest.raises(BadProofError, match=message):
        check_proof(digest("1"), count, index, bytes(32), [bytes(32)] * length)
    with pytest.raises(BadProofError, match=message):
        check_sum_proof(digest("1"), count, index, SumNode(hash=bytes(32), weight=0), summed([0] * length))


def test_the_filler_is_at_no_index() -> None:
    tree = Tree.of([b"\x01" * 32, b"\x02" * 32, b"\x03" * 32])
    with pytest.raises(BadProofError, match="none at 3"):
        check_proof(tree.root, 3, 3, EMPTY_LEAF, tree.proof(3))


@pytest.mark.parametrize("weight", [-1, 2**256 - 1])
def test_weights_that_could_cancel_others_are_refused(weight: int) -> None:
    leaf, sibling = SumNode(hash=bytes(32), weight=1), SumNode(hash=bytes(32), weight=weight)
    with pytest.raises(BadProofError, match="negative or over 256 bits"):
        check_sum_proof(digest("1"), 2, 0, leaf, [sibling])
    with pytest.raises(MalformedError, match="is no uint256"):
        SumTree.of([leaf, SumNode(hash=bytes(32), weight=-1)])


def test_a_receipts_leaf_is_hashed_twice_over_its_tag_and_eleven_words() -> None:
    inner = keccak(
        TAG_RECEIPT + words(NODE, 9, 0, digest("1"), 2, digest("3"), 4, 5, digest("6"), digest("7"), digest("8"))
    )
    assert receipt_leaf_hash(RECEIPT, node=NODE, claim_seq=9, index=0) == keccak(inner)
    assert keccak(b"openledger.receipt-leaf/1") == TAG_RECEIPT


def test_an_attribution_leaf_is_hashed_twice_over_its_tag_and_seven_words() -> None:
    inner = keccak(TAG_ATTRIBUTION + words(NODE, 9, 7, 1, account(2), 3, 4))
    assert attribution_leaf_hash(SHARE, node=NODE, claim_seq=9, index=7) == keccak(inner)
    assert keccak(b"openledger.attribution-leaf/1") == TAG_ATTRIBUTION


@pytest.mark.parametrize("place", [{"node": account(1)}, {"claim_seq": 8}, {"index": 1}])
def test_a_leaf_counts_for_one_place_of_one_claim(place: dict[str, Any]) -> None:
    here: dict[str, Any] = {"node": NODE, "claim_seq": 9, "index": 0}
    assert receipt_leaf_hash(RECEIPT, **here) != receipt_leaf_hash(RECEIPT, **{**here, **place})
    assert attribution_leaf_hash(SHARE, **here) != attribution_leaf_hash(SHARE, **{**here, **place})


def test_the_trees_of_a_claim_prove_their_leaves() -> None:
    receipts = [replace(RECEIPT, seq=seq) for seq in range(5)]
    tree = receipt_tree(receipts, node=NODE, claim_seq=9)
    leaf = receipt_leaf_hash(receipts[4], node=NODE, claim_seq=9, index=4)
    check_proof(tree.root, 5, 4, leaf, tree.proof(4))
    shares = [replace(SHARE, receipt_index=index, weight=10 + index) for index in range(5)]
    sums = attribution_tree(shares, node=NODE, claim_seq=9)
    hashed = attribution_leaf_hash(shares[3], node=NODE, claim_seq=9, index=3)
    assert check_sum_proof(sums.root, 5, 3, SumNode(hash=hashed, weight=13), sums.proof(3)) == (33, 60)
