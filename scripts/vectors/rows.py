"""Proofs of readers of private Datanets, the topics of rows, and frames of the stream `rows`."""

from typing import Any

from openledger_protocol.codec import encode_frame
from openledger_protocol.eip712 import datanets_domain
from openledger_protocol.primitives import Address
from openledger_protocol.row_access import RowAccess, row_access_digest
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.wire import rows
from openledger_protocol.wire.rows import rows_topic

from .advertisement import OTHER_PEER_ID, PEER_ID
from .common import Case, Rules, bytes_of, digest, hex_of
from .market import ERROR, read_back

KEY = bytes(31) + b"\x07"
REGISTRY = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
ACCESS: dict[str, Any] = {
    "chain_id": 31_337,
    "contract": REGISTRY,
    "datanet_id": digest("a"),
    "rows_root": digest("b"),
    "account": address_of(KEY),
    "reader": PEER_ID,
    "holder": OTHER_PEER_ID,
    "challenge": digest("c"),
}


def access_digest(given: dict[str, Any]) -> str:
    fields = dict(given)
    domain = datanets_domain(fields.pop("chain_id"), fields.pop("contract"))
    return hex_of(row_access_digest(RowAccess(**fields), domain))


def signature(given: dict[str, Any]) -> str:
    return hex_of(sign_digest(KEY, bytes_of(access_digest(given))))


def topic(given: dict[str, Any]) -> str:
    return rows_topic(given["datanet"], given["rows_root"])


ACCESSES: list[Case] = [
    ("good", "a reader proves a wallet", ACCESS),
    (
        "the other way round",
        "reader and holder have their places",
        {**ACCESS, "reader": OTHER_PEER_ID, "holder": PEER_ID},
    ),
    ("another challenge", "it counts once", {**ACCESS, "challenge": digest("d")}),
    ("another chain", "and on one chain", {**ACCESS, "chain_id": 1}),
    ("no peer id", "both peers are named", {**ACCESS, "reader": "ann"}),
]
TOPICS: list[Case] = [
    ("one", "Datanet, then rows", {"datanet": digest("a"), "rows_root": digest("b")}),
    ("swapped", "their order counts", {"datanet": digest("b"), "rows_root": digest("a")}),
]

ENTRY = {"size_bytes": 2, "digest": digest("2"), "chunks": [digest("1")]}
GET_ROWS = {"v": 1, "t": "get_rows", "datanet": digest("a"), "rows_root": digest("b")}
LISTING = {"v": 1, "t": "listing", "is_private": False, "version": ENTRY, "rows": ENTRY}
PART = {"v": 1, "t": "part", "part": "rows", "index": 0, "data": "0x0102"}
PROOF = {"v": 1, "t": "proof", "account": ACCESS["account"], "signature": signature(ACCESS)}
FRAMES: list[Case] = [
    ("get_rows", "a version of a Datanet", GET_ROWS),
    ("challenge", "the Datanet is private", {"v": 1, "t": "challenge", "challenge": digest("c")}),
    ("proof", "a wallet stands behind the reader", PROOF),
    ("listing", "its two files", LISTING),
    ("get_part", "one chunk of one of them", {"v": 1, "t": "get_part", "part": "version", "index": 0}),
    ("part", "the chunk", PART),
    ("error", "a refusal", ERROR),
]
REFUSED: list[Case] = [
    ("a short root", "a root has 32 bytes", {**GET_ROWS, "rows_root": "0x01"}),
    ("another file", "there are two", {**PART, "part": "adapter.json"}),
    ("no rows", "a version has rows", {**LISTING, "rows": {**ENTRY, "size_bytes": 0, "chunks": []}}),
    ("two chunks of two bytes", "one is enough", {**LISTING, "rows": {**ENTRY, "chunks": [digest("1")] * 2}}),
    ("a signature of 64 bytes", "it has 65", {**PROOF, "signature": "0x" + "01" * 64}),
]


def unwritten(given: Any) -> Any:
    """Convert JSON to the content of a frame, where ids, digests, accounts and data are bytes."""
    if isinstance(given, dict):
        return {key: unwritten(value) for key, value in given.items()}
    if isinstance(given, list):
        return [unwritten(each) for each in given]
    return bytes_of(given) if isinstance(given, str) and given.startswith("0x") else given


RULES: Rules = {
    "row_access_digest": (access_digest, ACCESSES),
    "rows_topic": (topic, TOPICS),
    "rows_frame": (lambda given: hex_of(encode_frame(rows.encode(rows.decode(unwritten(given))))), FRAMES),
    "decode_rows_frame": (
        read_back(rows),
        [(name, why, hex_of(encode_frame(unwritten(given)))) for name, why, given in (*FRAMES, *REFUSED)],
    ),
}
