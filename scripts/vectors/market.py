"""Frames of the streams `call`, `ads`, `dialback` and `adapter`, the award of a call, and files in chunks."""

from typing import Any

from openledger_protocol.auction import Bid, award, expected_cost, is_exploring, price_ceiling, trust_ppm, why_not
from openledger_protocol.codec import FrameDecoder, encode_frame
from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Wei
from openledger_protocol.wire import ads, dialback, market, transfer
from openledger_protocol.wire.ads import digest_of
from openledger_protocol.wire.transfer import file_entry

from .advertisement import CONTENT, PEER_ID
from .common import NODE, SIGNER, Case, Rule, Rules, bytes_of, digest, hex_of, write

CALL = {
    "v": 1,
    "t": "call",
    "id": digest("2"),
    "base": digest("3"),
    "adapter": digest("4"),
    "tokens_in": 100,
    "tokens_max": 64,
    "price_in_max": "1000",
    "price_out_max": str(2**128 - 1),
    "deadline_ms": 1_000,
}
BID = {
    "v": 1,
    "t": "bid",
    "id": digest("2"),
    "wallet": NODE,
    "signer": SIGNER,
    "generation": digest("9"),
    "terms": {"price_in_wei": "900", "price_out_wei": "1800"},
    "profile_hash": digest("5"),
    "algo_id": 1,
    "index_root": digest("6"),
    "chunk_tokens": 32,
    "context_max": 2_048,
    "queue": 1,
    "is_warm": True,
    "ttft_ms": 120,
    "tokens_per_s": 40,
    "valid_ms": 5_000,
}
ERROR = {"v": 1, "t": "error", "code": "overloaded", "message": "the queue is full", "retryable": True}
LOST = {"v": 1, "t": "lost", "id": digest("2"), "reason": "another was cheaper"}
GET_ADS = {"v": 1, "t": "get", "base": digest("3"), "digest": "0x", "bucket_min": 0, "count_max": 320}
GET_REST = {**GET_ADS, "digest": hex_of(digest_of([("a", 1)])), "bucket_min": 200}
ADS = {"v": 1, "t": "ads", "ads": [CONTENT]}
GET_BASES = {"v": 1, "t": "get_bases", "count_max": 64}
KNOWN = {"base": digest("3"), "num_sellers": 12, "ad": CONTENT}
BASES = {"v": 1, "t": "bases", "bases": [KNOWN]}
WEIGHTS = "adapter_model.safetensors"
VERSION_PATH = f"datanets/{digest('a')}/{digest('b')}.json"
GET_CHUNK = {"v": 1, "t": "get_chunk", "id": digest("4"), "path": WEIGHTS, "index": 0}
CHUNK = {"v": 1, "t": "chunk", "id": digest("4"), "path": WEIGHTS, "index": 0, "data": "0x0102"}
SMALL = {
    name: write(file_entry(name, [b"{}"]))
    for name in ("adapter.json", "adapter_config.json", WEIGHTS, "attribution/manifest.json", VERSION_PATH)
}
MANIFEST = {
    "v": 1,
    "t": "manifest",
    "id": digest("4"),
    "files": [entry for name, entry in SMALL.items() if not name.startswith("datanets")],
    "versions": [SMALL[VERSION_PATH]],
}

