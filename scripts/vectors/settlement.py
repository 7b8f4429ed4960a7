"""Claims and payouts: the records that contracts keep by hash, and the earnings of each account."""

from collections.abc import Mapping
from typing import Any

from openledger_protocol.attribution import Share
from openledger_protocol.claims import (
    AdapterTerms,
    ChannelBalance,
    DatanetTerms,
    compute_claim,
    skip_codes,
    skipped_mask,
)
from openledger_protocol.epoch import Params
from openledger_protocol.payments import ChannelConfig, Voucher, channel_id, voucher_digest
from openledger_protocol.payouts import AttributedReceipt, Beneficiaries, late_amounts, payout_amounts, payouts_for
from openledger_protocol.primitives import ZERO_ADDRESS
from openledger_protocol.settlement import (
    ClaimFor,
    ClaimRecord,
    EpochClaim,
    Item,
    Part,
    Payout,
    Proposal,
    claim_digest,
    claim_for_digest,
    items_hash,
    payouts_hash,
    proposal_digest,
    record_hash,
)
from openledger_protocol.signatures import sign_digest

from .common import (
    AUTHORIZER,
    AUTHORIZER_KEY,
    NODE,
    PAYER,
    PLACE,
    UINT128_MAX_TEXT,
    Case,
    Rules,
    account,
    digest,
    hex_of,
    payments,
    read,
    rewards,
    write,
)

BASE, A, B = digest("0"), digest("a"), digest("b")
D, E = digest("d"), digest("e")
OWNER_A, OWNER_B, OWNER_D, OWNER_E, TREASURY, PROTOCOL, ANN, BEN = (account(number) for number in range(1, 9))

