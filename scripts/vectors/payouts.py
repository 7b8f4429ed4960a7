"""Payout lists: the receipts behind them, drawn points and what shows them, and what each account is paid."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from eth_abi.abi import encode

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.draws import Point, drawn_points
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.openings import ClaimLine, openings_of
from openledger_protocol.payments import Receipt, receipt_digest
from openledger_protocol.payouts import (
    Beneficiaries,
    ClaimedReceipt,
    PayoutList,
    late_amounts,
    payout_amounts,
    payout_list,
    receipts_root,
)
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_WEI
from openledger_protocol.settlement import NOBODY, OPENING_TYPE, Payout, Pot, opening_tuple, payouts_hash
from openledger_protocol.signatures import sign_digest

from .common import AUTHORIZER_KEY, NODE, PLACE, Case, Rules, account, bytes_of, digest, hex_of, payments, read, write
from .payments import WORK
from .settlement import ANN, BEN, PLAIN, PROTOCOL, TERMS, D, E, codes_of, items_of, record_of, spans_of

# Of the plain claim, whose pots are adapter A's two with a gross of 4,000. Its line begins with 1,000 of the base and
# ends with 500 of an adapter without Datanets.
RECORD = {**TERMS, **PLAIN}
TO = {"node_payout": account(10), "protocol_treasury": PROTOCOL}

Row = dict[str, Any]


def receipt(item: int, amount: int, total: int, *parts: tuple[str, str, int], is_countersigned: bool = True) -> Row:
    """A receipt of an item of the plain claim; `total` is its lane's charge after it."""
    span = spans_of(PLAIN)[item]
    shares = shares_of(parts)
    fields = {
        "item": item,
        "channel_id": span.channel_id,
        "seq": item + 1,
        "issued_at_s": 1_800_000_000,
        "adapter_id": span.adapter_id,
        "amount_wei": str(amount),
        "cumulative_wei": str(total),
        "algo_id": 1,
        "shares_hash": shares_hash([read(Share, share) for share in shares]),
        **WORK,
    }
    hashed = receipt_digest(read(Receipt, fields), payments(PLACE))
    signature = sign_digest(AUTHORIZER_KEY, hashed) if is_countersigned else b""
    return {**fields, "countersignature": hex_of(signature), "shares": shares}


def shares_of(parts: tuple[tuple[str, str, int], ...]) -> list[Row]:
    return [{"datanet_id": datanet, "account": owner, "ppm": ppm} for datanet, owner, ppm in parts]


def behind(*receipts: Row) -> Row:
    """The plain claim with receipts, as flat lists: a share names its receipt."""
    return {
        **RECORD,
        "receipts": [{key: value for key, value in row.items() if key != "shares"} for row in receipts],
        "shares": [{"receipt": number, **share} for number, row in enumerate(receipts) for share in row["shares"]],
    }


OF_BASE, OF_BARE = receipt(0, 1_000, 1_000), receipt(3, 500, 500)
FIRST = receipt(1, 1_500, 1_500, (D, ANN, 1_000_000), (E, ANN, 250_000), (E, BEN, 750_000))
SECOND = receipt(1, 500, 2_000, (D, BEN, 1_000_000), (E, ZERO_ADDRESS, 1_000_000))
THIRD = receipt(2, 2_000, 2_000, (D, ZERO_ADDRESS, 1_000_000), (E, BEN, 1_000_000))
ALL = behind(OF_BASE, FIRST, SECOND, THIRD, OF_BARE)
SILENT = behind(
    OF_BASE, FIRST, SECOND, receipt(2, 2_000, 2_000, (D, ANN, 1_000_000), is_countersigned=False), OF_BARE
)


def receipts_of(given: Mapping[str, Any]) -> list[ClaimedReceipt]:
    shares = [[row for row in given["shares"] if row["receipt"] == index] for index in range(len(given["receipts"]))]
    return [
        ClaimedReceipt(
            item=row["item"],
            digest=hex_digest(receipt_digest(read(Receipt, row), payments(given))),
            receipt=read(Receipt, row),
            shares=tuple(read(Share, share) for share in own),
            countersignature=bytes_of(row["countersignature"]) or None,
        )
        for row, own in zip(given["receipts"], shares, strict=True)
    ]


def list_of(given: Mapping[str, Any]) -> PayoutList:
    return payout_list(record_of(given).pots, receipts_of(given))


def listed(given: Any) -> Any:
    found = list_of(given)
    return {
        "payouts": lines_of(found.payouts),
        "offsets": [[str(offset) for offset in offsets] for offsets in found.offsets],
        "receipts_root": receipts_root(receipts_of(given), found.offsets),
    }


def lines_of(payouts: tuple[Payout, ...]) -> list[Row]:
    return [{**write(line), "weight": str(line.weight)} for line in payouts]


def drawn(given: Any) -> Any:
    pots = tuple(read(Pot, pot) for pot in given["pots"])
    record = replace(record_of(RECORD), node=given["node"], seq=given["seq"], pots=pots)
    points = drawn_points(given["seed"], record, [read(Payout, line) for line in given["payouts"]], given["draws"])
    return [{**write(point), "offset": str(point.offset)} for point in points]


def line_of(given: Mapping[str, Any]) -> ClaimLine:
    amounts = [
        item.amount_wei if code is None else ZERO_WEI
        for item, code in zip(items_of(given), codes_of(given), strict=True)
    ]
    return ClaimLine(
        record=record_of(given),
        spans=tuple(spans_of(given)),
        amounts_wei=tuple(amounts),
        receipts=tuple(receipts_of(given)),
    )


