"""Attribution of one answer: each contributor's share of its data fee."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from heapq import nsmallest

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.attribution import RowScore, Share
from openledger_protocol.constants import PPM
from openledger_protocol.division import apportion
from openledger_protocol.inference import Message
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId
from openledger_protocol.rules import DATANET_RULES, TEXT_RULE, rule_names

from ..engine.tokenizer import Tokenizer
from ..errors import NodeError
from ..plugs import load_plug
from .attributor import Attributor, Exchange, Scores
from .owners import OwnedDatanet
from .registry import Registered

CANDIDATES = 16
"""Rows that are looked at first for each paid cluster, because a cluster may have several of the best rows."""


@cache
def open_attributor(rule: int = TEXT_RULE) -> Attributor:
    """Open the algorithm of an attribution rule that a Datanet may allow.

    Raises:
        NodeError: this release does not know the rule.
    """
    if rule not in DATANET_RULES:
        raise NodeError(f"this node can't compute attribution rule {rule}, only {rule_names(DATANET_RULES)}")
    attributor: Attributor = load_plug("attributor", DATANET_RULES[rule])()
    return attributor


def attribute(attributor: Attributor, datanets: Sequence[OwnedDatanet], exchange: Exchange) -> tuple[Share, ...]:
    """Compute the shares of each Datanet, 1,000,000 ppm each, ascending by Datanet and account."""
    return tuple(
        share
        for datanet in sorted(datanets, key=lambda datanet: datanet.id)
        for share in share_out(attributor, datanet, attributor.score(exchange, datanet.index))
    )


def share_out(attributor: Attributor, datanet: OwnedDatanet, scores: Scores) -> list[Share]:
    """Convert the scores of a Datanet's rows into its shares."""
    rows = paid_rows(attributor, datanet, scores)
    return attributor.share(datanet.id, [_row_score(datanet, scores, row) for row in rows])


def paid_rows(attributor: Attributor, datanet: OwnedDatanet, scores: Scores) -> list[int]:
    """The rows that an algorithm may pay, the best of each cluster, best first."""
    least = int(scores.max(initial=0)) // attributor.floor_parts if attributor.floor_parts else 0
    return best_rows(scores, datanet.clusters, attributor.clusters_max, over=least)


def best_rows(scores: Scores, clusters: Sequence[int], count: int | None = None, *, over: int = 0) -> list[int]:
    """The best row of each cluster with a score above `over`, best first (ties: lower cluster), at most `count`."""
    best: dict[int, tuple[int, int]] = {}
    for row in _candidates(scores, clusters, count, over).tolist():
        score = int(scores[row])
        if score > best.setdefault(clusters[row], (score, row))[0]:
            best[clusters[row]] = score, row
    ranked = nsmallest(count or len(best), best.items(), key=lambda item: (-item[1][0], item[0]))
    return [row for _, (_, row) in ranked]


def _candidates(scores: Scores, clusters: Sequence[int], count: int | None, over: int) -> NDArray[np.intp]:
    """Rows among which the best of the `count` best clusters are, ascending: few of many rows."""
    earning: NDArray[np.intp] = np.flatnonzero(scores > over)
    if count and count * CANDIDATES < len(earning):
        least = np.partition(scores[earning], -count * CANDIDATES)[-count * CANDIDATES]
        found: NDArray[np.intp] = earning[scores[earning] >= least]
        if len({clusters[row] for row in found.tolist()}) >= count:
            return found
    return earning


def _row_score(datanet: OwnedDatanet, scores: Scores, row: int) -> RowScore:
    return RowScore(cluster=datanet.clusters[row], account=datanet.accounts[row], score=int(scores[row]))


def row_parts(
    attributor: Attributor, datanet: OwnedDatanet, scores: Scores, ppm_of: Mapping[Address, int]
) -> dict[int, int]:
    """Divide each account's part of a Datanet among its rows, one of each cluster, as the algorithm weighs them.

    What the treasury gets for want of evidence belongs to no row, so withdrawn rows carry only what they took there.
    """
    rows = paid_rows(attributor, datanet, scores)
    weights = attributor.weights([int(scores[row]) for row in rows])
    own: defaultdict[Address, dict[int, int]] = defaultdict(dict)
    for row, weight in zip(rows, weights, strict=True):
        own[datanet.accounts[row]][row] = weight
    parts: dict[int, int] = {}
    for account, ppm in ppm_of.items():
        if account == ZERO_ADDRESS and account in own:
            taken, rest = _withdrawn_ppm(attributor, datanet, scores, rows)
            ppm = ppm * taken // max(taken + rest, 1)
        parts |= zip(own[account], apportion(ppm, list(own[account].values())), strict=True)
    return parts


def _withdrawn_ppm(
    attributor: Attributor, datanet: OwnedDatanet, scores: Scores, rows: Sequence[int]
) -> tuple[int, int]:
    """The part of a Datanet that rows without an account take, and what its treasury gets beside them, in ppm."""
    withdrawn = Address("withdrawn")
    found = [_row_score(datanet, scores, row) for row in rows]
    found = [replace(row, account=withdrawn) if row.account == ZERO_ADDRESS else row for row in found]
    ppm_of = {share.account: share.ppm for share in attributor.share(datanet.id, found)}
    return ppm_of.get(withdrawn, 0), ppm_of.get(ZERO_ADDRESS, 0)


def treasury_shares(datanet_ids: Sequence[DatanetId]) -> tuple[Share, ...]:
    """Give every Datanet's whole fee to its treasury, where rows may not be scored or can't be."""
    return tuple(Share(datanet_id=id, account=ZERO_ADDRESS, ppm=PPM) for id in sorted(datanet_ids))


def registered_shares(attributor: Attributor, registered: Registered, exchange: Exchange) -> tuple[Share, ...]:
    """Find the shares of all Datanets of a registered adapter; those that can't be scored here pay their treasury."""
    scored = attribute(attributor, registered.owned, exchange)
    unscored = set(registered.datanet_ids) - {share.datanet_id for share in scored}
    shares = (*scored, *treasury_shares(list(unscored)))
    return tuple(sorted(shares, key=lambda share: (share.datanet_id, share.account.lower())))


def exchange_of(prompt: tuple[Message, ...] | str, answer: str, tokenizer: Tokenizer) -> Exchange:
    """Tokenise the question, as `question_of` reads it, and the answer, separately."""
    return Exchange(prompt=tokenizer.encode(question_of(prompt)), answer=tokenizer.encode(answer))


def question_of(prompt: tuple[Message, ...] | str) -> str:
    """The question that attribution reads: the user's turns joined by line ends, or the raw prompt."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message.content for message in prompt if message.role == "user")