CALL_FRAMES: list[Case] = [
    ("call", "what a requester needs", CALL),
    ("bid", "what a node asks", BID),
    ("bid with abilities", "what its backend can do; absent from a node that names none", {**BID, "can": ["tools"]}),
    ("bid with a template", "its digest; absent where the base has none", {**BID, "template": digest("9")}),
    ("bid with a tokenizer", "its digest; absent where it is not known", {**BID, "tokenizer": digest("8")}),
    ("won", "an infer stream comes", {"v": 1, "t": "won", "id": digest("2")}),
    ("lost", "with its reason", LOST),
    ("error", "a refusal", ERROR),
]
CALL_READ: list[Case] = [
    ("unknown key", "is ignored", {**LOST, "later": 1}),
    ("unknown t", "is refused", {**LOST, "t": "open"}),
    ("version 2", "is refused by name", {**LOST, "v": 2}),
    ("no tokens", "an answer has at least one", {**CALL, "tokens_max": 0}),
    ("wei as a number", "wei is decimal text", {**CALL, "price_in_max": 1_000}),
    ("no speed", "a bidder makes at least a token in a second", {**BID, "tokens_per_s": 0}),
]
ADS_FRAMES: list[Case] = [
    ("get", "all of a base", GET_ADS),
    ("get the rest", "what differs from a digest, from a bucket on", GET_REST),
    (
        "get one",
        "only the advertisement of a peer, of whatever base",
        {**GET_ADS, "count_max": 1, "peer_id": PEER_ID},
    ),
    ("ads", "each as it came by gossip", ADS),
    ("none", "nobody is known", {**ADS, "ads": []}),
    ("get_bases", "at most so many", GET_BASES),
    ("bases", "each with its sellers and the advertisement of one", BASES),
]
ADS_READ: list[Case] = [
    ("321", "over what fits", {**ADS, "ads": ["0x"] * 321}),
    ("65 bases", "over what fits", {**BASES, "bases": [{**KNOWN, "ad": "0x00"}] * 65}),
    ("a short digest", "1,024 bytes or none", {**GET_ADS, "digest": "0x" + "00" * 1_023}),
    ("a long digest", "1,024 bytes or none", {**GET_ADS, "digest": "0x" + "00" * 1_025}),
    ("bucket 256", "there are 256", {**GET_ADS, "bucket_min": 256}),
    ("2049 bytes", "one is over its cap", {**ADS, "ads": ["0x" + "00" * 2_049]}),
    ("no peer id", "it is that of an Ed25519 key", {**GET_ADS, "peer_id": "12D3KooW"}),
    ("get none", "ask for one at least", {**GET_ADS, "count_max": 0}),
]
DIAL_ME = {"v": 1, "t": "dial_me", "ports": [4_120, 31_000]}
DIALLED = {"v": 1, "t": "dialled", "host": "1.2.3.4", "open": [4_120]}
DIALBACK_FRAMES: list[Case] = [
    ("dial_me", "at these ports", DIAL_ME),
    ("dialled", "who answered with the asker's id", DIALLED),
    ("nobody answered", "the address says where it was dialled", {**DIALLED, "open": []}),
    ("over IPv6", "in its shortest form", {**DIALLED, "host": "2a00:1450::1"}),
    ("error", "a refusal", ERROR),
]
DIALBACK_READ: list[Case] = [
    ("no port", "name one at least", {**DIAL_ME, "ports": []}),
    ("five ports", "and four at most", {**DIAL_ME, "ports": [1, 2, 3, 4, 5]}),
    ("port 0", "nobody can be dialled there", {**DIAL_ME, "ports": [0]}),
    ("a name", "is no IP address", {**DIALLED, "host": "localhost"}),
    ("a long form", "an address has one form", {**DIALLED, "host": "2a00:1450:0:0::1"}),
    ("IPv4 in IPv6", "an address has one form", {**DIALLED, "host": "::ffff:1.2.3.4"}),
    ("a zone", "means nothing elsewhere", {**DIALLED, "host": "fe80::1%eth0"}),
]
TRANSFER_FRAMES: list[Case] = [
    ("get_manifest", "which files", {"v": 1, "t": "get_manifest", "id": digest("4")}),
    ("manifest", "all files, and whose the rows are", MANIFEST),
    ("get_chunk", "one piece", GET_CHUNK),
    ("chunk", "of at most 256 KiB", CHUNK),
]


def first_file(**changes: Any) -> dict[str, Any]:
    files: list[Any] = MANIFEST["files"]  # type: ignore[assignment]  # a list, as written above
    return {**MANIFEST, "files": [{**files[0], **changes}, *files[1:]]}


TRANSFER_READ: list[Case] = [
    ("up and away", "no path leads out of the folder", {**GET_CHUNK, "path": "attribution/../../keys/node.json"}),
    ("from the root", "no path begins at the root", {**GET_CHUNK, "path": "/adapter.json"}),
    ("a pickle", "not on the list", {**GET_CHUNK, "path": "adapter_model.bin"}),
    ("a folder in a folder", "the index is flat", {**GET_CHUNK, "path": "attribution/a/b"}),
    ("a version", "of a Datanet", {**GET_CHUNK, "path": VERSION_PATH}),
    ("a version as a file", "has its own list", first_file(path=VERSION_PATH)),
    ("a file twice", "also by another case", first_file(path="attribution/MANIFEST.json")),
    ("too few chunks", "one for each 256 KiB", first_file(size_bytes=CHUNK_BYTES + 1)),
]
BYTES = ("data", "ad")


