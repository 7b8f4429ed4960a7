"""Attribution of an answer to contributors, as integer shares that every node computes alike."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from .abi import abi_encode
from .constants import (
    CLUSTER_POWER,
    CLUSTERS_MAX,
    PPM,
    SIGNAL_ACCOUNTS_MAX,
    SIGNAL_FLOOR_PARTS,
    SURE_SCORE,
)
from .eip712 import digest_word, keccak_digest
from .errors import AttributionError
from .primitives import ZERO_ADDRESS, Address, DatanetId, Digest, Wei

SHARE_TYPE = "(bytes32,address,uint32)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One contributor's share of what a receipt pays to one Datanet."""

    datanet_id: DatanetId
    account: Address  # zero: no evidence, so it goes to the Datanet's treasury
    ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScore:
    """The resemblance of one row of a Datanet to an answer; rows of a cluster are near-duplicates."""

    cluster: int
    account: Address  # the owner of the cluster's first row, not of this one
    score: int


def split(total_wei: Wei, shares_ppm: Sequence[int]) -> list[Wei]:
    """Divide `total_wei` by shares so that the parts sum to it exactly.

    Largest remainder; ties go to the lower index, so that every node computes the same parts.
    Source: Hamilton apportionment.

    Raises:
        AttributionError: the shares do not sum to 1,000,000, or one is negative.
    """
    if sum(shares_ppm) != PPM or min(shares_ppm) < 0:
        raise AttributionError(f"the shares sum to {sum(shares_ppm)} ppm, not to {PPM}, or one is negative")
    return [Wei(part) for part in _apportion(total_wei, shares_ppm)]


def shares_from_scores(datanet_id: DatanetId, scores: Iterable[RowScore]) -> list[Share]:
    """Turn scores of a Datanet's rows into its shares, ascending by account.

    A cluster counts once, with its best row. The ten best clusters (ties: lower cluster) weigh their score squared.
    Without evidence everything goes to account zero. An equal split would reward copies of an account.

    Raises:
        AttributionError: a score is negative, or two rows of a cluster name different accounts.
    """
    ranked = sorted(_best_rows(scores), key=lambda row: (-row.score, row.cluster))[:CLUSTERS_MAX]
    weights: dict[Address, int] = {}
    for row in ranked:
        weights[row.account] = weights.get(row.account, 0) + row.score**CLUSTER_POWER
    return _shares(datanet_id, weights)


def shares_from_signal_scores(datanet_id: DatanetId, scores: Iterable[RowScore]) -> list[Share]:
    """Turn scores by signals into shares that change little where the scores do; ascending by account.

    A cluster counts once, with its best row: by what its score has over an eighth of the best of all, squared. No
    number of clusters is cut off, since rounding would decide between equals. The part for rows grows evenly with the
    best score, up to the whole at SURE_SCORE, and the treasury gets the rest. A receipt has no room for more than
    SIGNAL_ACCOUNTS_MAX accounts. Of more, each is paid for what it has over the first that finds none.

    Raises:
        AttributionError: as `shares_from_scores`.
    """
    rows = _best_rows(scores)
    weights: dict[Address, int] = {}
    for row, weight in zip(rows, signal_weights([row.score for row in rows]), strict=True):
        if weight:
            weights[row.account] = weights.get(row.account, 0) + weight
    left_out = sorted(weights.values(), reverse=True)[SIGNAL_ACCOUNTS_MAX : SIGNAL_ACCOUNTS_MAX + 1]
    least = left_out[0] if left_out else 0
    sure = min(max((row.score for row in rows), default=0), SURE_SCORE)
    paid = {account: (weight - least) * sure for account, weight in weights.items() if weight > least}
    rest = sum(weights.values()) * SURE_SCORE - sum(paid.values())
    return _shares(datanet_id, {**paid, ZERO_ADDRESS: paid.get(ZERO_ADDRESS, 0) + rest})


def signal_weights(scores: Sequence[int]) -> list[int]:
    """The weights of a Datanet's best rows by signals, one of each cluster: what each has over an eighth, squared."""
    most = max(scores, default=0)
    return [max(SIGNAL_FLOOR_PARTS * score - most, 0) ** 2 for score in scores]


def _best_rows(scores: Iterable[RowScore]) -> list[RowScore]:
    """The best row of each cluster.

    Raises:
        AttributionError: a score is negative, or two rows of a cluster name different accounts.
    """
    best: dict[int, RowScore] = {}
    for row in scores:
        known = best.setdefault(row.cluster, row)
        if row.score < 0 or row.account != known.account:
            raise AttributionError(f"cluster {row.cluster} has a negative score or two first owners")
        if row.score > known.score:
            best[row.cluster] = row
    return list(best.values())


def _shares(datanet_id: DatanetId, weights: dict[Address, int]) -> list[Share]:
    if not any(weights.values()):
        return [Share(datanet_id=datanet_id, account=ZERO_ADDRESS, ppm=PPM)]
    accounts = sorted(weights, key=str.lower)
    parts = _apportion(PPM, [weights[account] for account in accounts])
    named = zip(accounts, parts, strict=True)
    return [Share(datanet_id=datanet_id, account=account, ppm=ppm) for account, ppm in named if ppm]


def _apportion(total: int, weights: Sequence[int]) -> list[int]:
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    remainders = [total * weight % whole for weight in weights]
    # sorted() is stable, so of two equal remainders the lower index comes first
    by_remainder = sorted(range(len(weights)), key=lambda index: -remainders[index])
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts


def shares_hash(shares: Sequence[Share]) -> Digest:
    """The commitment to a receipt's shares: keccak of `abi.encode(Share[])`."""
    return keccak_digest(abi_encode([f"{SHARE_TYPE}[]"], [[share_tuple(share) for share in shares]]))


def share_tuple(share: Share) -> tuple[object, ...]:
    """A share in the order of `SHARE_TYPE`."""
    return digest_word(share.datanet_id), share.account, share.ppm


def check_shares(shares: Sequence[Share], datanet_ids: Collection[DatanetId]) -> None:
    """Require that shares ascend by (Datanet, account) and give each of the adapter's Datanets 1,000,000 ppm.

    Raises:
        AttributionError: they do not, or they name a Datanet that the adapter was not trained on.
    """
    if not all(_order(left) < _order(right) for left, right in pairwise(shares)):
        raise AttributionError("shares ascend by Datanet and account, each account once")
    if any(share.ppm <= 0 for share in shares):
        raise AttributionError("a share is over zero")
    sums = {
        name: sum(share.ppm for share in group) for name, group in groupby(shares, lambda share: share.datanet_id)
    }
    if set(sums) != set(datanet_ids):
        raise AttributionError(f"the shares are of {len(sums)} Datanets, not of the adapter's {len(datanet_ids)}")
    for name, ppm in sums.items():
        if ppm != PPM:
            raise AttributionError(f"the shares of Datanet {name} sum to {ppm} ppm, not to {PPM}")


def _order(share: Share) -> tuple[str, str]:
    return share.datanet_id, share.account.lower()
