"""Provider records, the bootstrap nodes nearest to an adapter, and frames of the stream `providers`."""

from typing import Any

from openledger_protocol.codec import sha256_digest
from openledger_protocol.peers import public_key_of, sign_as_peer
from openledger_protocol.wire import providers
from openledger_protocol.wire.frames import pack_map, unpack_map
from openledger_protocol.wire.providers import ProviderRecord, nearest_points, open_record, sign_record

from .advertisement import NETWORK, NOW_S, OTHER_SEED, PEER_ID, RELAYS, SEED
from .common import Case, Rules, bytes_of, digest, given_in, hex_of, write
from .frames import Stream

RECORD: dict[str, Any] = {
    "seed": hex_of(SEED),
    "network": NETWORK,
    "adapter": digest("4"),
    "peer_id": PEER_ID,
    "addresses": [f"/ip4/203.0.113.20/tcp/4001/p2p/{PEER_ID}"],
    "relays": [],
    "issued_s": NOW_S,
    "expires_s": NOW_S + 3_600,
}


def content_of(given: dict[str, Any]) -> str:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    seed = bytes_of(fields.pop("seed"))
    return hex_of(sign_record(ProviderRecord(**fields), seed))


CONTENT = content_of(RECORD)
BODY: bytes = unpack_map(bytes_of(CONTENT))["body"]


def enveloped(body: bytes, seed: bytes = SEED, **changes: Any) -> str:
    """A correctly signed body in an envelope, parts of which may be changed."""
    signature = sign_as_peer(seed, b"openledger.provider/1" + bytes_of(sha256_digest(body)))
    envelope = {"v": 1, "t": "provider", "body": body, "public_key": public_key_of(seed), "signature": signature}
    return hex_of(pack_map({**envelope, **changes}))


def with_body(**changes: Any) -> str:
    return enveloped(pack_map({**unpack_map(BODY), **changes}))


def opening(content: str, **changes: Any) -> dict[str, Any]:
    return {"content": content, "network": NETWORK, "now_s": NOW_S, **changes}


def opened(given: dict[str, Any]) -> Any:
    return write(open_record(bytes_of(given["content"]), network=given["network"], now_s=given["now_s"]))


LONG = [f"/dns4/{'x' * 110}/tcp/{4_001 + number}" for number in range(8)]
SIGNED: list[Case] = [
    ("good", "one address", RECORD),
    ("behind a relay", "no address of its own", {**RECORD, "addresses": [], "relays": RELAYS}),
    ("long addresses", "fit", {**RECORD, "addresses": LONG, "relays": RELAYS}),
    ("nine addresses", "are too many", {**RECORD, "addresses": RECORD["addresses"] * 9}),
    ("a withdrawal", "ends when it is issued", {**RECORD, "expires_s": NOW_S}),
    ("3601 s", "none lasts longer than an hour", {**RECORD, "expires_s": NOW_S + 3_601}),
    ("another's seed", "only the peer's own key signs", {**RECORD, "seed": hex_of(OTHER_SEED)}),
]
OPENED: list[Case] = [
    ("good", "everything in order", opening(CONTENT)),
    ("last second", "it ends at expires_s", opening(CONTENT, now_s=NOW_S + 3_599)),
    ("run out", "at expires_s", opening(CONTENT, now_s=NOW_S + 3_600)),
    ("a withdrawal", "never expires", opening(with_body(expires_s=NOW_S), now_s=NOW_S + 60)),
    ("a withdrawal 31 s ahead", "is dated like any other", opening(with_body(expires_s=NOW_S), now_s=NOW_S - 31)),
    ("a second before its issue", "it can't end", opening(with_body(expires_s=NOW_S - 1))),
    ("a clock 30 s ahead", "is borne with", opening(CONTENT, now_s=NOW_S - 30)),
    ("a clock 31 s ahead", "is not", opening(CONTENT, now_s=NOW_S - 31)),
    ("another network", "it counts in its own", opening(CONTENT, network="development-00000000")),
    ("another peer's key", "the id is the key", opening(enveloped(BODY, OTHER_SEED))),
    ("a changed body", "the signature is over all of it", opening(enveloped(BODY, signature=b"\x01" * 64))),
    (
        "an advertisement's signature",
        "is for another purpose",
        opening(
            enveloped(
                BODY, signature=sign_as_peer(SEED, b"openledger.advertisement/1" + bytes_of(sha256_digest(BODY)))
            )
        ),
    ),
    ("an hour and a second", "is too long", opening(with_body(expires_s=NOW_S + 3_601))),
    ("a later key", "is ignored, and signed all the same", opening(with_body(later=1))),
    ("four relays", "are too many", opening(with_body(relays=[*RELAYS, RELAYS[0]]))),
    ("an address with a space", "visible ASCII only", opening(with_body(addresses=["/ip4/1.2.3.4 /tcp/1"]))),
    ("version 2 of the body", "is refused by name", opening(with_body(v=2))),
    ("version 2 of the envelope", "is refused by name", opening(enveloped(BODY, v=2))),
    ("2049 bytes", "size comes first", opening("0x" + "00" * 2_049)),
    ("a byte behind the end", "one map and no more", opening(CONTENT + "00")),
]


STREAM = Stream(module=providers, octets=("records", "adapter"))
GET = given_in("providers", "providers_frame")["get"]
REFUSED: list[Case] = [
    ("put nothing", "put one at least", {"v": 1, "t": "put", "records": []}),
    ("put 129", "and 128 at most", {"v": 1, "t": "put", "records": ["0x01"] * 129}),
    ("33 records", "over what is kept of an adapter", {"v": 1, "t": "records", "records": ["0x01"] * 33}),
    ("2049 bytes", "one is over its cap", {"v": 1, "t": "put", "records": ["0x" + "00" * 2_049]}),
    ("get none", "ask for one at least", {**GET, "count_max": 0}),
    ("a short id", "an id has 32 bytes", {**GET, "adapter": "0x01"}),
]

RULES: Rules = {
    "sign_record": (content_of, SIGNED),
    "open_record": (opened, OPENED),
    "nearest_points": lambda given: list(nearest_points(given["adapter"], given["points"])),
    "providers_frame": STREAM.frame,
    "decode_providers_frame": (STREAM.read, STREAM.to_read("providers", "providers_frame", REFUSED)),
}
