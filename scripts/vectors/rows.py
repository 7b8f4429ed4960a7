"""The topics of rows, and frames of the stream `rows`."""

from typing import Any

from openledger_protocol.codec import encode_frame
from openledger_protocol.wire import rows
from openledger_protocol.wire.rows import rows_topic

from .common import Case, Rules, bytes_of, digest, hex_of
from .market import ERROR, read_back


def topic(given: dict[str, Any]) -> str:
    return rows_topic(given["datanet"], given["rows_root"])


TOPICS: list[Case] = [
    ("one", "Datanet, then rows", {"datanet": digest("a"), "rows_root": digest("b")}),
    ("swapped", "their order counts", {"datanet": digest("b"), "rows_root": digest("a")}),
]

ENTRY = {"size_bytes": 2, "digest": digest("2"), "chunks": [digest("1")]}
GET_ROWS = {"v": 1, "t": "get_rows", "datanet": digest("a"), "rows_root": digest("b")}
LISTING = {"v": 1, "t": "listing", "version": ENTRY, "rows": ENTRY}
PART = {"v": 1, "t": "part", "part": "rows", "index": 0, "data": "0x0102"}
FRAMES: list[Case] = [
    ("get_rows", "a version of a Datanet", GET_ROWS),
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
]


def unwritten(given: Any) -> Any:
    """Convert JSON to the content of a frame, where ids, digests and data are bytes."""
    if isinstance(given, dict):
        return {key: unwritten(value) for key, value in given.items()}
    if isinstance(given, list):
        return [unwritten(each) for each in given]
    return bytes_of(given) if isinstance(given, str) and given.startswith("0x") else given


RULES: Rules = {
    "rows_topic": (topic, TOPICS),
    "rows_frame": (lambda given: hex_of(encode_frame(rows.encode(rows.decode(unwritten(given))))), FRAMES),
    "decode_rows_frame": (
        read_back(rows),
        [(name, why, hex_of(encode_frame(unwritten(given)))) for name, why, given in (*FRAMES, *REFUSED)],
    ),
}
