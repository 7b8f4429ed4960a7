"""Signals of poa-v3: their hash in a receipt, cosines, and the scores of rows."""

from typing import Any

from openledger_protocol.signals import poa_v3_scores, signal_cosine, signals_from_bytes, signals_hash

from .common import Rules, bytes_of


def hash_of(given: Any) -> str:
    return signals_hash([(each["datanet_id"], signals_from_bytes(bytes_of(each["signals"]))) for each in given])


def cosine_of(given: Any) -> int:
    return signal_cosine(bytes_of(given["left"]), bytes_of(given["right"]))


def scores_of(given: Any) -> list[str]:
    found = poa_v3_scores(
        list(map(int, given["text_scores"])),
        signals_from_bytes(bytes_of(given["answer"])),
        [signals_from_bytes(bytes_of(row)) for row in given["rows"]],
        int(given["evidence_min"]),
    )
    return [str(score) for score in found]


RULES: Rules = {"signals_hash": hash_of, "signal_cosine": cosine_of, "poa_v3_scores": scores_of}
