"""Canonical JSON, frames, and the id of an adapter's manifest."""

from typing import Any

from openledger_protocol.adapter import adapter_id, manifest_from_json, registered_id
from openledger_protocol.codec import FrameDecoder, canonical_digest, canonical_json, encode_frame
from openledger_protocol.datanet import datanet_id
from openledger_protocol.primitives import check_address

from .common import Case, Rules, digest, hex_of

A, B, C = digest("a"), digest("b"), digest("c")
OWNER = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
BASE = {"name": "fake", "digest": A}
LAKE = {"id": A, "version": "1", "rows_root": C, "weight_ppm": 1_000_000}
PLAIN = {"schema": "openledger.adapter/1", "name": "harbour", "base": BASE, "artifact_digest": B}
FULL = {
    **PLAIN,
    "tokenizer_digest": C,
    "chat_template_digest": C,
    "index_root": C,
    "datanets": [LAKE],
    "parent": C,
    "training": {"config": {"rank": 8, "learning_rate": 0.0002}, "seed": 7, "started": "2025-01-01T00:00:00Z"},
    "evaluation": {"loss": 0.5},
    "probe": {"prompt": "Hello €", "digest": C},
    "owner": OWNER,
    "license": "Apache-2.0",
}

CANONICAL_JSON: list[Case] = [
    ("empty object", "the shortest there is", {}),
    ("literals", "no blanks between tokens", [None, True, False]),
    (
        "keys",
        "sorted by UTF-16 code units: 😀 (d83d) before דּ (fb33)",
        {"דּ": 1, "😀": 2, "€": 3, "b": 4, "B": 5, "": 6},
    ),
    ("nested keys", "sorted at every depth; arrays keep their order", {"b": [{"d": 1, "c": 2}, 3], "a": {}}),
    (
        "escapes",
        "two-letter escapes where JSON has them, \\u00xx below a blank, all else as it is",
        '\b\t\n\f\r"\\/\x00\x1f\x7f€',
    ),
    ("no normalisation", "é as one character and as two stay different", ["\u00e9", "e\u0301"]),
    ("integers", "to the last that a double holds exactly", [0, -1, 9007199254740991, -9007199254740991]),
    (
        "doubles",
        "shortest digits that read back, as ECMAScript writes them",
        [1.0, -0.0, 1e21, 1e-7, 0.1, 333333333.33333329],
    ),
    ("an integer over 2^53 - 1", "a double cannot tell it from its neighbour", 9007199254740992),
    ("half a surrogate pair", "no UTF-8 stands for it", "\ud800"),
]

ENCODE_FRAME: list[Case] = [
    ("empty map", "a length of one, then the map", {}),
    (
        "shortest forms",
        "each integer and text in its shortest msgpack form",
        {"t": "open", "v": 1, "n": 128, "m": -1, "u": 2**64 - 1},
    ),
    (
        "order",
        "keys stay in the order of the sender: a frame is not canonical",
        {"b": 1, "a": [None, True, 0.5, "€"]},
    ),
]

DECODE_FRAMES: list[Case] = [
    ("two frames", "they come out in their order", "0x0000000481a17401" + "0000000180"),
    ("half a frame", "nothing comes out, nothing is wrong", "0x0000000481a174"),
    ("a frame over its cap", "1 MiB and a byte: told by the length alone", "0x00100001"),
    ("a list", "a frame holds one map", "0x000000019" + "0"),
    ("a map with an integer key", "keys are texts", "0x00000003810101"),
    ("two maps in one frame", "a frame holds one map", "0x000000028080"),
    ("no msgpack", "c1 is never used", "0x00000001c1"),
]

ADAPTER_IDS: list[Case] = [
    ("plain", "what `adapters add` writes for a PEFT folder: unknown fields are hashed as null", PLAIN),
    ("nulls written out", "the same id as plain", {**PLAIN, "license": None, "datanets": None}),
    ("full", "every field is known", FULL),
    ("another name", "each field is part of the id", {**PLAIN, "name": "lighthouse"}),
    ("an owner", "the only account that can register it", {**PLAIN, "owner": OWNER}),
    ("another owner", "the same manifest otherwise", {**PLAIN, "owner": "0x" + "8" * 40}),
    ("an owner without checksum", "one account, one text", {**PLAIN, "owner": OWNER.lower()}),
    ("the zero address as owner", "nobody is null", {**PLAIN, "owner": "0x" + "0" * 40}),
    ("a Datanet by its name", "two owners may use one name", {**PLAIN, "datanets": [{**LAKE, "id": "harbour"}]}),
    ("the same rows twice", "they would be paid twice", {**PLAIN, "datanets": [LAKE, {**LAKE, "id": B}]}),
    ("a Datanet twice", "it has one weight", {**PLAIN, "datanets": [LAKE, {**LAKE, "rows_root": B}]}),
    ("another schema", "a manifest of another form is not guessed at", {**PLAIN, "schema": "openledger.adapter/2"}),
    ("unknown field", "else it would not be part of the id", {**PLAIN, "licence": "MIT"}),
    ("missing digest", "weights that nothing names", {key: PLAIN[key] for key in ("schema", "name", "base")}),
    ("upper-case digest", "one digest, one text", {**PLAIN, "artifact_digest": "0x" + "B" * 64}),
    ("name with a colon", "`base:adapter` would mean two things", {**PLAIN, "name": "fake:harbour"}),
]


def decode_frames(received: str) -> list[dict[str, Any]]:
    return FrameDecoder().feed(bytes.fromhex(received.removeprefix("0x")))


def id_of(fields: Any) -> str:
    return adapter_id(manifest_from_json(fields))


CODEC: Rules = {
    "canonical_json": (lambda value: hex_of(canonical_json(value)), CANONICAL_JSON),
    "canonical_digest": (canonical_digest, CANONICAL_JSON),
    "encode_frame": (lambda message: hex_of(encode_frame(message)), ENCODE_FRAME),
    "decode_frames": (decode_frames, DECODE_FRAMES),
}


def registered_id_of(given: Any) -> str:
    return registered_id(check_address(given["owner"]), given["manifest_id"])


def datanet_id_of(given: Any) -> str:
    return datanet_id(check_address(given["creator"]), given["name"])


REGISTERED_IDS: list[Case] = [
    ("an owner", "keccak256(abi.encode(owner, manifestId))", {"owner": OWNER, "manifest_id": A}),
    ("another owner", "who registers first takes nobody's id", {"owner": "0x" + "8" * 40, "manifest_id": A}),
]
DATANET_IDS: list[Case] = [
    ("a name", "keccak256(abi.encode(creator, name))", {"creator": OWNER, "name": "harbour"}),
    ("another creator", "a name is nobody's alone", {"creator": "0x" + "8" * 40, "name": "harbour"}),
    ("32 characters", "no padding", {"creator": OWNER, "name": "a" * 32}),
    ("33 characters", "padded to a second word", {"creator": OWNER, "name": "a" * 33}),
]
ADAPTER_ID: Rules = {
    "adapter_id": (id_of, ADAPTER_IDS),
    "registered_id": (registered_id_of, REGISTERED_IDS),
    "datanet_id": (datanet_id_of, DATANET_IDS),
}
