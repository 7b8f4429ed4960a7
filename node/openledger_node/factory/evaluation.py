"""What an adapter gained over its base, and what it lost: pure figures of answers and losses."""

from collections.abc import Sequence
from math import sqrt
from typing import Any, Final

from openledger_protocol.datanet import Row

from .trainer import EvaluationResult

ANSWER_TOKENS_MAX: Final = 64
ROWS_USUAL: Final = 16
"""Held-out rows that are answered unless the owner says otherwise: half a minute with the demo base on two cores."""

ROWS_MAX: Final = 2_000
WORDS_MAX: Final = 2_000
"""ROUGE-L compares each word with each: what is longer is cut."""

CONFIDENCE_95: Final = 1.96
"""Standard errors on either side of a share that hold 95 % of a normal distribution."""


def summarise(rows: Sequence[Row], result: EvaluationResult) -> dict[str, Any]:
    """The figures for people: of base and adapter, over the same rows."""
    wanted = [row.completion for row in rows]
    base = [rouge_l(answer, each) for answer, each in zip(result.answers_base, wanted, strict=True)]
    adapter = [rouge_l(answer, each) for answer, each in zip(result.answers_adapter, wanted, strict=True)]
    return {
        "rows": len(rows),
        "loss": _pair(result.loss_base, result.loss_adapter),
        "rouge_l": _pair(_mean(base), _mean(adapter)),
        "exact": _pair(_exact_share(result.answers_base, wanted), _exact_share(result.answers_adapter, wanted)),
        "wins": wins(base, adapter),
        "general_loss": _pair(result.general_base, result.general_adapter),
    }


def rouge_l(answer: str, reference: str) -> float:
    """The harmonic mean of how much of either is in the longest common subsequence of their words; 0 to 1.

    Source: Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries, with beta 1.
    """
    ours, theirs = _words(answer), _words(reference)
    common = _longest_common(ours, theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def wins(base: Sequence[float], adapter: Sequence[float]) -> dict[str, Any]:
    """How often the adapter's answer is nearer to the reference than the base's; a tie counts half to each."""
    won = sum(ours > theirs for ours, theirs in zip(adapter, base, strict=True))
    lost = sum(ours < theirs for ours, theirs in zip(adapter, base, strict=True))
    total = len(base)
    share = (won + (total - won - lost) / 2) / total
    return {
        "won": won,
        "lost": lost,
        "tied": total - won - lost,
        "share": round(share, 6),
        "plus_minus": round(_margin(share, total), 6),
    }


def _margin(share: float, total: int) -> float:
    """Half the width of the interval that holds a share with 95 %; also of few rows, and where all were won.

    Source: Wilson 1927.
    """
    z2 = CONFIDENCE_95**2
    return CONFIDENCE_95 * sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)


def is_exact(answer: str, reference: str) -> bool:
    """Whether an answer has the reference's words, whatever its case, spaces and punctuation."""
    return _words(answer) == _words(reference)


def _exact_share(answers: Sequence[str], references: Sequence[str]) -> float:
    return _mean([float(is_exact(answer, each)) for answer, each in zip(answers, references, strict=True)])


def _pair(base: float, adapter: float) -> dict[str, float]:
    return {"base": round(base, 6), "adapter": round(adapter, 6)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _words(text: str) -> list[str]:
    cleaned = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    return cleaned.split()[:WORDS_MAX]


def _longest_common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """The length of the longest common subsequence, a row of the table at a time."""
    row = [0] * (len(theirs) + 1)
    for word in ours:
        corner = 0
        for place, other in enumerate(theirs, 1):
            above = row[place]
            row[place] = corner + 1 if word == other else max(above, row[place - 1])
            corner = above
    return row[-1]
