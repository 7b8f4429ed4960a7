"""Both trees of a claim: leaves, roots and proofs."""

from typing import Any

from openledger_protocol.merkle import (
    AttributionLeaf,
    ReceiptLeaf,
    SumNode,
    attribution_leaf_hash,
    attribution_tree,
    check_proof,
    check_sum_proof,
    receipt_leaf_hash,
    receipt_tree,
)

from .common import NODE, Case, Rules, account, bytes_of, digest, hex_of, read

CLAIM: dict[str, Any] = {"node": NODE, "claim_seq": 9}


def receipt(number: int) -> dict[str, Any]:
    return {
        "channel_id": digest("1"),
        "seq": number,
        "adapter_id": digest("a"),
        "amount_wei": "10",
        "cumulative_wei": str(10 * number + 10),
        "receipt_digest": hex_of(number.to_bytes(32, "big")),
        "shares_hash": digest("7"),
        "nonce": digest("8"),
    }


def share(number: int) -> dict[str, Any]:
    return {"pot": 0, "account": account(1), "receipt_index": number, "weight": str(10_000_000 + number)}


def listed(make: Any, count: int) -> dict[str, Any]:
    return {**CLAIM, "leaves": [make(number) for number in range(count)]}


def receipts_of(given: Any) -> Any:
    leaves = [read(ReceiptLeaf, leaf) for leaf in given["leaves"]]
    return receipt_tree(leaves, node=given["node"], claim_seq=given["claim_seq"])


def shares_of(given: Any) -> Any:
    leaves = [read(AttributionLeaf, leaf) for leaf in given["leaves"]]
    return attribution_tree(leaves, node=given["node"], claim_seq=given["claim_seq"])


def receipt_hash(given: Any) -> str:
    leaf, place = read(ReceiptLeaf, given), {key: given[key] for key in ("node", "claim_seq", "index")}
    return hex_of(receipt_leaf_hash(leaf, **place))


def share_hash(given: Any) -> str:
    leaf, place = read(AttributionLeaf, given), {key: given[key] for key in ("node", "claim_seq", "index")}
    return hex_of(attribution_leaf_hash(leaf, **place))


def proof_of(given: Any) -> list[str]:
    return [hex_of(sibling) for sibling in receipts_of(given).proof(given["index"])]


def sum_proof_of(given: Any) -> list[dict[str, str]]:
    siblings = shares_of(given).proof(given["index"])
    return [{"hash": hex_of(sibling.hash), "weight": str(sibling.weight)} for sibling in siblings]


def checked(given: Any) -> bool:
    siblings = [bytes_of(sibling) for sibling in given["proof"]]
    check_proof(given["root"], given["count"], given["index"], bytes_of(given["leaf"]), siblings)
    return True


def sum_checked(given: Any) -> dict[str, str]:
    leaf = SumNode(hash=bytes_of(given["leaf"]), weight=int(given["weight"]))
    siblings = [SumNode(hash=bytes_of(node["hash"]), weight=int(node["weight"])) for node in given["proof"]]
    before, total = check_sum_proof(given["root"], given["count"], given["index"], leaf, siblings)
    return {"before": str(before), "total": str(total)}


FIVE, FIVE_SHARES = listed(receipt, 5), listed(share, 5)
PROOF = {
    "root": receipts_of(FIVE).root,
    "count": 5,
    "index": 4,
    "leaf": receipt_hash({**CLAIM, "index": 4, **receipt(4)}),
    "proof": proof_of({**FIVE, "index": 4}),
}
SUM_PROOF = {
    "root": shares_of(FIVE_SHARES).root,
    "count": 5,
    "index": 3,
    "leaf": share_hash({**CLAIM, "index": 3, **share(3)}),
    "weight": share(3)["weight"],
    "proof": sum_proof_of({**FIVE_SHARES, "index": 3}),
}
LIGHTER = [{**SUM_PROOF["proof"][0], "weight": "1"}, *SUM_PROOF["proof"][1:]]
SIZES = {
    0: "zero: no leaves",
    1: "the leaf itself",
    2: "one pair",
    3: "filled up with the empty leaf",
    5: "filled up to eight",
}

RECEIPT_LEAVES: list[Case] = [
    ("plain", "hashed twice, tagged, for its place in one claim", {**CLAIM, "index": 0, **receipt(0)}),
    ("another place", "is another leaf", {**CLAIM, "index": 1, **receipt(0)}),
    ("another claim", "is another leaf", {**CLAIM, "claim_seq": 8, "index": 0, **receipt(0)}),
]
SHARE_LEAVES: list[Case] = [
    ("plain", "hashed twice, tagged, for its place in one claim", {**CLAIM, "index": 0, **share(0)}),
    ("account zero", "the Datanet's treasury", {**CLAIM, "index": 0, **share(0), "account": account(0)}),
]
PROOFS: list[Case] = [(f"index {i}", "siblings from the leaf up", {**FIVE, "index": i}) for i in (0, 3, 4)]
SUM_PROOFS: list[Case] = [
    (f"index {i}", "siblings with their weights", {**FIVE_SHARES, "index": i}) for i in (0, 3, 4)
]
CHECKED: list[Case] = [
    ("plain", "index is path", PROOF),
    ("another index", "no leaf moves", {**PROOF, "index": 3}),
    ("no such index", "the filler is nobody's", {**PROOF, "index": 5}),
    ("a short proof", "all are equally long", {**PROOF, "proof": PROOF["proof"][:2]}),
    ("another root", "the proof leads elsewhere", {**PROOF, "root": digest("1")}),
]
SUM_CHECKED: list[Case] = [
    ("plain", "the weight before the leaf, and of all", SUM_PROOF),
    ("another weight", "of the leaf", {**SUM_PROOF, "weight": "1"}),
    ("a lighter sibling", "weights are hashed too", {**SUM_PROOF, "proof": LIGHTER}),
    ("over 256 bits", "no weight wraps around", {**SUM_PROOF, "weight": str(2**256 - 1)}),
]

RULES: Rules = {
    "receipt_leaf_hash": (receipt_hash, RECEIPT_LEAVES),
    "receipt_root": (
        lambda given: receipts_of(given).root,
        [(f"{count} leaves", why, listed(receipt, count)) for count, why in SIZES.items()],
    ),
    "receipt_proof": (proof_of, PROOFS),
    "attribution_leaf_hash": (share_hash, SHARE_LEAVES),
    "attribution_root": (
        lambda given: shares_of(given).root,
        [(f"{count} leaves", why, listed(share, count)) for count, why in SIZES.items()],
    ),
    "attribution_proof": (sum_proof_of, SUM_PROOFS),
    "check_proof": (checked, CHECKED),
    "check_sum_proof": (sum_checked, SUM_CHECKED),
}
