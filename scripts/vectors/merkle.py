"""The tree of a Datanet's rows: roots and proofs."""

from typing import Any

from openledger_protocol.eip712 import digest_word
from openledger_protocol.merkle import Tree, check_proof

from .common import Case, Rules, bytes_of, digest, hex_of


def leaves(count: int) -> list[str]:
    return [hex_of((number + 1).to_bytes(32, "big")) for number in range(count)]


def tree_of(given: Any) -> Tree:
    return Tree.of([digest_word(leaf) for leaf in given["leaves"]])


def proof_of(given: Any) -> list[str]:
    return [hex_of(sibling) for sibling in tree_of(given).proof(given["index"])]


def checked(given: Any) -> bool:
    siblings = [bytes_of(sibling) for sibling in given["proof"]]
    check_proof(given["root"], given["count"], given["index"], bytes_of(given["leaf"]), siblings)
    return True


FIVE = {"leaves": leaves(5)}
PROOF = {
    "root": tree_of(FIVE).root,
    "count": 5,
    "index": 4,
    "leaf": leaves(5)[4],
    "proof": proof_of({**FIVE, "index": 4}),
}
SIZES = {
    0: "zero: no leaves",
    1: "the leaf itself",
    2: "one pair",
    3: "filled up with the empty leaf",
    5: "filled up to eight",
}

ROOTS: list[Case] = [(f"{count} leaves", why, {"leaves": leaves(count)}) for count, why in SIZES.items()]
PROOFS: list[Case] = [(f"index {i}", "siblings from the leaf up", {**FIVE, "index": i}) for i in (0, 3, 4)]
CHECKED: list[Case] = [
    ("plain", "index is path", PROOF),
    ("another index", "no leaf moves", {**PROOF, "index": 3}),
    ("no such index", "the filler is nobody's", {**PROOF, "index": 5}),
    ("a short proof", "all are equally long", {**PROOF, "proof": PROOF["proof"][:2]}),
    ("another root", "the proof leads elsewhere", {**PROOF, "root": digest("1")}),
]

RULES: Rules = {
    "root": (lambda given: tree_of(given).root, ROOTS),
    "proof": (proof_of, PROOFS),
    "check_proof": (checked, CHECKED),
}
