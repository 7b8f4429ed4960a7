"""The tree of a Datanet's rows: every leaf proves itself at its own place and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import digest

from openledger_protocol.errors import BadProofError
from openledger_protocol.merkle import Tree, check_proof, depth_of

leaves = st.lists(st.integers(0, 2**32).map(lambda number: number.to_bytes(32, "big")), min_size=1, max_size=20)


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
