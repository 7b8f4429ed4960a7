"""The infer stream's frames, byte by byte; and frames that are refused."""

from openledger_protocol.wire import inference

from .common import Case, Rules, digest, given_in
from .frames import Stream

STREAM = Stream(
    module=inference,
    octets=("signature", "vectors"),
    long_numbers=("seed", "seq", "issued_at_s", "asked_at_s", "withdraw_delay_s"),
)
GIVEN = given_in("wire", "infer_frame")
OPEN, CHUNK, PING, ASK = (GIVEN[name] for name in ("open", "chunk", "ping", "ask"))
READ: list[Case] = [
    ("unknown key", "is ignored", {**PING, "later": 1}),
    (
        "unknown key of sampling",
        "is refused: to ignore it might be another answer",
        {**OPEN, "sampling": {**OPEN["sampling"], "later": 1}},
    ),
    ("unknown t", "is refused", {**PING, "t": "pong"}),
    ("no t", "is refused", {"v": 1}),
    ("version 2", "is refused by name", {**PING, "v": 2}),
    ("no version", "is refused by name", {"t": "ping"}),
    ("wei as a number", "wei is decimal text", {**CHUNK, "cumulative": 7}),
    ("wei with a leading zero", "one amount, one text", {**CHUNK, "cumulative": "07"}),
    ("true for a number", "is none", {**CHUNK, "tokens": True}),
    ("a missing field", "each is required", {key: value for key, value in CHUNK.items() if key != "ids"}),
    ("ask for nothing", "it names at least one request", {**ASK, "ids": []}),
    ("ask for nine", "it names 8 requests at most", {**ASK, "ids": [digest("2")] * 9}),
    ("an id of 33 bits", "over its bound", {**CHUNK, "ids": [2**32]}),
]

RULES: Rules = {
    "infer_frame": STREAM.frame,
    "decode_infer_frame": (STREAM.read, STREAM.to_read("wire", "infer_frame", READ)),
}
