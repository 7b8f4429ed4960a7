"""The tree of a Datanet's rows: roots and proofs."""

from typing import Any

from openledger_protocol.eip712 import digest_word
from openledger_protocol.merkle import Tree, check_proof

from .common import Case, Rules, bytes_of, digest, given_in, hex_of


def tree_of(given: Any) -> Tree:
    return Tree.of([digest_word(leaf) for leaf in given["leaves"]])


def proof_of(given: Any) -> list[str]:
    return [hex_of(sibling) for sibling in tree_of(given).proof(given["index"])]


def checked(given: Any) -> bool:
    siblings = [bytes_of(sibling) for sibling in given["proof"]]
    check_proof(given["root"], given["count"], given["index"], bytes_of(given["leaf"]), siblings)
    return True


LAST = given_in("merkle", "proof")["index 4"]
PROOF = {
    "root": tree_of(LAST).root,
    "count": 5,
    "index": 4,
    "leaf": LAST["leaves"][4],
    "proof": proof_of(LAST),
}
CHECKED: list[Case] = [
    ("plain", "index is path", PROOF),
    ("another index", "no leaf moves", {**PROOF, "index": 3}),
    ("no such index", "the filler is nobody's", {**PROOF, "index": 5}),
    ("a short proof", "all are equally long", {**PROOF, "proof": PROOF["proof"][:2]}),
    ("another root", "the proof leads elsewhere", {**PROOF, "root": digest("1")}),
]

RULES: Rules = {
    "root": lambda given: tree_of(given).root,
    "proof": proof_of,
    "check_proof": (checked, CHECKED),
}
