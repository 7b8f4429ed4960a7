"""Claims: their items, the records that contracts keep by hash, and the digests that are signed."""

from collections.abc import Mapping
from typing import Any

from openledger_protocol.claims import AdapterTerms, ChannelBalance, DatanetTerms, SkipCode, compute_claim, skip_codes
from openledger_protocol.epoch import Params
from openledger_protocol.payments import ChannelConfig, Voucher, channel_id, voucher_digest
from openledger_protocol.settlement import (
    ClaimRecord,
    EpochClaim,
    Item,
    ItemSpan,
    claim_digest,
    items_hash,
    record_hash,
    span_of,
)
from openledger_protocol.signatures import sign_digest

from .common import (
    AUTHORIZER,
    AUTHORIZER_KEY,
    NODE,
    PAYER,
    PLACE,
    Case,
    Rules,
    account,
    digest,
    hex_of,
    payments,
    read,
    write,
)

BASE, A, B = digest("0"), digest("a"), digest("b")
D, E = digest("d"), digest("e")
OWNER_A, OWNER_B, OWNER_D, OWNER_E, TREASURY, PROTOCOL, ANN, BEN = (account(number) for number in range(1, 9))

PARAMS = {
    "protocol_ppm": 50_000,
    "data_ppm": 200_000,
    "min_stake_wei": "1",
    "min_deposit_wei": "1",
    "adapter_bond_wei": "1",
    "draws": 4,
    "algo_id": 1,
    "credit_tokens_max": 32,
    "least_context": 2_048,
    "guide_price_wei": "1",
}
REGISTRY = {
    "adapter_terms": [
        {"adapter_id": A, "owner": OWNER_A, "royalty_ppm": 100_000},
        {"adapter_id": B, "owner": OWNER_B, "royalty_ppm": 0},
    ],
    "adapter_datanets": [
        {"adapter_id": A, "datanet_id": D, "weight_ppm": 250_000},
        {"adapter_id": A, "datanet_id": E, "weight_ppm": 750_000},
    ],
    "datanet_terms": [
        {"datanet_id": D, "owner": OWNER_D, "owner_ppm": 100_000, "treasury": TREASURY},
        {"datanet_id": E, "owner": OWNER_E, "owner_ppm": 0, "treasury": TREASURY},
    ],
}


def config(salt: str) -> dict[str, Any]:
    return {"payer": PAYER, "authorizer": AUTHORIZER, "node": NODE, "withdraw_delay_s": 40, "salt": digest(salt)}


def item(salt: str, adapter: int, amount: int, *, start: int = 0, **changes: Any) -> dict[str, Any]:
    """A valid item of the lane of the adapter with this number in the claim; `salt` tells its channel."""
    total = str(start + amount)
    voucher = {
        "channel_id": channel_id(read(ChannelConfig, config(salt)), payments(PLACE)),
        "adapter_id": (BASE, A, B)[adapter],
        "max_claimable_wei": changes.pop("max_claimable_wei", total),
    }
    signature = sign_digest(AUTHORIZER_KEY, voucher_digest(read(Voucher, voucher), payments(PLACE)))
    return {
        **config(salt),
        "adapter": adapter,
        "max_claimable_wei": voucher["max_claimable_wei"],
        "from_wei": str(start),
        "to_wei": total,
        "signature": hex_of(signature),
        **changes,
    }


def claim(*items: dict[str, Any], adapters: tuple[str, ...] = (BASE, A, B), deposit: int = 10_000) -> dict[str, Any]:
    """A claim as flat lists; each channel has the same deposit, and nothing of it was claimed before."""
    return {
        **PLACE,
        "node": NODE,
        "seq": 7,
        "epoch": 3,
        "claimed_at_s": 100,
        "claimed_block": 50,
        "adapters": list(adapters),
        "items": list(items),
        "deposit_wei": str(deposit),
    }


