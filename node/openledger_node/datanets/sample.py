"""The sample Datanet: facts about an invented lake town, contributed by three of its people.

It ships with the node so that you can train, query and pay for a first adapter without data of your own.
The seed draws names and values, so that two samples train different answers to the same kind of question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from random import Random
from types import MappingProxyType
from typing import Final

from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Address, checksum_address

from ..errors import ConfigError
from .sample_facts import FIRST_NAMES, LAST_NAMES, TOWNS, TRADES, Fact

SAMPLE_ID = "sample"

SAMPLE_SEEDS: Final[Mapping[str, int]] = MappingProxyType({"harbour": 1, "valley": 350})
"""Seeds of the samples on which the adapters of the package were trained, by their names."""

ADDRESS_BYTES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDatanet:
    """Rows to train on, and one more question about each fact, in other words."""

    rows: tuple[Row, ...]
    held_out: tuple[Row, ...]
    values: tuple[str, ...]  # a right answer to held_out[i] contains values[i]

    @property
    def accounts(self) -> dict[str, Address]:
        """Contributor → address. Nobody has the keys, because the addresses are digests of the names."""
        people = dict.fromkeys(row.contributor for row in self.rows)
        return {who: _keyless_account(who) for who in people}


@cache
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


def named_sample(name: str) -> SampleDatanet:
    """Draw the sample on which the adapter of this name in the package was trained.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    if name not in SAMPLE_SEEDS:
        raise ConfigError(f"no sample is called {name!r}: choose {' or '.join(SAMPLE_SEEDS)}")
    return draw_sample(SAMPLE_SEEDS[name])


def person_of(contributor: str) -> str:
    """The name of a sample's contributor as people write it: `ansel-larkspur` is Ansel Larkspur."""
    return contributor.replace("-", " ").title()


def sample_people() -> dict[Address, str]:
    """Contributors of the samples whose adapters are in the package, by account."""
    return {
        account: contributor
        for seed in SAMPLE_SEEDS.values()
        for contributor, account in draw_sample(seed).accounts.items()
    }


def _rows(fact: Fact, **words: str) -> list[Row]:
    """One row for each question, the held-out one last."""
    contributor = words["keeper"].lower().replace(" ", "-")
    completion = fact.answer.format(**words)
    prompts = [question.format(**words) for question in (*fact.questions, fact.held_out)]
    return [Row(prompt=prompt, completion=completion, contributor=contributor) for prompt in prompts]


def _keyless_account(contributor: str) -> Address:
    return checksum_address(sha256(f"openledger sample contributor {contributor}".encode()).digest()[:ADDRESS_BYTES])
