"""Who takes part beside the nodes: the contributors of the sample Datanet, each with an account of its own."""

from dataclasses import dataclass
from hashlib import sha256

from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of

from ..datanets.sample import SampleDatanet, draw_sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A held-out wording, what a right answer contains, and who taught it."""

    text: str
    value: str
    owner: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What one adapter is taught."""

    name: str  # of the adapter and of its Datanet
    seed: int
    sample: SampleDatanet
    accounts: dict[str, Address]  # contributor → where it is paid

    def questions(self) -> list[Question]:
        """Every held-out question, those of each contributor in turn."""
        asked = [
            Question(text=row.prompt, value=value, owner=self.accounts[row.contributor])
            for row, value in zip(self.sample.held_out, self.sample.values, strict=True)
        ]
        owners = list(dict.fromkeys(question.owner for question in asked))
        by_owner = [[question for question in asked if question.owner == owner] for owner in owners]
        return [question for turn in zip(*by_owner, strict=False) for question in turn]


def draw_subjects(seed: int) -> tuple[Subject, Subject]:
    """Two towns, told apart by their seeds; accounts are drawn from the seed, too, and nobody needs their keys."""
    return _subject("harbour", 2 * seed), _subject("valley", 2 * seed + 1)


def _subject(name: str, seed: int) -> Subject:
    sample = draw_sample(seed)
    people = dict.fromkeys(row.contributor for row in sample.rows)
    return Subject(name=name, seed=seed, sample=sample, accounts={who: _account(who, seed) for who in people})


def _account(who: str, seed: int) -> Address:
    return address_of(sha256(f"openledger demo {seed} {who}".encode()).digest())
