"""Frames of the streams `call`, `ads`, `dialback` and `adapter`, the award of a call, and files in chunks."""

from typing import Any

from openledger_protocol.auction import Bid, award, expected_cost, is_exploring, price_ceiling, trust_ppm, why_not
from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Wei
from openledger_protocol.wire import ads, dialback, market, transfer
from openledger_protocol.wire.ads import digest_of
from openledger_protocol.wire.transfer import file_entry

from .common import Case, Rules, given_in, hex_of, write
from .frames import Stream

CALLS, ADS_STREAM = Stream(module=market), Stream(module=ads, octets=("base", "digest", "ad", "ads"))
DIALBACK, TRANSFERS = Stream(module=dialback), Stream(module=transfer, octets=("data",))

GIVEN = given_in("market", "call_frame") | given_in("market", "ads_frame") | given_in("market", "dialback_frame")
CALL, BID, LOST = (GIVEN[name] for name in ("call", "bid", "lost"))
GET_ADS, ADS, BASES = (GIVEN[name] for name in ("get", "ads", "bases"))
KNOWN = BASES["bases"][0]
DIAL_ME, DIALLED = GIVEN["dial_me"], GIVEN["dialled"]
MANIFEST, GET_CHUNK = (given_in("transfer", "adapter_frame")[name] for name in ("manifest", "get_chunk"))
VERSION_PATH = MANIFEST["versions"][0]["path"]

CALL_READ: list[Case] = [
    ("unknown key", "is ignored", {**LOST, "later": 1}),
    ("unknown t", "is refused", {**LOST, "t": "open"}),
    ("version 2", "is refused by name", {**LOST, "v": 2}),
    ("no tokens", "an answer has at least one", {**CALL, "tokens_max": 0}),
    ("wei as a number", "wei is decimal text", {**CALL, "price_in_max": 1_000}),
    ("no speed", "a bidder makes at least a token in a second", {**BID, "tokens_per_s": 0}),
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
DIALBACK_READ: list[Case] = [
    ("no port", "name one at least", {**DIAL_ME, "ports": []}),
    ("five ports", "and four at most", {**DIAL_ME, "ports": [1, 2, 3, 4, 5]}),
    ("port 0", "nobody can be dialled there", {**DIAL_ME, "ports": [0]}),
    ("a name", "is no IP address", {**DIALLED, "host": "localhost"}),
    ("a long form", "an address has one form", {**DIALLED, "host": "2a00:1450:0:0::1"}),
    ("IPv4 in IPv6", "an address has one form", {**DIALLED, "host": "::ffff:1.2.3.4"}),
    ("a zone", "means nothing elsewhere", {**DIALLED, "host": "fe80::1%eth0"}),
]


def first_file(**changes: Any) -> dict[str, Any]:
    first, *others = MANIFEST["files"]
    return {**MANIFEST, "files": [{**first, **changes}, *others]}


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


# ---- topics of advertisements

NET = "home-1"


def topic_of(given: Any) -> str:
    return ads.ads_topic(NET, given["base"], given["bits"], given["index"])


def parsed_topic(given: str) -> Any:
    found = ads.parse_ads_topic(NET, given)
    return found and {"prefix": found.prefix, "bits": found.bits, "index": found.index}


# ---- the award


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


# ---- files in chunks


def listed(given: Any) -> Any:
    content = bytes.fromhex(given["byte"]) * given["size_bytes"]
    pieces = [content[begin : begin + CHUNK_BYTES] for begin in range(0, len(content), CHUNK_BYTES)]
    return write(file_entry(given["path"], pieces))


MARKET: Rules = {
    "call_frame": CALLS.frame,
    "decode_call_frame": (CALLS.read, CALLS.to_read("market", "call_frame", CALL_READ)),
    "ads_topic": topic_of,
    "parse_ads_topic": parsed_topic,
    "shard_of": lambda given: ads.shard_of(given["peer_id"], given["bits"]),
    "ads_digest": lambda given: hex_of(digest_of((each["peer_id"], each["seq"]) for each in given)),
    "ads_frame": ADS_STREAM.frame,
    "decode_ads_frame": (ADS_STREAM.read, ADS_STREAM.to_read("market", "ads_frame", ADS_READ)),
    "dialback_frame": DIALBACK.frame,
    "decode_dialback_frame": (DIALBACK.read, DIALBACK.to_read("market", "dialback_frame", DIALBACK_READ)),
    "award": awarded,
    "trust_ppm": lambda given: trust_ppm(**given),
    "is_exploring": is_exploring,
    "price_ceiling": ceiling_of,
}
TRANSFER: Rules = {
    "adapter_frame": TRANSFERS.frame,
    "decode_adapter_frame": (TRANSFERS.read, TRANSFERS.to_read("transfer", "adapter_frame", TRANSFER_READ)),
    "file_entry": listed,
}