PLAIN = claim(item("1", 0, 1_000), item("1", 1, 2_000), item("2", 1, 2_000), item("2", 2, 500))
ODD = claim(item("1", 0, 19), item("2", 0, 7), item("1", 1, 101), item("2", 1, 3), item("1", 2, 1), item("2", 2, 999))
SKIPS = claim(
    item("1", 0, 1_000),
    item("2", 0, 5, node=account(9)),
    item("3", 0, 5, start=5),
    item("4", 0, 0),
    item("5", 0, 50, max_claimable_wei="49"),
    item("6", 0, 10_001),
    item("7", 0, 5, to_wei="0"),
    item("8", 0, 5, signature="0x"),
    item("1", 1, 2_000),
    item("1", 1, 2_000),
    item("9", 1, 77),
    {**item("8", 2, 7), "adapter": 1},
    item("1", 2, 7_001),
    item("1", 2, 7_000),
)
ITEMS_HASHED: list[Case] = [
    ("plain", "keccak256 of the items' leaves, in order", PLAIN),
    ("base only", "one channel, one lane", claim(item("1", 0, 5), adapters=(BASE,))),
    (
        "another lane",
        "is another hash: it is signed, so who sends a claim can't move its money",
        claim({**item("1", 0, 5), "adapter": 1}),
    ),
]
TERMS = {**PARAMS, **REGISTRY}
COMPUTED: list[Case] = [
    ("plain", "each adapter by itself, rounded down; the node takes the rest", {**TERMS, **PLAIN}),
    ("dust", "odd amounts", {**TERMS, **ODD}),
    ("base only", "no royalty, no data share", {**TERMS, **claim(item("1", 0, 999), adapters=(BASE,))}),
    ("skipped items", "a skipped item has the amount 0 in the tree", {**TERMS, **SKIPS}),
    ("nothing counts", "a claim of nothing is refused", {**TERMS, **claim(item("1", 0, 5, signature="0x"))}),
    ("unknown adapter", "never registered", {**TERMS, **claim(item("1", 0, 5), adapters=(BASE, D))}),
    ("adapters not ascending", "one order only", {**TERMS, **claim(item("1", 0, 5), adapters=(B, A))}),
    ("items not ascending", "one order only", {**TERMS, **claim(item("1", 1, 5), item("1", 0, 5))}),
    ("no items", "nothing to claim", {**TERMS, **claim()}),
]


def items_of(given: Mapping[str, Any]) -> list[Item]:
    return [read(Item, entry) for entry in given["items"]]


def spans_of(given: Mapping[str, Any]) -> list[ItemSpan]:
    return [span_of(entry, given["adapters"], payments(given)) for entry in items_of(given)]


def registry_of(given: Mapping[str, Any]) -> dict[str, AdapterTerms]:
    datanets = [(row["adapter_id"], row["datanet_id"], row["weight_ppm"]) for row in given["adapter_datanets"]]
    return {
        row["adapter_id"]: read(
            AdapterTerms,
            row,
            datanets=tuple((id_, ppm) for adapter, id_, ppm in datanets if adapter == row["adapter_id"]),
        )
        for row in given["adapter_terms"]
    }


def codes_of(given: Mapping[str, Any]) -> list[SkipCode | None]:
    items, domain = items_of(given), payments(given)
    balance = read(ChannelBalance, given, claimed_wei=0, lanes={})
    balances = {channel_id(entry.config, domain): balance for entry in items}
    return skip_codes(given["node"], given["adapters"], items, balances, domain)


def record_of(given: Mapping[str, Any]) -> ClaimRecord:
    return compute_claim(
        read(EpochClaim, given, items_hash=items_hash(spans_of(given))),
        given["adapters"],
        items_of(given),
        domain=payments(given),
        codes=codes_of(given),
        claimed_at_s=given["claimed_at_s"],
        claimed_block=given["claimed_block"],
        params=read(Params, given),
        registry=registry_of(given),  # type: ignore[arg-type]  # ids are texts here
        datanets={row["datanet_id"]: read(DatanetTerms, row) for row in given["datanet_terms"]},
    )


def computed(given: Any) -> Any:
    record = record_of(given)
    return {**write(record), "record_hash": record_hash(record)}


RULES: Rules = {
    "items_hash": (lambda given: items_hash(spans_of(given)), ITEMS_HASHED),
    "skip_codes": (
        lambda given: [int(code or 0) for code in codes_of(given)],
        [("each", "0: it counts; each channel is opened once, whatever its lanes", SKIPS)],
    ),
    "compute_claim": (computed, COMPUTED),
    "claim_digest": lambda given: hex_of(claim_digest(read(EpochClaim, given), payments(given))),
}
