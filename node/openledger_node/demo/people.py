"""Contributors of the sample Datanets, and the questions about what they taught."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from openledger_protocol.primitives import Address

from ..datanets.sample import SAMPLE_SEEDS, SampleDatanet, draw_sample, person_of

ROUNDS: Final = 4
"""Questions about each subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A held-out question, the value that a right answer contains, and the contributor who taught it."""

    text: str
    value: str
    owner: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The subject of one adapter: its sample Datanet and contributors."""

    name: str  # of the adapter and of its Datanet
    seed: int
    sample: SampleDatanet

    @property
    def people(self) -> dict[Address, str]:
        """Names of the contributors by account."""
        return {account: person_of(contributor) for contributor, account in self.sample.accounts.items()}

    def questions(self) -> list[Question]:
        """List the held-out questions, taking turns among the contributors."""
        accounts = self.sample.accounts
        asked = [
            Question(text=row.prompt, value=value, owner=accounts[row.contributor])
            for row, value in zip(self.sample.held_out, self.sample.values, strict=True)
        ]
        owners = list(dict.fromkeys(question.owner for question in asked))
        by_owner = [[question for question in asked if question.owner == owner] for owner in owners]
        return [question for turn in zip(*by_owner, strict=False) for question in turn]


def draw_subjects(seed: int | None = None) -> tuple[Subject, ...]:
    """Draw two subjects; without a seed, those whose trained adapters are in the package."""
    seeds = SAMPLE_SEEDS.values() if seed is None else (2 * seed, 2 * seed + 1)
    return tuple(
        Subject(name=name, seed=each, sample=draw_sample(each))
        for name, each in zip(SAMPLE_SEEDS, seeds, strict=True)
    )


def choose_questions(subjects: Sequence[Subject]) -> list[tuple[Question, ...]]:
    """Choose a question for each subject in each round; no two are about the same kind of fact."""
    asked = [subject.questions() for subject in subjects]
    return [
        tuple(questions[number * len(subjects) + place] for place, questions in enumerate(asked))
        for number in range(ROUNDS)
    ]