def unwritten(value: Any) -> Any:
    """Convert JSON to the content of a frame: chunks, advertisements and what comes with them are bytes."""
    if isinstance(value, list):
        return [unwritten(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    fields = {key: unwritten(entry) for key, entry in value.items()}
    fields.update({key: bytes_of(fields[key]) for key in BYTES if key in fields})
    if "bucket_min" in fields or "ad" in fields:  # the stream `ads` has digests as bytes
        fields.update({key: bytes_of(fields[key]) for key in ("base", "digest") if key in fields})
    if "ads" in fields:
        fields["ads"] = [bytes_of(content) for content in fields["ads"]]
    return fields


def frame_of(protocol: Any) -> Rule:
    return lambda given: hex_of(encode_frame(protocol.encode(protocol.decode(unwritten(given)))))


def read_back(protocol: Any) -> Rule:
    def apply(frame: str) -> Any:
        [fields] = FrameDecoder().feed(bytes_of(frame))
        return write(protocol.encode(protocol.decode(fields)))

    return apply


def reads(frames: list[Case], refused: list[Case]) -> list[Case]:
    """Frames to read: each written frame, and some invalid ones."""
    return [(name, why, hex_of(encode_frame(unwritten(given)))) for name, why, given in (*frames, *refused)]


# ---- topics and digests of advertisements

NET = "home-1"
PEER_A = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"
PEER_B = "12D3KooWLJtG8fd2hkQzTn96MrLvThmnNQjTUFZwGEsLRz5EmSzc"


def topic_of(given: Any) -> str:
    return ads.ads_topic(NET, given["base"], given["bits"], given["index"])


def parsed_topic(given: str) -> Any:
    found = ads.parse_ads_topic(NET, given)
    return found and {"prefix": found.prefix, "bits": found.bits, "index": found.index}


def shard(bits: int, index: int) -> Any:
    return {"base": "0x0123abcd" + "0" * 56, "bits": bits, "index": index}


TOPICS: list[Case] = [
    ("a base", "its first 8 digits", shard(0, 0)),
    ("half of a base", "a depth and a place", shard(1, 1)),
    ("the deepest", "256 shards", shard(8, 255)),
    ("no such shard", "is refused", shard(2, 4)),
    ("too deep", "is refused", shard(9, 0)),
]
PARSED: list[Case] = [
    ("a base", "all of its sellers", "/openledger/home-1/ads/0123abcd/2"),
    ("a shard", "some of them", "/openledger/home-1/ads/0123abcd.3.7/2"),
    ("another network", "is none of ours", "/openledger/home-2/ads/0123abcd/2"),
    ("version 1", "is none of ours", "/openledger/home-1/ads/0123abcd/1"),
    ("no such shard", "is none of ours", "/openledger/home-1/ads/0123abcd.2.4/2"),
    ("a leading zero", "a shard has one name", "/openledger/home-1/ads/0123abcd.3.07/2"),
]
SHARDS: list[Case] = [
    (f"{bits} bits of {peer_id[-4:]}", "the first bits of its hash", {"peer_id": peer_id, "bits": bits})
    for peer_id in (PEER_A, PEER_B)
    for bits in (0, 1, 2, 8)
]
DIGESTS: list[Case] = [
    ("none", "no bytes", []),
    ("one", "four bytes in its bucket", [{"peer_id": PEER_A, "seq": 1}]),
    ("two", "in any order", [{"peer_id": PEER_B, "seq": 2**64 - 1}, {"peer_id": PEER_A, "seq": 1}]),
    ("the next one", "is in the same bucket", [{"peer_id": PEER_A, "seq": 2}]),
]


# ---- the award


def offer(
    peer_id: str,
    trust: int = 800_000,
    price_in: int = 900,
    price_out: int = 1_800,
    *,
    num_measured: int = 3,
    **changes: Any,
) -> Any:
    terms = {"price_in_wei": str(price_in), "price_out_wei": str(price_out)}
    own = {"peer_id": peer_id, "trust_ppm": trust, "num_measured": num_measured}
    return {**own, "bid": {**BID, "terms": terms, **changes}}


def bid_of(given: Any) -> Bid:
    message: Any = market.decode(given["bid"])
    own = {name: given[name] for name in ("peer_id", "trust_ppm", "num_measured")}
    return Bid(message=message, **own)


def awarded(given: Any) -> Any:
    call: Any = market.decode(given["call"])
    bids = [bid_of(entry) for entry in given["bids"]]
    ranked = [
        {"peer_id": bid.peer_id, "cost": fraction(expected_cost(bid, call)), "is_warm": bid.message.is_warm}
        for bid in award(call, bids, given["explorer"], given["sticky"])
    ]
    refused = [{"place": place, "reason": why_not(call, bid)} for place, bid in enumerate(bids) if why_not(call, bid)]
    return {"ranked": ranked, "refused": refused}


def fraction(cost: Any) -> str:
    return f"{cost.numerator}/{cost.denominator}"


def auction(*bids: Any, explorer: str | None = None, sticky: str | None = None) -> Any:
    return {"call": CALL, "explorer": explorer, "sticky": sticky, "bids": list(bids)}


AWARDS: list[Case] = [
    ("no bid", "nobody wins", auction()),
    ("price", "the cheaper wins", auction(offer("a"), offer("b", price_out=1_700))),
    ("time", "the faster wins", auction(offer("a"), offer("b", ttft_ms=20), offer("c", tokens_per_s=44))),
    ("trust", "a fifth more weighs as much as a fifth of the price", auction(offer("a"), offer("b", 960_000))),
    ("equals", "within 3 percent, by keccak", auction(offer("a"), offer("b", price_out=1_790), offer("c", 820_000))),
    ("a newcomer", "costs a quarter more", auction(offer("a", num_measured=2), offer("b", price_out=2_000))),
    (
        "an explorer",
        "wins in the cheaper half, whatever its trust",
        auction(offer("a", 1, price_out=1_700), offer("b"), offer("c", price_out=1_600), explorer="a"),
    ),
    (
        "a conversation",
        "stays with its seller while it costs at most 15 percent more, also if the call explores",
        auction(offer("a", price_out=1_550), offer("b"), offer("c", price_out=1_600), sticky="b", explorer="a"),
    ),
    (
        "a conversation with a dear seller",
        "goes on at the best one",
        auction(offer("a", price_out=1_500), offer("b"), sticky="b"),
    ),
    (
        "a dear explorer",
        "does not",
        auction(offer("a", 1, price_out=1_900), offer("b"), offer("c", price_out=1_600), explorer="a"),
    ),
    ("a tie", "by keccak of request id and peer id", auction(offer("a"), offer("b"), offer("c"), offer("d"))),
    ("twice the same peer", "its best counts", auction(offer("a"), offer("a", price_in=1, is_warm=False))),
    ("free", "they differ by their time", auction(offer("a", 10**6, 0, 0), offer("b", 10**6, 0, 0, ttft_ms=1))),
    (
        "left out",
        "too dear, of another request, too short, not trusted, a newcomer with a large chunk",
        auction(
            offer("a", price_in=1_001),
            offer("b", id=digest("9")),
            offer("c", context_max=163),
            offer("d", 0),
            offer("e", context_max=164),
            offer("f", num_measured=2, chunk_tokens=33),
        ),
    ),
    (
        "large amounts",
        "exact at any size",
        auction(offer("a", price_out=2**128 - 1), offer("b", price_out=2**128 - 2)),
    ),
]


def seen(whole: int = 0, failed: int = 0, late: int = 0) -> Any:
    return {"whole": whole, "failed": failed, "late": late}


SEEN: list[Case] = [
    *((f"{count} whole", "trust is earned", seen(count)) for count in range(33)),
    *((f"8 whole and {count} failed", "and lost", seen(8, count)) for count in range(1, 25)),
    *((f"8 whole and {count} late", "faster", seen(8, 0, count)) for count in range(1, 25)),
    ("all three", "each weighs by itself", seen(5, 2, 3)),
    ("many", "32 whole answers are enough", seen(1_000)),
    ("many with a failure", "scaled down against the seller", seen(99, 1)),
    ("many of each", "scaled down against the seller", seen(70, 20, 10)),
]
EXPLORING: list[Case] = [
    (f"request {number}", "by keccak of its id", f"0x{number:064x}") for number in (0, 1, 2, 26, 80)
]


def priced(price_in: int, price_out: int, stake: int) -> Any:
    terms = {"price_in_wei": str(price_in), "price_out_wei": str(price_out)}
    return {"terms": terms, "bonded_wei": str(stake)}


def ceiling_of(given: Any) -> Any:
    offers = [
        (
            Terms(
                price_in_wei=Wei(int(offer["terms"]["price_in_wei"])),
                price_out_wei=Wei(int(offer["terms"]["price_out_wei"])),
            ),
            Wei(int(offer["bonded_wei"])),
        )
        for offer in given
    ]
    found = price_ceiling(offers)
    return {"price_in_wei": str(found.price_in_wei), "price_out_wei": str(found.price_out_wei)}


CEILINGS: list[Case] = [
    ("one offer", "three times its prices", [priced(1_000, 4_000, 1)]),
    ("three", "each price by itself", [priced(1, 9, 3), priced(2, 8, 3), priced(3, 7, 3)]),
    ("two halves", "the higher one", [priced(1, 1, 5), priced(9, 9, 5)]),
    ("stake", "counts, and not the number of wallets", [priced(1, 1, 5), *[priced(9, 9, 1)] * 4]),
    ("no stake", "does not count", [priced(1, 1, 0), priced(9, 9, 1)]),
    ("nobody", "has stake", [priced(1, 1, 0)]),
    ("a free seller", "does not count", [priced(0, 0, 9), priced(2, 8, 1)]),
    ("a free prompt", "does not count, and its answer does", [priced(0, 4, 9), priced(2, 8, 1)]),
    ("all free", "zero", [priced(0, 0, 1), priced(0, 0, 9)]),
    ("large", "at most 2^128 − 1", [priced(2**128 - 1, 1, 1)]),
]


# ---- files in chunks


def listed(given: Any) -> Any:
    content = bytes.fromhex(given["byte"]) * given["size_bytes"]
    pieces = [content[begin : begin + CHUNK_BYTES] for begin in range(0, len(content), CHUNK_BYTES)]
    return write(file_entry(given["path"], pieces))


FILES: list[Case] = [
    ("empty", "no chunk", {"path": "attribution/rows-0.sha256", "byte": "00", "size_bytes": 0}),
    ("one byte", "one chunk", {"path": "adapter.json", "byte": "7b", "size_bytes": 1}),
    ("a full chunk", "and no more", {"path": WEIGHTS, "byte": "01", "size_bytes": CHUNK_BYTES}),
    ("a byte more", "begins another", {"path": WEIGHTS, "byte": "01", "size_bytes": CHUNK_BYTES + 1}),
    ("another's file", "is not on the list", {"path": "../adapter.json", "byte": "7b", "size_bytes": 1}),
]

MARKET: Rules = {
    "call_frame": (frame_of(market), CALL_FRAMES),
    "decode_call_frame": (read_back(market), reads(CALL_FRAMES, CALL_READ)),
    "ads_topic": (topic_of, TOPICS),
    "parse_ads_topic": (parsed_topic, PARSED),
    "shard_of": (lambda given: ads.shard_of(given["peer_id"], given["bits"]), SHARDS),
    "ads_digest": (lambda given: hex_of(digest_of((each["peer_id"], each["seq"]) for each in given)), DIGESTS),
    "ads_frame": (frame_of(ads), ADS_FRAMES),
    "decode_ads_frame": (read_back(ads), reads(ADS_FRAMES, ADS_READ)),
    "dialback_frame": (frame_of(dialback), DIALBACK_FRAMES),
    "decode_dialback_frame": (read_back(dialback), reads(DIALBACK_FRAMES, DIALBACK_READ)),
    "award": (awarded, AWARDS),
    "trust_ppm": (lambda given: trust_ppm(**given), SEEN),
    "is_exploring": (is_exploring, EXPLORING),
    "price_ceiling": (ceiling_of, CEILINGS),
}
TRANSFER: Rules = {
    "adapter_frame": (frame_of(transfer), TRANSFER_FRAMES),
    "decode_adapter_frame": (read_back(transfer), reads(TRANSFER_FRAMES, TRANSFER_READ)),
    "file_entry": (listed, FILES),
}
