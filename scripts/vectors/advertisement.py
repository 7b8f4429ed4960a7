"""Peer ids and signatures, filters, and encoded advertisements, valid and refused."""

from typing import Any

from openledger_protocol.advertisement import (
    Advertisement,
    OfferedAdapter,
    SignedAdvertisement,
    binding_digest,
    open_advertisement,
    read_signed,
    sign_advertisement,
    sign_binding,
)
from openledger_protocol.bloom import make_filter, may_hold
from openledger_protocol.codec import sha256_digest
from openledger_protocol.payments import Terms
from openledger_protocol.peers import check_peer_id, peer_id_from_public_key, public_key_of, sign_as_peer
from openledger_protocol.primitives import AdapterId, Wei
from openledger_protocol.wire.frames import pack_map, unpack_map

from .common import NODE, PAYER, SIGNER, SIGNER_KEY, Case, Rules, bytes_of, digest, hex_of, write

NETWORK = "development-1a2b3c4d"
SEED = b"\x07" * 32
OTHER_SEED = b"\x08" * 32
PEER_ID = peer_id_from_public_key(public_key_of(SEED))
OTHER_PEER_ID = peer_id_from_public_key(public_key_of(OTHER_SEED))
NOW_S = 1_800_000_000
IDS = [sha256_digest(f"adapter {number}".encode()) for number in range(40)]

AD: dict[str, Any] = {
    "seed": hex_of(SEED),
    "network": NETWORK,
    "peer_id": PEER_ID,
    "addresses": [f"/ip4/192.168.1.20/tcp/41234/p2p/{PEER_ID}"],
    "wallet": NODE,
    "signer": SIGNER,
    "generation": digest("9"),
    "base": digest("a"),
    "profile_hash": digest("b"),
    "algo_id": 1,
    "context_max": 2_048,
    "chunk_tokens": 32,
    "terms": {"price_in_wei": str(10**15), "price_out_wei": str(2**128 - 1)},
    "warm": [{"id": IDS[0], "name": "port-of-kiel"}, {"id": IDS[1], "name": "harbour.v2"}],
    "cold": hex_of(make_filter(IDS[:12])),
    "num_cold": 12,
    "slots_free": 4,
    "tokens_per_s": 50,
    "serves": True,
    "seq": str(2**64 - 1),
    "issued_s": NOW_S,
    "expires_s": NOW_S + 120,
    "binding": hex_of(sign_binding(SIGNER_KEY, NETWORK, PEER_ID, NODE)),
}
ASKER = {
    **AD,
    "addresses": [],
    "base": digest("0"),
    "profile_hash": digest("0"),
    "warm": [],
    "cold": "0x",
    "num_cold": 0,
    "serves": False,
    "seq": "1",
}
RELAYS = [f"/ip4/203.0.113.{number}/tcp/4001/p2p/{OTHER_PEER_ID}" for number in (1, 2, 3)]
LONG_NAMES = [{"id": id, "name": "x" * 64} for id in IDS[:16]]


def ad_of(given: dict[str, Any]) -> Advertisement:
    fields = {key: value for key, value in given.items() if key != "seed"}
    prices = {key: Wei(int(amount)) for key, amount in given["terms"].items()}
    return Advertisement(
        **{
            **fields,
            "addresses": tuple(given["addresses"]),
            "relays": tuple(given.get("relays", ())),
            "terms": Terms(**prices),
            "warm": tuple(OfferedAdapter(id=AdapterId(entry["id"]), name=entry["name"]) for entry in given["warm"]),
            "cold": bytes_of(given["cold"]),
            "binding": bytes_of(given["binding"]),
            "seq": int(given["seq"]),
        }
    )


def content_of(given: dict[str, Any]) -> str:
    return hex_of(sign_advertisement(ad_of(given), bytes_of(given["seed"])))


CONTENT = content_of(AD)


def enveloped(body: bytes, seed: bytes = SEED, **changes: Any) -> str:
    """A correctly signed body in an envelope, parts of which may be changed."""
    signed = sign_as_peer(seed, b"openledger.advertisement/1" + bytes_of(sha256_digest(body)))
    fields = SignedAdvertisement(body=body, public_key=public_key_of(seed), signature=signed)
    return hex_of(pack_map({"v": 1, "t": "ad", **to_fields(fields), **changes}))


def to_fields(signed: SignedAdvertisement) -> dict[str, object]:
    return {"body": signed.body, "public_key": signed.public_key, "signature": signed.signature}


BODY = read_signed(bytes_of(CONTENT)).body


def with_body(**changes: Any) -> str:
    return enveloped(pack_map({**unpack_map(BODY), **changes}))


