"""Contributors of the sample Datanets, each with an account."""

from dataclasses import dataclass
from hashlib import sha256

from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of

from ..datanets.sample import SampleDatanet, draw_sample


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
    accounts: dict[str, Address]  # contributor → paid address

    def questions(self) -> list[Question]:
        """List the held-out questions, taking turns among the contributors."""
        asked = [
            Question(text=row.prompt, value=value, owner=self.accounts[row.contributor])
            for row, value in zip(self.sample.held_out, self.sample.values, strict=True)
        ]
        owners = list(dict.fromkeys(question.owner for question in asked))
        by_owner = [[question for question in asked if question.owner == owner] for owner in owners]
        return [question for turn in zip(*by_owner, strict=False) for question in turn]


def draw_subjects(seed: int) -> tuple[Subject, Subject]:
    """Draw two subjects. The accounts come from the seed as well; nobody needs their keys."""
    return _subject("harbour", 2 * seed), _subject("valley", 2 * seed + 1)


def _subject(name: str, seed: int) -> Subject:
    sample = draw_sample(seed)
    people = dict.fromkeys(row.contributor for row in sample.rows)
    return Subject(name=name, seed=seed, sample=sample, accounts={who: _account(who, seed) for who in people})


def _account(who: str, seed: int) -> Address:
    return address_of(sha256(f"openledger demo {seed} {who}".encode()).digest())
