"""The tree whose leaves are amounts on a line: a proof shows a leaf and where it begins, and nothing else."""

from dataclasses import replace
from itertools import pairwise

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from support.signed import digest, uints

from openledger_protocol.errors import BadProofError, MalformedError
from openledger_protocol.primitives import Digest
from openledger_protocol.sum_tree import SumLeaf, SumProof, SumTree, place_of, sum_root

amounts = st.lists(uints(120), min_size=1, max_size=20)


def leaves_of(values: list[int]) -> list[SumLeaf]:
    return [SumLeaf(hash=keccak(bytes([index])), amount=amount) for index, amount in enumerate(values)]


def node(left: bytes, right: bytes, left_sum: int, right_sum: int) -> bytes:
    return keccak(left + right + left_sum.to_bytes(16, "big") + right_sum.to_bytes(16, "big"))


@given(amounts)
def test_every_leaf_is_proven_at_the_sum_of_those_before_it(values: list[int]) -> None:
    leaves = leaves_of(values)
    tree = SumTree.of(leaves)
    places = [place_of(tree.root, leaf, tree.proof(index)) for index, leaf in enumerate(leaves)]
    assert places == [sum(values[:index]) for index in range(len(values))]
    assert tree.levels[-1][0].amount == sum(values)


@given(amounts, st.data())
def test_no_leaf_is_proven_by_the_proof_of_another(values: list[int], data: st.DataObject) -> None:
    leaves = leaves_of([*values, 1])
    tree = SumTree.of(leaves)
    index, other = data.draw(st.permutations(range(len(leaves))))[:2]
    with pytest.raises(BadProofError, match="not to the root"):
        place_of(tree.root, leaves[index], tree.proof(other))


@given(amounts, st.data())
def test_a_wrong_amount_anywhere_in_a_proof_is_refused(values: list[int], data: st.DataObject) -> None:
    leaves = leaves_of([*values, 1])
    tree, index = SumTree.of(leaves), data.draw(st.integers(0, len(values)))
    proof, leaf = tree.proof(index), leaves[index]
    wrong = data.draw(st.integers(0, len(proof.sums)))
    if wrong < len(proof.sums):
        sums = [*proof.sums]
        sums[wrong] += 1
        proof = replace(proof, sums=tuple(sums))
    else:
        leaf = replace(leaf, amount=leaf.amount + 1)
    with pytest.raises(BadProofError, match="not to the root"):
        place_of(tree.root, leaf, proof)


FIVE = leaves_of([1, 2, 4, 8, 16])
TREE = SumTree.of(FIVE)
PROOF = TREE.proof(3)


@pytest.mark.parametrize(
    ("leaf", "proof", "message"),
    [
        (replace(FIVE[3], hash=bytes(32)), PROOF, "not to the root"),
        (FIVE[3], replace(PROOF, index=3 + 8), "a proof of 3 steps has no leaf 11"),
        (FIVE[3], replace(PROOF, index=-5), "a proof of 3 steps has no leaf -5"),
        (FIVE[3], replace(PROOF, sums=PROOF.sums[:2]), "a proof of 3 steps"),
        (FIVE[3], replace(PROOF, siblings=PROOF.siblings[:2]), "a proof of 2 steps"),
        (FIVE[3], replace(PROOF, siblings=PROOF.siblings[:2], sums=PROOF.sums[:2]), "not to the root"),
        (FIVE[3], SumProof(index=0, siblings=(), sums=()), "not to the root"),
        (FIVE[3], replace(PROOF, siblings=(bytes(32), *PROOF.siblings[1:])), "not to the root"),
    ],
)
def test_a_proof_that_is_not_the_trees_is_refused(leaf: SumLeaf, proof: SumProof, message: str) -> None:
    assert place_of(TREE.root, FIVE[3], PROOF) == 7
    with pytest.raises(BadProofError, match=message):
        place_of(TREE.root, leaf, proof)


def test_sums_of_more_than_128_bits_are_refused() -> None:
    """They would wrap around in a contract, and money at the end of a line would seem to be at its start."""
    most = 2**128 - 1
    leaves = leaves_of([most, 0])
    assert place_of(sum_root(leaves), leaves[1], SumTree.of(leaves).proof(1)) == most
    for values in ([most, 1], [most, 0, 1], [2**127, 0, 0, 2**127]):
        with pytest.raises(MalformedError, match="is no uint128"):
            SumTree.of(leaves_of(values))


@pytest.mark.parametrize("amount", [-1, 2**128 - 1, 2**128, 2**255])
def test_an_amount_that_could_cancel_others_is_refused_in_a_proof(amount: int) -> None:
    leaf = SumLeaf(hash=bytes(32), amount=1)
    with pytest.raises(MalformedError, match="is no uint128"):
        place_of(digest("1"), leaf, SumProof(index=0, siblings=(bytes(32),) * 2, sums=(amount, 2)))


@given(amounts, amounts)
def test_proven_leaves_never_overlap_whoever_built_the_tree(first: list[int], second: list[int]) -> None:
    """Two trees joined under one root, as a liar may build them of unequal heights."""
    left, right = SumTree.of(leaves_of(first)), SumTree.of(leaves_of(second))
    a, b = left.levels[-1][0], right.levels[-1][0]
    root = Digest("0x" + node(a.hash, b.hash, a.amount, b.amount).hex())
    spans = []
    for tree, side, beside, count in ((left, 0, b, len(first)), (right, 1, a, len(second))):
        for index in range(count):
            proof, leaf = tree.proof(index), tree.levels[0][index]
            joined = SumProof(
                index=index | side << len(proof.siblings),
                siblings=(*proof.siblings, beside.hash),
                sums=(*proof.sums, beside.amount),
            )
            place = place_of(root, leaf, joined)
            spans.append((place, place + leaf.amount))
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert spans[0][0] == 0
    assert spans[-1][1] == sum(first) + sum(second)
