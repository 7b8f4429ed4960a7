"""The tree over a claim's line: leaves of items and receipts, roots, proofs, and the places that they show."""

from typing import Any

from openledger_protocol.settlement import ItemSpan, item_leaf, receipt_leaf
from openledger_protocol.sum_tree import SumLeaf, SumProof, SumTree, place_of, sum_root

from .common import UINT128_MAX_TEXT, Case, Rules, bytes_of, digest, given_in, hex_of, read


def leaves_of(given: Any) -> list[SumLeaf]:
    return [leaf_of(row) for row in given["leaves"]]


def leaf_of(row: Any) -> SumLeaf:
    return SumLeaf(hash=bytes_of(row["hash"]), amount=int(row["amount"]))


def proof_of(given: Any) -> dict[str, Any]:
    proof = SumTree.of(leaves_of(given)).proof(given["index"])
    return {
        "index": proof.index,
        "siblings": [hex_of(sibling) for sibling in proof.siblings],
        "sums": [str(amount) for amount in proof.sums],
    }


def placed(given: Any) -> str:
    proof = SumProof(
        index=int(given["index"]),
        siblings=tuple(bytes_of(sibling) for sibling in given["siblings"]),
        sums=tuple(int(amount) for amount in given["sums"]),
    )
    return str(place_of(given["root"], leaf_of(given), proof))


LAST = given_in("sum_tree", "proof")["index 4"]
PROVEN = {"root": sum_root(leaves_of(LAST)), **LAST["leaves"][4], **proof_of(LAST)}
PLACED: list[Case] = [
    ("plain", "the sum of all leaves before it", PROVEN),
    ("another index", "no leaf moves", {**PROVEN, "index": 3}),
    ("a bit too many", "a leaf has one number", {**PROVEN, "index": 12}),
    ("another amount", "of the leaf", {**PROVEN, "amount": "17"}),
    ("a lighter sibling", "sums are hashed too", {**PROVEN, "sums": [*PROVEN["sums"][:2], "6"]}),
    ("over 128 bits", "no sum wraps around", {**PROVEN, "sums": [UINT128_MAX_TEXT, *PROVEN["sums"][1:]]}),
    ("a short proof", "an inner node is no leaf", {**PROVEN, "siblings": PROVEN["siblings"][:2]}),
    ("another root", "the proof leads elsewhere", {**PROVEN, "root": digest("1")}),
]

RULES: Rules = {
    "item_leaf": lambda given: hex_of(item_leaf(read(ItemSpan, given))),
    "receipt_leaf": lambda given: hex_of(receipt_leaf(given["digest"], [int(offset) for offset in given["offsets"]])),
    "root": lambda given: sum_root(leaves_of(given)),
    "proof": proof_of,
    "place_of": (placed, PLACED),
}
