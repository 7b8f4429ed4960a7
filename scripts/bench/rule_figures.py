"""Figures of one case: the linear datamodeling score, owners' shares, and the takes of attackers, by rule."""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rule_attacks import COPIERS, CROWDS, REPEATING, SPLITTING, VICTIMS, attacker
from rule_data import Case
from rule_datanets import Question, owner_name
from rule_scores import RIDGES, TREASURY, ScoredCase

from openledger_node.engine.tokenizer import Tokenizer
from openledger_protocol.datanet import Row

Floats = NDArray[np.float64]
Shares = Sequence[Mapping[str, float]]
"""Each contributor's part, by answer."""

PARTS: Final = 3
"""Accounts among which the splitting owner divides its rows."""


@contextmanager
def scored(case: Case, tokenizer: Tokenizer, **how: Any) -> Iterator[ScoredCase]:
    """Index a case in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield ScoredCase(case, tokenizer, Path(folder), **how)


def clean_figures(case: Case, tokenizer: Tokenizer) -> dict[str, Any]:
    """For each rule, its datamodeling scores and the owner's share on right answers."""
    questions = [Question(**dict(zip(Question.__slots__, each, strict=True))) for each in case["questions"]]
    with scored(case, tokenizer) as index:
        scores: dict[str, Any] = {**index.text_scores(), **index.signal_scores()}
        scores |= index.gradient_scores(case) if "plain" in case else {}
        rules = {}
        for rule, of_rule in scores.items():
            shares = [index.shares(rule, each) for each in of_rule]
            rules[rule] = {
                **_owner_figures(index, questions, of_rule, shares),
                **(_lds_figures(case, index, questions, of_rule, shares) if "retrained" in case else {}),
            }
        drift = _drift(index)
        unrelated = [index.shares("poa-v3", each) for each in scores["poa-v3"][len(questions) :]]
    if "retrained" in case:
        best = max((f"TRAK {ridge:g}" for ridge in RIDGES), key=lambda name: rules[name]["lds"])
        rules["TRAK"] = rules[best]
    return {
        "rows": len(index.rows),
        "questions": len(questions),
        "right": sum(_is_right(index, questions)),
        "drift": drift,
        "unrelated_to_treasury": [round(each.get(TREASURY, 0.0), 3) for each in unrelated],
        "rules": rules,
    }


def attack_figures(case: Case, tokenizer: Tokenizer) -> dict[str, Any]:
    """Takes of all attackers by each rule that needs no gradients, before and after copies are redirected."""
    questions = [Question(**dict(zip(Question.__slots__, each, strict=True))) for each in case["questions"]]
    with scored(case, tokenizer, is_redirected=False) as open_index:
        without = _shares(open_index)
    with scored(case, tokenizer) as index:
        shares = _shares(index)
        right, drift = _is_right(index, questions), _drift(index)
    with scored(case, tokenizer, keep=lambda row: row.contributor != "mover") as still:
        unmoved = _shares(still)
    with scored(case, tokenizer, keep=lambda row: not _is_repeated(row)) as once:
        unrepeated = _shares(once)
    with scored(case, tokenizer, rename=lambda n, name: f"part-{n % PARTS}" if name == SPLITTING else name) as parted:
        split = _shares(parted)
    count = len(questions)
    found: dict[str, Any] = {"rows": len(index.rows), "honest_redirected": index.num_redirected, "right": sum(right)}
    found["drift"] = drift
    for rule in shares:
        ours = shares[rule][:count]
        owners = [each.get(q.owner, 0.0) for each, q, ok in zip(ours, questions, right, strict=True) if ok]
        others = [n for n, q in enumerate(questions) if q.owner != REPEATING]
        found[rule] = {
            "owner": _mean(owners),
            **{
                name: _take(shares[rule], questions, right, name)
                | {"open": _take(without[rule], questions, right, name)["take"]}
                for name in VICTIMS
            },
            **{name: _mean([each.get(name, 0.0) for each in ours]) for name in CROWDS},
            "moved": _mean([_distance(a, b) for a, b in zip(ours, unmoved[rule][:count], strict=True)]),
            "repeating": _mean([ours[n].get(REPEATING, 0.0) for n in others]),
            "unrepeated": _mean([unrepeated[rule][n].get(REPEATING, 0.0) for n in others]),
            "split": _mean([sum(each.get(f"part-{n}", 0.0) for n in range(PARTS)) for each in split[rule][:count]]),
            "whole": _mean([each.get(SPLITTING, 0.0) for each in ours]),
        }
    return found


