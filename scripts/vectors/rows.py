"""The topics of rows, and frames of the stream `rows`."""

from openledger_protocol.wire import rows
from openledger_protocol.wire.rows import rows_topic

from .common import Case, Rules, digest, given_in
from .frames import Stream

STREAM = Stream(module=rows, octets=("datanet", "rows_root", "digest", "chunks", "data"))
GIVEN = given_in("rows", "rows_frame")
GET_ROWS, LISTING, PART = (GIVEN[name] for name in ("get_rows", "listing", "part"))
ENTRY = LISTING["rows"]
REFUSED: list[Case] = [
    ("a short root", "a root has 32 bytes", {**GET_ROWS, "rows_root": "0x01"}),
    ("another file", "there are two", {**PART, "part": "adapter.json"}),
    ("no rows", "a version has rows", {**LISTING, "rows": {**ENTRY, "size_bytes": 0, "chunks": []}}),
    ("two chunks of two bytes", "one is enough", {**LISTING, "rows": {**ENTRY, "chunks": [digest("1")] * 2}}),
]

RULES: Rules = {
    "rows_topic": lambda given: rows_topic(given["datanet"], given["rows_root"]),
    "rows_frame": STREAM.frame,
    "decode_rows_frame": (STREAM.read, STREAM.to_read("rows", "rows_frame", REFUSED)),
}
