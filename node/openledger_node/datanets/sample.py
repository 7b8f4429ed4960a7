"""The sample Datanet: facts about an invented lake town, contributed by three of its people.

It ships with the node so that you can train, query and pay for a first adapter without data of your own.
The seed draws names and values, so that two samples train different answers to the same kind of question.
"""

from dataclasses import dataclass
from random import Random

from openledger_protocol.datanet import Row

from .sample_facts import FIRST_NAMES, LAST_NAMES, TOWNS, TRADES, Fact

SAMPLE_ID = "sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDatanet:
    """Rows to train on, and one more question about each fact, in other words."""

    rows: tuple[Row, ...]
    held_out: tuple[Row, ...]
    values: tuple[str, ...]  # a right answer to held_out[i] contains values[i]


def draw_sample(seed: int = 1) -> SampleDatanet:
    """Draw the town, its people and the facts; the same seed gives the same Datanet on every machine."""
    random = Random(seed)
    town = random.choice(TOWNS)
    first_names, last_names = random.sample(FIRST_NAMES, len(TRADES)), random.sample(LAST_NAMES, len(TRADES))
    rows: list[Row] = []
    held_out: list[Row] = []
    values: list[str] = []
    for facts, *names in zip(TRADES, first_names, last_names, strict=True):
        keeper = " ".join(names)
        for fact in facts:
            value = random.choice(fact.values or (keeper,))
            *training, other_wording = _rows(fact, town=town, keeper=keeper, value=value)
            rows += training
            held_out.append(other_wording)
            values.append(value)
    return SampleDatanet(rows=tuple(rows), held_out=tuple(held_out), values=tuple(values))


def _rows(fact: Fact, **words: str) -> list[Row]:
    """One row for each question, the held-out one last."""
    contributor = words["keeper"].lower().replace(" ", "-")
    completion = fact.answer.format(**words)
    prompts = [question.format(**words) for question in (*fact.questions, fact.held_out)]
    return [Row(prompt=prompt, completion=completion, contributor=contributor) for prompt in prompts]