def opening(content: str, **changes: Any) -> dict[str, Any]:
    return {"content": content, "network": NETWORK, "now_s": NOW_S, "seq_last": None, **changes}


TWICE = {"price_in_wei": str(2 * 10**15), "price_out_wei": str(2**128 - 1)}
OPENED: list[Case] = [
    ("good", "everything in order", opening(CONTENT)),
    ("newer", "by one", opening(CONTENT, seq_last=str(2**64 - 2))),
    ("replayed", "the same number again", opening(CONTENT, seq_last=str(2**64 - 1))),
    ("last second", "it ends at expires_s", opening(CONTENT, now_s=NOW_S + 119)),
    ("run out", "at expires_s", opening(CONTENT, now_s=NOW_S + 120)),
    ("a clock 30 s ahead", "is borne with", opening(CONTENT, now_s=NOW_S - 30)),
    ("a clock 31 s ahead", "is not", opening(CONTENT, now_s=NOW_S - 31)),
    ("another network", "it counts in its own", opening(CONTENT, network="development-00000000")),
    ("another peer's key", "the id is the key", opening(enveloped(BODY, OTHER_SEED))),
    ("a changed body", "the signature is over all of it", opening(enveloped(BODY, signature=b"\x01" * 64))),
    ("another's binding", "the wallet's signer did not sign", opening(with_body(wallet=bytes_of(PAYER)))),
    ("1,201 s", "none lasts longer than 20 minutes", opening(with_body(expires_s=NOW_S + 1_201))),
    ("version 1", "is read", opening(with_body(v=1))),
    ("version 1 and 121 s", "lasts for at most 120 s", opening(with_body(v=1, expires_s=NOW_S + 121))),
    ("a later key", "is ignored, and signed all the same", opening(with_body(later=1))),
    ("a price ceiling", "is never below the floor", opening(with_body(terms_max=TWICE))),
    ("a ceiling below the floor", "is refused", opening(with_body(terms_max={**TWICE, "price_in_wei": "1"}))),
    ("relays", "its own id is not repeated", opening(with_body(relays=RELAYS))),
    ("rules", "beside the usual one", opening(with_body(rules=[7]))),
    ("no relays", "are the same as none named", opening(with_body(relays=[]))),
    ("four relays", "are too many", opening(with_body(relays=[*RELAYS, RELAYS[0]]))),
    ("a relay without its id", "is refused", opening(with_body(relays=["/ip4/203.0.113.1/tcp/4001"]))),
    (
        "a relay behind a relay",
        "is refused",
        opening(with_body(relays=[f"/ip4/203.0.113.1/p2p-circuit/p2p/{PEER_ID}"])),
    ),
    ("version 3 of the body", "is refused by name", opening(with_body(v=3))),
    ("version 2 of the envelope", "is refused by name", opening(enveloped(BODY, v=2))),
    ("2049 bytes", "size comes first", opening("0x" + "00" * 2_049)),
    ("a byte behind the end", "one map and no more", opening(CONTENT + "00")),
    ("an address with a space", "visible ASCII only", opening(with_body(addresses=["/ip4/1.2.3.4 /tcp/1"]))),
]
SIGNED: list[Case] = [
    ("serves", "two adapters in memory, twelve on disk", AD),
    ("asks only", "no base, no adapters", ASKER),
    ("behind a relay", "no address of its own", {**AD, "addresses": [], "relays": RELAYS[:2]}),
    ("too large", "over 2 KiB", {**AD, "warm": LONG_NAMES}),
    ("another's seed", "only the peer's own key signs", {**AD, "seed": hex_of(OTHER_SEED)}),
]


def bind(given: dict[str, Any]) -> dict[str, str]:
    signature = sign_binding(SIGNER_KEY, given["network"], given["peer_id"], given["wallet"])
    return {"digest": hex_of(binding_digest(**given)), "signature": hex_of(signature)}


def opened(given: dict[str, Any]) -> Any:
    seq_last = None if given["seq_last"] is None else int(given["seq_last"])
    content = bytes_of(given["content"])
    written = write(open_advertisement(content, network=given["network"], now_s=given["now_s"], seq_last=seq_last))
    return {**written, "seq": str(written["seq"])}


RULES: Rules = {
    "peer_id": lambda key: peer_id_from_public_key(bytes_of(key)),
    "check_peer_id": check_peer_id,
    "binding": bind,
    "bloom_filter": lambda ids: hex_of(make_filter(ids)),
    "bloom_may_hold": lambda given: may_hold(bytes_of(given["filter"]), given["id"]),
    "sign_advertisement": (content_of, SIGNED),
    "open_advertisement": (opened, OPENED),
}