def opened(given: Any) -> str:
    points = [read(Point, point) for point in given["points"]]
    openings = openings_of(line_of(given), list_of(given), points)
    return hex_of(encode([f"{OPENING_TYPE}[]"], [[opening_tuple(opening) for opening in openings]]))


def point(pot: int, owner: str, offset: int) -> Row:
    return {"pot": pot, "account": owner, "offset": str(offset)}


LINES = lines_of(list_of(ALL).payouts)
UNEVEN = [
    {"pot": 0, "account": ANN, "weight": "3999999997"},
    {"pot": 0, "account": BEN, "weight": "3"},
    {"pot": 1, "account": ZERO_ADDRESS, "weight": "1000000000"},
    {"pot": 1, "account": ANN, "weight": "2000000001"},
    {"pot": 1, "account": NOBODY, "weight": "999999999"},
]
PAYOUTS_HASHED: list[Case] = [
    ("none", "abi.encode of an empty list", []),
    ("plain", "keccak256(abi.encode(Payout[]))", UNEVEN),
]
LISTED: list[Case] = [
    ("plain", "weight = amount · ppm, summed by account; receipts in the order of the claim's line", ALL),
    ("not countersigned", "nobody's, in each pot of its adapter, and without offsets", SILENT),
    ("a receipt left out", "the weights must sum to 1,000,000 · gross", behind(OF_BASE, FIRST, SECOND, OF_BARE)),
]
LIST = {
    "node": NODE,
    "seq": 7,
    "seed": digest("1"),
    "draws": 4,
    "pots": write(list(record_of(RECORD).pots)),
    "payouts": LINES,
}
DRAWN: list[Case] = [
    ("plain", "a pot by amount, then a place in its list", LIST),
    ("another seed", "other points", {**LIST, "seed": digest("2")}),
    ("another claim", "other points", {**LIST, "seq": 8}),
    ("sixteen draws", "the first are the same", {**LIST, "draws": 16}),
    ("a pot not listed", "the largest account, which needs no receipt", {**LIST, "payouts": LINES[:3]}),
    ("no list", "nothing to show", {**LIST, "payouts": []}),
    ("no pots", "nothing to show", {**LIST, "pots": [], "payouts": []}),
]
OPENED: list[Case] = [
    (
        "plain",
        "abi.encode(Opening[]), which the contract accepts for these points",
        {
            **ALL,
            "points": [
                point(0, ANN, 0),
                point(0, BEN, 499_999_999),
                point(1, BEN, 1_125_000_000),
                point(1, ZERO_ADDRESS, 1),
                point(0, ZERO_ADDRESS, 1_999_999_999),
            ],
        },
    ),
    (
        "nobody",
        "needs no receipt",
        {**SILENT, "points": [point(0, NOBODY, 5), point(1, ANN, 374_999_999)]},
    ),
    ("a moved part", "no receipt gives it to this account", {**ALL, "points": [point(0, account(11), 0)]}),
    ("not countersigned", "what it says can't be shown", {**SILENT, "points": [point(0, ANN, 1_500_000_000)]}),
]
FINAL = {**RECORD, **TO, "num_redraws": 0}
SILENT_FINAL = {**FINAL, "payouts": lines_of(list_of(SILENT).payouts)}
PAID: list[Case] = [
    ("plain", "dust and account zero to the Datanet's treasury", {**FINAL, "payouts": LINES}),
    (
        "not countersigned",
        "nobody's part goes to the protocol, and a tenth of that part of the node's share",
        SILENT_FINAL,
    ),
    ("after a lapsed draw", "half of the pots, from the node's share", {**FINAL, "num_redraws": 1, "payouts": LINES}),
    ("a pot not listed", "goes to the protocol", {**FINAL, "payouts": LINES[:3]}),
    ("nothing listed", "all pots go to the protocol", {**FINAL, "payouts": []}),
    ("weights short", "no part of a pot is left open", {**FINAL, "payouts": LINES[:1]}),
    ("not ascending", "one order only", {**FINAL, "payouts": LINES[::-1]}),
    (
        "a weight of nothing",
        "is left out",
        {**FINAL, "payouts": [{**LINES[0], "account": ZERO_ADDRESS, "weight": "0"}, *LINES[1:]]},
    ),
]
LATE = {**RECORD, **TO, "is_proposed": False, "num_redraws": 0}
PAID_LATE: list[Case] = [
    ("no list", "a tenth of the node's share, and all pots, go to the protocol", LATE),
    ("not shown", "half of the pots, and all pots", {**LATE, "is_proposed": True}),
    ("not shown thrice", "half of the pots for each draw", {**LATE, "is_proposed": True, "num_redraws": 2}),
]


def beneficiaries(given: Any) -> Beneficiaries:
    return Beneficiaries(
        node=given["node_payout"],
        protocol=given["protocol_treasury"],
        treasuries={row["datanet_id"]: row["treasury"] for row in given["datanet_terms"]},
    )


def paid(given: Any) -> Any:
    payouts = [read(Payout, line) for line in given["payouts"]]
    return write(payout_amounts(record_of(given), payouts, beneficiaries(given), num_redraws=given["num_redraws"]))


def paid_late(given: Any) -> Any:
    how = {"is_proposed": given["is_proposed"], "num_redraws": given["num_redraws"]}
    return write(late_amounts(record_of(given), beneficiaries(given), **how))


RULES: Rules = {
    "payouts_hash": (lambda given: payouts_hash([read(Payout, line) for line in given]), PAYOUTS_HASHED),
    "payout_list": (listed, LISTED),
    "drawn_points": (drawn, DRAWN),
    "openings": (opened, OPENED),
    "payout_amounts": (paid, PAID),
    "late_amounts": (paid_late, PAID_LATE),
}
