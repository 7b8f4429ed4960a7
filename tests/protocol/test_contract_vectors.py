"""Golden values that the contracts write: one claim, whose every signature and proof they accept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.signed import claim_record, digest

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.claims import item_leaves
from openledger_protocol.draws import Point, drawn_points
from openledger_protocol.eip712 import Domain, payments_domain, staking_domain
from openledger_protocol.payments import (
    ChannelConfig,
    Receipt,
    Refund,
    Voucher,
    Work,
    channel_id,
    receipt_digest,
    refund_digest,
    voucher_digest,
)
from openledger_protocol.primitives import ZERO_DIGEST, ZERO_WEI, AdapterId, DatanetId, Wei
from openledger_protocol.settlement import (
    ClaimRecord,
    EpochClaim,
    ItemSpan,
    Payout,
    Pot,
    claim_digest,
    item_leaf,
    items_hash,
    payouts_hash,
    receipt_leaf,
    signer_consent_digest,
)
from openledger_protocol.sum_tree import SumLeaf, sum_root

FILE = Path(__file__).resolve().parents[2] / "contracts" / "test" / "vectors" / "lanes.json"
NO_WORK = Work(
    **{name: 0 if name.startswith("tokens") else ZERO_DIGEST for name in Work.__dataclass_fields__}  # type: ignore[arg-type]
)


@pytest.fixture(scope="module")
def rules() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(FILE.read_text())["rules"]
    return found


def cases(rules: dict[str, list[dict[str, Any]]], name: str) -> list[tuple[dict[str, Any], Any]]:
    assert rules[name], name
    return [(wei_of(case["input"]), case["output"]) for case in rules[name]]


def wei_of(given: Any) -> Any:
    """Amounts, weights and offsets are decimal text."""
    if isinstance(given, dict):
        return {key: int(v) if is_number(key, v) else wei_of(v) for key, v in given.items()}
    return [wei_of(entry) for entry in given] if isinstance(given, list) else given


def is_number(key: str, value: Any) -> bool:
    return isinstance(value, str) and (key.endswith("_wei") or key in ("weight", "offset"))


def without(given: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in ("chain_id", "contract", *keys)}


def payments(given: dict[str, Any]) -> Domain:
    return payments_domain(given["chain_id"], given["contract"])


def hexed(raw: bytes) -> str:
    return "0x" + raw.hex()


def test_what_is_signed_is_what_the_contracts_hash(rules: dict[str, list[dict[str, Any]]]) -> None:
    for given, output in cases(rules, "channel_id"):
        assert channel_id(ChannelConfig(**without(given)), payments(given)) == output
    for given, output in cases(rules, "voucher_digest"):
        assert hexed(voucher_digest(Voucher(**without(given)), payments(given))) == output
    for given, output in cases(rules, "claim_digest"):
        assert hexed(claim_digest(EpochClaim(**without(given)), payments(given))) == output
    for given, output in cases(rules, "refund_digest"):
        assert hexed(refund_digest(Refund(**without(given)), payments(given))) == output
    for given, output in cases(rules, "signer_consent_digest"):
        domain = staking_domain(given["chain_id"], given["contract"])
        assert hexed(signer_consent_digest(given["node"], given["deadline_s"], domain)) == output


def test_receipts_are_those_of_the_contracts(rules: dict[str, list[dict[str, Any]]]) -> None:
    for given, output in cases(rules, "receipt_digest"):
        shares = [Share(**share) for share in given["shares"]]
        receipt = Receipt(
            **without(given, "shares", "request_id"),
            shares_hash=shares_hash(shares),
            work=replace(NO_WORK, request_id=given["request_id"]),
        )
        assert hexed(receipt_digest(receipt, payments(given))) == output


def test_both_trees_of_a_claim_are_those_of_the_contracts(rules: dict[str, list[dict[str, Any]]]) -> None:
    for given, output in cases(rules, "item_leaf"):
        assert hexed(item_leaf(ItemSpan(**given))) == output
    for name, rule in (("items_hash", items_hash), ("items_root", root_of)):
        for given, output in cases(rules, name):
            assert rule([ItemSpan(**span) for span in given["items"]]) == output
    for given, output in cases(rules, "receipt_leaf"):
        assert hexed(leaf_of(given).hash) == output
    for given, output in cases(rules, "receipts_root"):
        assert sum_root([leaf_of(receipt) for receipt in given["receipts"]]) == output


def root_of(spans: list[ItemSpan]) -> str:
    return sum_root(item_leaves(spans, [Wei(span.to_wei - span.from_wei) for span in spans]))


def leaf_of(given: dict[str, Any]) -> SumLeaf:
    offsets = [int(offset) for offset in given["offsets"]]
    return SumLeaf(hash=receipt_leaf(given["digest"], offsets), amount=given["amount_wei"])


def test_the_payout_list_and_its_points_are_those_of_the_contracts(rules: dict[str, list[dict[str, Any]]]) -> None:
    for given, output in cases(rules, "payouts_hash"):
        assert payouts_hash([Payout(**line) for line in given["payouts"]]) == output
    for given, output in cases(rules, "drawn_points"):
        payouts = [Payout(**line) for line in given["payouts"]]
        points = drawn_points(given["seed"], record_of(given), payouts, given["draws"])
        assert points == [Point(**point) for point in wei_of(output)]


def record_of(given: dict[str, Any]) -> ClaimRecord:
    nowhere = {"start_wei": ZERO_WEI, "adapter_id": AdapterId(digest("a")), "datanet_id": DatanetId(digest("d"))}
    return claim_record(
        node=given["node"], seq=given["seq"], pots=tuple(Pot(**nowhere, **pot) for pot in given["pots"])
    )
