"""The tree over a claim's line: leaves of items and receipts, roots, proofs, and the places that they show."""

from typing import Any

from openledger_protocol.settlement import ItemSpan, item_leaf, receipt_leaf
from openledger_protocol.sum_tree import SumLeaf, SumProof, SumTree, place_of, sum_root

from .common import AUTHORIZER, UINT128_MAX_TEXT, Case, Rules, bytes_of, digest, hex_of, read

SPAN = {
    "channel_id": digest("1"),
    "adapter_id": digest("a"),
    "authorizer": AUTHORIZER,
    "from_wei": "10",
    "to_wei": "80",
}
RECEIPT = {"digest": digest("1"), "offsets": ["0", "250000000"]}

ITEM_LEAVES: list[Case] = [
    ("plain", "a tag and five words", SPAN),
    ("base only", "another lane is another leaf", {**SPAN, "adapter_id": digest("0")}),
    ("the most", "128 bits", {**SPAN, "from_wei": "0", "to_wei": UINT128_MAX_TEXT}),
    ("over the most", "no contract could read it", {**SPAN, "to_wei": str(2**128)}),
]
RECEIPT_LEAVES: list[Case] = [
    ("plain", "keccak256(abi.encode(tag, digest, uint256[]))", RECEIPT),
    ("no offsets", "a receipt that is not countersigned, or of the base", {**RECEIPT, "offsets": []}),
    ("a long list", "places have 256 bits", {**RECEIPT, "offsets": [str(2**256 - 1)]}),
]


def leaves(*amounts: int) -> dict[str, Any]:
    return {
        "leaves": [
            {"hash": hex_of((number + 1).to_bytes(32, "big")), "amount": str(amount)}
            for number, amount in enumerate(amounts)
        ]
    }


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


FIVE = leaves(1, 2, 4, 0, 16)
PROVEN = {
    "root": sum_root(leaves_of(FIVE)),
    **FIVE["leaves"][4],
    **proof_of({**FIVE, "index": 4}),
}
ROOTS: list[Case] = [
    ("no leaves", "zero", leaves()),
    ("one leaf", "the leaf itself", leaves(7)),
    ("two leaves", "keccak256(left ‖ right ‖ left sum << 128 | right sum)", leaves(1, 2)),
    ("three leaves", "filled up with zeros", leaves(1, 2, 4)),
    ("five leaves", "one of nothing, as of a skipped item", FIVE),
    ("the most", "128 bits in all", leaves(2**128 - 2, 1)),
    ("over the most", "sums never wrap around", leaves(2**128 - 1, 1)),
]
PROOFS: list[Case] = [
    (f"index {index}", "from the leaf up, the other child and its sum", {**FIVE, "index": index})
    for index in (0, 3, 4)
]
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
    "item_leaf": (lambda given: hex_of(item_leaf(read(ItemSpan, given))), ITEM_LEAVES),
    "receipt_leaf": (
        lambda given: hex_of(receipt_leaf(given["digest"], [int(offset) for offset in given["offsets"]])),
        RECEIPT_LEAVES,
    ),
    "root": (lambda given: sum_root(leaves_of(given)), ROOTS),
    "proof": (proof_of, PROOFS),
    "place_of": (placed, PLACED),
}
