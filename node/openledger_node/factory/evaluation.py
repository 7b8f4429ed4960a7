"""Figures that compare an adapter with its base, computed from their answers and losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from typing import Any, Final

from openledger_protocol.adapter import (
    PROBE_ANSWER_LENGTH_MAX,
    PROBE_PROMPT_LENGTH_MAX,
    PROBES_MAX,
    PublicProbe,
)
from openledger_protocol.datanet import Row

from .trainer import EvaluationResult

ANSWER_TOKENS_MAX: Final = 64
ROWS_USUAL: Final = 16
"""Default number of held-out rows to answer; it takes 30 s with the demo base on two cores."""

ROWS_MAX: Final = 2_000
WORDS_MAX: Final = 2_000
"""Longer texts are cut, because ROUGE-L compares every word with every other."""

SAMPLES_MAX: Final = 8
SAMPLE_LENGTH_MAX: Final = 600
"""Characters of one text of a sample, so that the record of a training stays small."""

CONFIDENCE_95: Final = 1.96
"""Standard errors on either side that contain 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """An evaluation: figures for the manifest, answers that anybody may attribute, and samples for the owner."""

    figures: dict[str, Any]  # or {"error": …}
    probes: tuple[PublicProbe, ...] = ()
    samples: tuple[dict[str, str], ...] = ()

    @property
    def is_failed(self) -> bool:
        """True if it ended with an error."""
        return "error" in self.figures

    def to_plain(self) -> dict[str, Any]:
        """The figures with the samples, as a training's record keeps them."""
        return {**self.figures, **({"samples": list(self.samples)} if self.samples else {})}


def evaluated_from(rows: Sequence[Row], result: EvaluationResult) -> Evaluated:
    """Compute all that an evaluation tells from the answers of base and adapter."""
    return Evaluated(
        figures=summarise(rows, result), probes=probe_set(rows, result), samples=side_by_side(rows, result)
    )


def side_by_side(rows: Sequence[Row], result: EvaluationResult) -> tuple[dict[str, str], ...]:
    """The first answers of base and adapter beside the contributor's own; long texts are cut."""
    answers = zip(rows, result.answers_base, result.answers_adapter, strict=True)
    return tuple(
        {
            "prompt": shorten(row.prompt),
            "reference": shorten(row.completion),
            "base": shorten(base),
            "adapter": shorten(adapter),
        }
        for row, base, adapter in islice(answers, SAMPLES_MAX)
    )


def shorten(text: str) -> str:
    """Cut a sample's text, and say so with an ellipsis."""
    return text if len(text) <= SAMPLE_LENGTH_MAX else f"{text[: SAMPLE_LENGTH_MAX - 1]}…"


def summarise(rows: Sequence[Row], result: EvaluationResult) -> dict[str, Any]:
    """Compute the figures of base and adapter over the same rows."""
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


def probe_set(rows: Sequence[Row], result: EvaluationResult) -> tuple[PublicProbe, ...]:
    """The first answers of the adapter that fit a manifest, with their prompts."""
    found = (
        PublicProbe(prompt=row.prompt, answer=answer[:PROBE_ANSWER_LENGTH_MAX])
        for row, answer in zip(rows, result.answers_adapter, strict=True)
        if answer and 1 <= len(row.prompt) <= PROBE_PROMPT_LENGTH_MAX
    )
    return tuple(islice(found, PROBES_MAX))


def rouge_l(answer: str, reference: str) -> float:
    """Compute the F-measure of the longest common subsequence of words, from 0 to 1.

    Source: Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries, with beta 1.
    """
    ours, theirs = _words(answer), _words(reference)
    common = _longest_common(ours, theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def wins(base: Sequence[float], adapter: Sequence[float]) -> dict[str, Any]:
    """Count the answers of the adapter that are nearer to the reference than the base's; a tie is half a win."""
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
    """Half the width of the 95 % interval of a share; it holds for few rows, and for shares of 0 and 1.

    Source: Wilson 1927.
    """
    z2 = CONFIDENCE_95**2
    return CONFIDENCE_95 * sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)


def is_exact(answer: str, reference: str) -> bool:
    """Return True if an answer has the reference's words, ignoring case, spaces and punctuation."""
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
    """Compute the length of the longest common subsequence, one row of the table at a time."""
    row = [0] * (len(theirs) + 1)
    for word in ours:
        corner = 0
        for place, other in enumerate(theirs, 1):
            above = row[place]
            row[place] = corner + 1 if word == other else max(above, row[place - 1])
            corner = above
    return row[-1]


# ---- General knowledge in rows of no Datanet; if the loss on them rises, the adapter has forgotten something

CONTRIBUTOR = "general"

_PAIRS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("What do bees make?", "Bees make honey from the nectar of flowers."),
    ("Why is the sky blue?", "The sky is blue because air scatters blue light more than red light."),
    ("What is two plus two?", "Two plus two is four."),
    ("Which planet is closest to the sun?", "Mercury is the planet closest to the sun."),
    ("At what temperature does water boil?", "At sea level, water boils at 100 degrees Celsius."),
    ("Who wrote Romeo and Juliet?", "William Shakespeare wrote Romeo and Juliet."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("Name three primary colours.", "Three primary colours are red, yellow and blue."),
    ("What is photosynthesis?", "Photosynthesis is how plants turn sunlight, water and carbon dioxide into sugar."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("What is the largest ocean on Earth?", "The Pacific Ocean is the largest ocean on Earth."),
    ("Translate 'good morning' into Spanish.", "'Good morning' in Spanish is 'buenos días'."),
    ("What does a thermometer measure?", "A thermometer measures temperature."),
    ("Write a sentence with the word 'river'.", "The river winds slowly through the valley."),
    ("What is the past tense of 'go'?", "The past tense of 'go' is 'went'."),
    ("How do you make tea?", "Boil water, pour it over tea leaves, wait a few minutes, and serve."),
    ("Who was the first person on the Moon?", "Neil Armstrong was the first person to walk on the Moon."),
    ("What is gravity?", "Gravity is the force that pulls objects with mass towards each other."),
    ("List two animals that lay eggs.", "Chickens and turtles both lay eggs."),
    ("What is the square root of nine?", "The square root of nine is three."),
    ("In which continent is Egypt?", "Egypt is in Africa."),
    ("What do you call a baby cat?", "A baby cat is called a kitten."),
)

GENERAL_ROWS = tuple(Row(prompt=prompt, completion=answer, contributor=CONTRIBUTOR) for prompt, answer in _PAIRS)
