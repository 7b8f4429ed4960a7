"""What docs/reference/wire.md says is enough: the vectors, written and read anew from that page alone."""

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import base58
import msgpack
import pytest
from coincurve import PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eth_hash.auto import keccak

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def cases(file: str, rule: str) -> list[dict[str, Any]]:
    found = json.loads((VECTORS / f"{file}.json").read_text())["rules"][rule]
    return [case for case in found if "output" in case]


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def binding(network: str, peer_id: str, wallet: bytes) -> bytes:
    words = [keccak(text.encode()) for text in ("openledger.binding/1", network, peer_id)]
    return keccak(b"".join(words) + bytes(12) + wallet)


def test_peer_ids() -> None:
    for case in cases("advertisement", "peer_id"):
        assert base58.b58decode(case["output"]) == bytes.fromhex("002408011220") + raw(case["input"])


def test_bindings() -> None:
    for case in cases("advertisement", "binding"):
        given = case["input"]
        digest = binding(given["network"], given["peer_id"], raw(given["wallet"]))
        assert digest == raw(case["output"]["digest"])


def test_advertisements_and_both_their_signatures() -> None:
    for case in cases("advertisement", "sign_advertisement"):
        envelope = msgpack.unpackb(raw(case["output"]))
        body = msgpack.unpackb(envelope["body"])
        key = Ed25519PublicKey.from_public_bytes(envelope["public_key"])
        key.verify(envelope["signature"], b"openledger.advertisement/1" + hashlib.sha256(envelope["body"]).digest())
        assert base58.b58decode(body["peer_id"])[6:] == envelope["public_key"]
        signed = binding(body["network"], body["peer_id"], body["wallet"])
        compact = body["binding"][:64] + bytes([body["binding"][64] - 27])
        signer = PublicKey.from_signature_and_message(compact, signed, hasher=None)
        assert keccak(signer.format(compressed=False)[1:])[12:] == body["signer"]
        assert [raw(entry["id"]) for entry in case["input"]["warm"]] == [entry["id"] for entry in body["warm"]]


def places(content: bytes, id: str) -> list[int]:
    drawn = hashlib.sha256(b"openledger.bloom/1" + raw(id)).digest()
    a, b = int.from_bytes(drawn[:8], "big"), int.from_bytes(drawn[8:16], "big") | 1
    return [(a + i * b) % (8 * len(content[1:])) for i in range(content[0])]


def test_filters() -> None:
    for case in cases("advertisement", "bloom_filter"):
        ids, content = set(case["input"]), raw(case["output"])
        if not ids:
            assert content == b""
            continue
        size_bytes = min(511, max(8, -(-10 * len(ids) // 8)))
        num_hashes = min(7, max(1, (693 * 8 * size_bytes + 500 * len(ids)) // (1_000 * len(ids))))
        assert (content[0], len(content)) == (num_hashes, 1 + size_bytes)
        set_bits = {place for place in range(8 * size_bytes) if content[1 + place // 8] >> place % 8 & 1}
        assert set_bits == {place for id in ids for place in places(content, id)}
    for case in cases("advertisement", "bloom_may_hold"):
        content = raw(case["input"]["filter"])
        if sum(byte.bit_count() for byte in content[1:]) * 10 > 8 * len(content[1:]) * 6:
            assert case["error"] == "malformed"
            continue
        held = bool(content) and all(
            content[1 + place // 8] >> place % 8 & 1 for place in places(content, case["input"]["id"])
        )
        assert held == case["output"]


def test_awards() -> None:
    for case in cases("market", "award"):
        call = case["input"]["call"]
        refused = {entry["place"] for entry in case["output"]["refused"]}
        ranked = []
        for place, entry in enumerate(case["input"]["bids"]):
            bid, terms = entry["bid"], entry["bid"]["terms"]
            if place in refused:
                continue
            price = call["tokens_in"] * int(terms["price_in_wei"]) + call["tokens_max"] * int(terms["price_out_wei"])
            time = bid["ttft_ms"] + Fraction(1_000 * call["tokens_max"], bid["tokens_per_s"]) + 1_000
            cost = (price + 1) * time * 1_000_000 / entry["trust_ppm"]
            if entry["num_measured"] < 3:
                cost = cost * 5 / 4
            ranked.append((cost, keccak(raw(call["id"]) + entry["peer_id"].encode()), entry["peer_id"], price))
        best = {peer_id: (cost, lot, price) for cost, lot, peer_id, price in sorted(ranked, reverse=True)}
        least = min((cost for cost, _, _ in best.values()), default=0)
        order = {
            peer: (0, lot) if 100 * cost <= 103 * least else (1, cost, lot) for peer, (cost, lot, _) in best.items()
        }
        expected = sorted(order, key=lambda peer: order[peer])
        explorer, sticky = case["input"]["explorer"], case["input"]["sticky"]
        if sticky and 100 * best[sticky][0] <= 115 * least:
            expected = [sticky, *(peer for peer in expected if peer != sticky)]
        elif explorer and 2 * sum(price < best[explorer][2] for _, _, price in best.values()) < len(best):
            expected = [explorer, *(peer for peer in expected if peer != explorer)]
        assert [entry["peer_id"] for entry in case["output"]["ranked"]] == expected


@pytest.mark.parametrize(
    ("file", "rule"),
    [("market", "call_frame"), ("market", "ads_frame"), ("market", "dialback_frame"), ("transfer", "adapter_frame")],
)
def test_frames_are_a_length_and_one_map(file: str, rule: str) -> None:
    for case in cases(file, rule):
        frame = raw(case["output"])
        fields = msgpack.unpackb(frame[4:])
        assert int.from_bytes(frame[:4], "big") == len(frame) - 4
        assert list(fields) == list(case["input"])
        texts = {
            key: value for key, value in fields.items() if type(value) is not bytes and key not in ("ads", "bases")
        }
        assert texts == {key: case["input"][key] for key in texts}


def test_files_in_chunks() -> None:
    for case in cases("transfer", "file_entry"):
        content = raw(case["input"]["byte"]) * case["input"]["size_bytes"]
        pieces = [content[begin : begin + 262_144] for begin in range(0, len(content), 262_144)]
        assert raw(case["output"]["digest"]) == hashlib.sha256(content).digest()
        assert [raw(digest) for digest in case["output"]["chunks"]] == [hashlib.sha256(p).digest() for p in pieces]