def _drift(index: ScoredCase) -> dict[str, Any]:
    """Parts of answers' pay that bfloat16 moves, and the least cosines of its signals."""
    drift = index.drift()
    return {
        "mean": _mean([moved for moved, _ in drift]),
        "most": max(moved for moved, _ in drift),
        "least_cosines": [min(part) for part in zip(*(cosines for _, cosines in drift), strict=True)],
    }


def datamodeling_score(log_probabilities: Floats, sums: Floats) -> float:
    """Spearman's correlation of what retrainings say with what a rule says, over subsets of owners; 0 if constant."""
    left, right = _ranks(log_probabilities), _ranks(sums)
    if left.std() == 0 or right.std() == 0:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])


def _lds_figures(
    case: Case, index: ScoredCase, questions: Sequence[Question], scores: Any, shares: Shares
) -> dict[str, Any]:
    """Means over questions with their standard errors: of the raw scores of rows, and of the shares as paid."""
    retrained, subsets = case["retrained"].numpy(), case["subsets"]
    names = [row.contributor for row in index.rows]
    raw, paid = [], []
    for number in range(retrained.shape[1]):
        sums = [
            sum(float(s) for s, name in zip(scores[number], names, strict=True) if name in each) for each in subsets
        ]
        parts = [sum(shares[number].get(name, 0.0) for name in each) for each in subsets]
        raw.append(datamodeling_score(retrained[:, number], np.array(sums)))
        paid.append(datamodeling_score(retrained[:, number], np.array(parts)))
    right = [each for each, is_right in zip(raw, _is_right(index, questions), strict=True) if is_right]
    return {"lds": _mean(raw), "lds_error": _error(raw), "lds_share": _mean(paid), "lds_right": _mean(right)}


def _owner_figures(
    index: ScoredCase, questions: Sequence[Question], scores: Any, shares: Shares
) -> dict[str, float | None]:
    owned, first = [], []
    for number, (question, is_right) in enumerate(zip(questions, _is_right(index, questions), strict=True)):
        if is_right:
            best = index.rows[int(np.argmax([float(score) for score in scores[number]]))]
            owned.append(shares[number].get(question.owner, 0.0))
            is_fact = not question.is_whole
            first.append(best.contributor == question.owner and (not is_fact or question.value in best.completion))
    return {"owner": _mean(owned), "recall_at_1": _mean(first)}


def _is_right(index: ScoredCase, questions: Sequence[Question]) -> list[bool]:
    return [q.is_right(said) for q, said in zip(questions, index.outputs[: len(questions)], strict=True)]


def _shares(index: ScoredCase) -> dict[str, list[dict[str, float]]]:
    return {rule: [index.shares(rule, each) for each in scores] for rule, scores in index.text_scores().items()}


def _take(shares: Shares, questions: Sequence[Question], right: Sequence[bool], name: str) -> dict[str, float | None]:
    """An attacker's mean part of the pay of its victim's questions; of a copier, of what both are paid together.

    `take_right` is that of right answers alone: a squatter teaches wrong ones, and who taught an answer earns by it.
    """
    victim, takes, of_right = owner_name(VICTIMS[name]), [], []
    for each, question, is_right in zip(shares, questions, right, strict=False):
        if question.owner == victim:
            taken, left = each.get(attacker(name), 0.0), each.get(victim, 0.0)
            whole = taken + left if name in COPIERS else 1.0
            takes.append(taken / whole if whole else 0.0)
            of_right += takes[-1:] if is_right else []
    return {"take": _mean(takes), "take_right": _mean(of_right)}


def _distance(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    """Half of the sum of differences between two divisions of an answer's pay."""
    return sum(abs(ours.get(name, 0.0) - theirs.get(name, 0.0)) for name in ours.keys() | theirs.keys()) / 2


def _is_repeated(row: Row) -> bool:
    return row.contributor == REPEATING and row.prompt.startswith("Hi, ")


def _ranks(numbers: Floats) -> Floats:
    """Ranks from 0; equal numbers share the mean of theirs."""
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(((ends - counts + ends - 1) / 2)[places])


def _mean(numbers: Sequence[float]) -> float | None:
    return round(statistics.mean(numbers), 4) if numbers else None


def _error(numbers: Sequence[float]) -> float:
    return round(statistics.stdev(numbers) / len(numbers) ** 0.5, 4) if len(numbers) > 1 else 0.0


Figures = Callable[[Case, Tokenizer], dict[str, Any]]