PARAMS = {
    "protocol_ppm": 50_000,
    "stakers_ppm": 50_000,
    "data_ppm": 200_000,
    "algo_id": 1,
    "min_stake_wei": "1",
    "min_deposit_wei": "1",
    "adapter_bond_wei": "1",
    "credit_tokens_max": 32,
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


def item(salt: str, *amounts: int, start: int = 0, **changes: Any) -> dict[str, Any]:
    """A valid item of a channel of its own; `amounts` are its parts by adapter."""
    config = {"payer": PAYER, "authorizer": AUTHORIZER, "node": NODE, "withdraw_delay_s": 40, "salt": digest(salt)}
    total = str(start + sum(amounts))
    voucher = {
        "channel_id": channel_id(read(ChannelConfig, config), payments(PLACE)),
        "max_claimable_wei": changes.pop("max_claimable_wei", total),
    }
    signature = sign_digest(AUTHORIZER_KEY, voucher_digest(read(Voucher, voucher), payments(PLACE)))
    fields = {**config, "from_wei": str(start), "to_wei": total, "signature": hex_of(signature), **voucher}
    return {**{key: value for key, value in fields.items() if key != "channel_id"}, **changes, "amounts": amounts}


def claim(*items: dict[str, Any], adapters: tuple[str, ...] = (BASE, A, B), deposit: int = 10_000) -> dict[str, Any]:
    """A claim as flat lists: a part names its item, a balance its channel's salt."""
    parts = [
        {"item": number, "adapter": adapter, "amount_wei": str(amount)}
        for number, entry in enumerate(items)
        for adapter, amount in enumerate(entry["amounts"])
        if amount
    ]
    rows = [{key: value for key, value in entry.items() if key != "amounts"} for entry in items]
    return {
        **PLACE,
        "node": NODE,
        "seq": 7,
        "epoch": 3,
        "receipts_root": digest("f"),
        "count": 9,
        "claimed_at_s": 100,
        "adapters": list(adapters),
        "items": rows,
        "parts": parts,
        "deposit_wei": str(deposit),
    }


PLAIN = claim(item("1", 1_000, 2_000), item("2", 0, 2_000, 500))
ODD = claim(item("1", 19, 101, 1), item("2", 7, 3, 999))
SKIPS = claim(
    item("1", 1_000, 2_000),
    item("2", 5, node=account(9)),
    item("3", 5, start=5),
    item("4", 0),
    item("5", 50, max_claimable_wei="49"),
    item("6", 10_001),
    item("7", 5, to_wei="4"),
    item("8", 5, signature="0x"),
    item("9", 0, 77),
)
ITEMS_HASHED: list[Case] = [
    ("plain", "keccak256(abi.encode(bytes32[], Item[]))", PLAIN),
    ("base only", "one channel, one part", claim(item("1", 5), adapters=(BASE,))),
    (
        "another split",
        "is another hash: it is signed, so royalties can't be kept unseen",
        claim(item("1", 2_000, 1_000)),
    ),
]
COMPUTED: list[Case] = [
    ("plain", "each adapter by itself, rounded down; the node takes the rest", {**PARAMS, **REGISTRY, **PLAIN}),
    ("dust", "odd amounts", {**PARAMS, **REGISTRY, **ODD}),
    ("base only", "no royalty, no data share", {**PARAMS, **REGISTRY, **claim(item("1", 999), adapters=(BASE,))}),
    ("skipped items", "each code once; what is skipped is not counted", {**PARAMS, **REGISTRY, **SKIPS}),
    ("unknown adapter", "never registered", {**PARAMS, **REGISTRY, **claim(item("1", 5, 5), adapters=(BASE, D))}),
    ("adapters not ascending", "one order only", {**PARAMS, **REGISTRY, **claim(item("1", 5, 5), adapters=(B, A))}),
    ("no items", "nothing to claim", {**PARAMS, **REGISTRY, **claim()}),
]


def items_of(given: Mapping[str, Any]) -> list[Item]:
    parts = [[part for part in given["parts"] if part["item"] == number] for number in range(len(given["items"]))]
    return [
        read(Item, entry, parts=tuple(read(Part, part) for part in own))
        for entry, own in zip(given["items"], parts, strict=True)
    ]


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


def codes_of(given: Mapping[str, Any]) -> list[Any]:
    items, domain = items_of(given), payments(given)
    balance = read(ChannelBalance, given, claimed_wei=0)
    balances = {channel_id(entry.config, domain): balance for entry in items}
    return skip_codes(given["node"], items, len(given["adapters"]), balances, domain)


def record_of(given: Mapping[str, Any]) -> ClaimRecord:
    items, adapters = items_of(given), given["adapters"]
    return compute_claim(
        read(EpochClaim, given, items_hash=items_hash(adapters, items)),
        adapters,
        items,
        skipped=skipped_mask(codes_of(given)),
        claimed_at_s=given["claimed_at_s"],
        params=read(Params, given),
        registry=registry_of(given),  # type: ignore[arg-type]  # ids are texts here
        datanets={row["datanet_id"]: read(DatanetTerms, row) for row in given["datanet_terms"]},
    )


def computed(given: Any) -> Any:
    record = record_of(given)
    return {**write(record), "record_hash": record_hash(record)}


# ---- payouts: of the plain claim, whose only pots are adapter A's with a gross of 4,000

RECORD = {**PARAMS, **REGISTRY, **PLAIN}
LINES = [
    {"pot": 0, "account": ANN, "weight": "3999999997"},
    {"pot": 0, "account": BEN, "weight": "3"},
    {"pot": 1, "account": ZERO_ADDRESS, "weight": "1000000000"},
    {"pot": 1, "account": ANN, "weight": "3000000000"},
]
SHARED = [
    {"receipt": 0, "datanet_id": D, "account": ANN, "ppm": 1_000_000},
    {"receipt": 0, "datanet_id": E, "account": ANN, "ppm": 250_000},
    {"receipt": 0, "datanet_id": E, "account": BEN, "ppm": 750_000},
    {"receipt": 1, "datanet_id": D, "account": BEN, "ppm": 1_000_000},
    {"receipt": 1, "datanet_id": E, "account": ZERO_ADDRESS, "ppm": 1_000_000},
]
EARNED = [{"index": 0, "adapter_id": A, "amount_wei": "1500"}, {"index": 2, "adapter_id": A, "amount_wei": "2500"}]
TO = {"node_payout": account(10), "protocol_treasury": PROTOCOL, "has_stakers": True}

PAYOUTS_HASHED: list[Case] = [
    ("none", "abi.encode of an empty list", []),
    ("plain", "keccak256(abi.encode(Payout[]))", LINES),
]
LISTED: list[Case] = [
    ("plain", "weight = amount · ppm, summed by account", {**RECORD, "receipts": EARNED, "shares": SHARED}),
    (
        "a receipt left out",
        "the weights must sum to 1,000,000 · gross",
        {**RECORD, "receipts": EARNED[:1], "shares": SHARED},
    ),
]
PAID: list[Case] = [
    ("plain", "dust and account zero to the Datanet's treasury", {**RECORD, **TO, "payouts": LINES}),
    ("a pot not listed", "goes to the protocol", {**RECORD, **TO, "payouts": LINES[:2]}),
    ("nothing listed", "all pots go to the protocol", {**RECORD, **TO, "payouts": []}),
    ("nobody bonded", "the protocol keeps the stakers' part", {**RECORD, **TO, "has_stakers": False, "payouts": []}),
    ("weights short", "no part of a pot is left open", {**RECORD, **TO, "payouts": LINES[:1]}),
    ("not ascending", "one order only", {**RECORD, **TO, "payouts": LINES[::-1]}),
]
PAID_LATE: list[Case] = [("plain", "a tenth of the node's share, and all pots, go to the protocol", {**RECORD, **TO})]

CLAIM = {
    **PLACE,
    "node": NODE,
    "seq": 7,
    "epoch": 3,
    "items_hash": digest("1"),
    "receipts_root": digest("2"),
    "count": 9,
}
PROPOSAL = {
    **PLACE,
    "node": NODE,
    "seq": 7,
    "attribution_root": digest("1"),
    "leaf_count": 4,
    "payouts_hash": digest("2"),
}
CLAIM_FOR = {**PLACE, "account": ANN, "to": BEN, "amount_wei": "5", "nonce": 0, "deadline_s": 1_700_000_000}
CLAIMS: list[Case] = [
    ("plain", "under the payments domain", CLAIM),
    (
        "the most",
        "each number at its bound",
        {**CLAIM, "seq": str(2**64 - 1), "epoch": str(2**64 - 1), "count": 2**32 - 1},
    ),
]
PROPOSALS: list[Case] = [("plain", "under the rewards domain", PROPOSAL)]
CLAIMS_FOR: list[Case] = [
    ("plain", "under the rewards domain", CLAIM_FOR),
    ("the most", "each number at its bound", {**CLAIM_FOR, "amount_wei": UINT128_MAX_TEXT, "nonce": str(2**256 - 1)}),
]


def listed(given: Any) -> Any:
    shares = [
        [share for share in given["shares"] if share["receipt"] == number] for number in range(len(given["receipts"]))
    ]
    receipts = [
        read(AttributedReceipt, row, shares=tuple(read(Share, share) for share in own))
        for row, own in zip(given["receipts"], shares, strict=False)
    ]
    lines = write(payouts_for(record_of(given).pots, receipts))
    return [{**line, "weight": str(line["weight"])} for line in lines]


def beneficiaries(given: Any) -> Beneficiaries:
    treasuries = {row["datanet_id"]: row["treasury"] for row in given["datanet_terms"]}
    return Beneficiaries(
        node=given["node_payout"],
        protocol=given["protocol_treasury"],
        treasuries=treasuries,
        has_stakers=given["has_stakers"],
    )


def paid(given: Any) -> Any:
    lines = [read(Payout, line) for line in given["payouts"]]
    return write(payout_amounts(record_of(given), lines, beneficiaries(given)))


RULES: Rules = {
    "items_hash": (lambda given: items_hash(given["adapters"], items_of(given)), ITEMS_HASHED),
    "skip_codes": (lambda given: [int(code or 0) for code in codes_of(given)], [("each", "0: it counts", SKIPS)]),
    "compute_claim": (computed, COMPUTED),
    "payouts_hash": (lambda given: payouts_hash([read(Payout, line) for line in given]), PAYOUTS_HASHED),
    "payouts_for": (listed, LISTED),
    "payout_amounts": (paid, PAID),
    "late_amounts": (lambda given: write(late_amounts(record_of(given), beneficiaries(given))), PAID_LATE),
    "claim_digest": (lambda given: hex_of(claim_digest(read(EpochClaim, given), payments(given))), CLAIMS),
    "proposal_digest": (lambda given: hex_of(proposal_digest(read(Proposal, given), rewards(given))), PROPOSALS),
    "claim_for_digest": (lambda given: hex_of(claim_for_digest(read(ClaimFor, given), rewards(given))), CLAIMS_FOR),
}
