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
from openledger_protocol.constants import SIGNAL_ACCOUNTS_MAX, SURE_SCORE
from openledger_protocol.primitives import ZERO_ADDRESS, Wei

from .common import Case, Rules, account, digest, read, write

D, E = digest("d"), digest("e")
ANN, BEN, CAT = account(1), account(2), account(3)


def rows(*scored: tuple[int, str, int]) -> dict[str, Any]:
    return {
        "datanet_id": D,
        "rows": [{"cluster": cluster, "account": owner, "score": score} for cluster, owner, score in scored],
    }


def shares(*parts: tuple[str, str, int]) -> list[dict[str, Any]]:
    return [{"datanet_id": datanet, "account": owner, "ppm": ppm} for datanet, owner, ppm in parts]


SPLITS: list[Case] = [
    ("even", "no remainder", {"total_wei": "100", "shares_ppm": [250_000, 750_000]}),
    ("a tie", "the lower index gets the wei", {"total_wei": "1", "shares_ppm": [500_000, 500_000]}),
    ("thirds", "the largest remainder gets it", {"total_wei": "10", "shares_ppm": [333_333, 333_333, 333_334]}),
    ("the most", "128 bits", {"total_wei": str(2**128 - 1), "shares_ppm": [1, 999_999]}),
    ("nothing", "zero is divided into zeros", {"total_wei": "0", "shares_ppm": [400_000, 600_000]}),
    ("not the whole", "999,999 ppm divide nothing", {"total_wei": "9", "shares_ppm": [999_999]}),
]
SCORES: list[Case] = [
    ("squared", "3 and 1 weigh 9 and 1", rows((1, ANN, 3), (2, BEN, 1))),
    ("a cluster", "counts once, with its best row", rows((1, ANN, 1), (1, ANN, 3), (2, BEN, 1))),
    ("an owner of two", "is paid for both", rows((1, ANN, 2), (2, BEN, 2), (3, ANN, 2))),
    ("ties of remainders", "the lower account gets the millionth", rows((3, CAT, 1), (2, BEN, 1), (1, ANN, 1))),
    (
        "eleven clusters",
        "ten count; of equals the lower ones",
        rows(*((number, ANN, 5) for number in range(1, 11)), (11, BEN, 5), (12, CAT, 4)),
    ),
    ("too small a share", "less than half a millionth is left out", rows((1, ANN, 10_000), (2, BEN, 1))),
    ("no evidence", "the treasury, as account zero", rows((1, ANN, 0))),
    ("no rows", "the treasury, as account zero", rows()),
    ("two owners of a cluster", "only its first owner is paid", rows((1, ANN, 1), (1, BEN, 1))),
]
SURE, HALF = SURE_SCORE, SURE_SCORE // 2
SIGNAL_SCORES: list[Case] = [
    ("a sure row", "the rows get the whole", rows((1, ANN, SURE))),
    ("half as sure", "the treasury gets the other half", rows((1, ANN, HALF))),
    ("over an eighth of the best", "60 and 25 weigh 9 and 1", rows((1, ANN, 60 * SURE), (2, BEN, 25 * SURE))),
    ("an eighth of the best", "is nothing", rows((1, ANN, 8 * SURE), (2, BEN, SURE))),
    ("a cluster", "counts once, with its best row", rows((1, ANN, HALF), (1, ANN, SURE), (2, BEN, SURE))),
    ("eleven clusters", "all count", rows(*((number, ANN, SURE) for number in range(1, 11)), (11, BEN, SURE))),
    (
        "an account too many",
        "its part is taken from all, for the treasury",
        rows(
            *((number, account(number), SURE) for number in range(1, SIGNAL_ACCOUNTS_MAX + 1)),
            (99, account(99), HALF),
        ),
    ),
    ("withdrawn", "account zero and the rest go together", rows((1, ZERO_ADDRESS, HALF), (2, BEN, HALF))),
    ("no evidence", "the treasury, as account zero", rows((1, ANN, 0))),
    ("no rows", "the treasury, as account zero", rows()),
    ("two owners of a cluster", "only its first owner is paid", rows((1, ANN, 1), (1, BEN, 1))),
]
HASHES: list[Case] = [
    ("none", "abi.encode of an empty list", shares()),
    ("one", "all to one", shares((D, ANN, 1_000_000))),
    (
        "three",
        "ascending by Datanet, then account",
        shares((D, ANN, 1), (D, BEN, 999_999), (E, ZERO_ADDRESS, 1_000_000)),
    ),
]
CHECKS: list[Case] = [
    (
        "plain",
        "each Datanet's sum to 1,000,000",
        {"datanet_ids": [D], "shares": shares((D, ANN, 1), (D, BEN, 999_999))},
    ),
    ("not ascending", "one order only", {"datanet_ids": [D], "shares": shares((D, BEN, 1), (D, ANN, 999_999))}),
    ("not the whole", "a millionth is missing", {"datanet_ids": [D], "shares": shares((D, ANN, 999_999))}),
    (
        "a Datanet left out",
        "each of the adapter's is paid",
        {"datanet_ids": [D, E], "shares": shares((D, ANN, 1_000_000))},
    ),
    ("another Datanet", "only the adapter's are paid", {"datanet_ids": [E], "shares": shares((D, ANN, 1_000_000))}),
    ("a share of nothing", "is left out", {"datanet_ids": [D], "shares": shares((D, ANN, 0), (D, BEN, 1_000_000))}),
]


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
    "split": (split_of, SPLITS),
    "shares_from_scores": (shares_of, SCORES),
    "shares_from_signal_scores": (signal_shares_of, SIGNAL_SCORES),
    "shares_hash": (lambda given: shares_hash([read(Share, share) for share in given]), HASHES),
    "check_shares": (checked, CHECKS),
}
