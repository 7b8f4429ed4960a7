"""Shares: from scores, by hash, and as parts of an amount."""

from typing import Any

from openledger_protocol.attribution import (
    RowScore,
    Share,
    check_shares,
    shares_from_scores,
    shares_from_signal_scores,
    shares_hash,
    split,
)
from openledger_protocol.primitives import Wei

from .common import Rules, read, write


def split_of(given: Any) -> list[str]:
    return [str(part) for part in split(Wei(int(given["total_wei"])), given["shares_ppm"])]


def shares_of(given: Any) -> Any:
    return write(shares_from_scores(given["datanet_id"], [read(RowScore, row) for row in given["rows"]]))


def signal_shares_of(given: Any) -> Any:
    return write(shares_from_signal_scores(given["datanet_id"], [read(RowScore, row) for row in given["rows"]]))


def checked(given: Any) -> bool:
    check_shares([read(Share, share) for share in given["shares"]], given["datanet_ids"])
    return True


RULES: Rules = {
    "split": split_of,
    "shares_from_scores": shares_of,
    "shares_from_signal_scores": signal_shares_of,
    "shares_hash": lambda given: shares_hash([read(Share, share) for share in given]),
    "check_shares": checked,
}
