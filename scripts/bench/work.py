"""The work of all contenders: the same prompts, with the same adapters spread over them in the same way."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from openledger_node.models.adapter_files.random_adapter import read_linears, write_random_adapter
from openledger_node.models.adapter_source import AdapterSource

RANKS = (16, 8)
ZIPF = 1.1
WORD_LETTERS_MIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The amount of work in a sample."""

    batch: int
    prompt_tokens: int
    answer_tokens: int
    samples: int
    distinct: tuple[int, ...]  # adapters in a batch, for the chart
    registered: tuple[int, ...]  # adapters that traffic is spread over
    cached: int  # adapters that the cache has room for
    requests: int  # of Zipf traffic
    cold_loads: int
    exact_tokens: int  # of answers that are compared one by one

    @property
    def few(self) -> int:
        """Distinct adapters in a batch where they are not all different: 8 of 32."""
        return self.batch // 4

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer."""
        return self.prompt_tokens + self.answer_tokens


FULL = Shape(
    batch=32,
    prompt_tokens=64,
    answer_tokens=32,
    samples=5,
    distinct=(1, 2, 4, 8, 16, 32),
    registered=(8, 64, 256, 1000),
    cached=64,
    requests=256,
    cold_loads=32,
    exact_tokens=32,
)
QUICK = Shape(
    batch=4,
    prompt_tokens=16,
    answer_tokens=4,
    samples=1,
    distinct=(1, 4),
    registered=(2, 12),
    cached=4,
    requests=24,
    cold_loads=3,
    exact_tokens=4,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Words of one token each, so that text and ids have the same length for all contenders."""

    ids: list[int]
    text: str


class PromptDrawer:
    """Draws prompts that no contender has seen before."""

    def __init__(self, base: Path, tokens: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        self._tokens = tokens
        self._words = [
            id
            for word, id in sorted(self._tokenizer.get_vocab().items())
            if word[:1] == "Ġ" and word[1:].isascii() and word[1:].isalpha() and len(word) > WORD_LETTERS_MIN
        ]
        self._draws = np.random.default_rng(7)

    def draw(self, count: int) -> list[Prompt]:
        """Draw the next prompts."""
        return [self._draw_one() for _ in range(count)]

    def _draw_one(self) -> Prompt:
        while True:
            ids = [int(id) for id in self._draws.choice(self._words, self._tokens)]
            text = self._tokenizer.decode(ids)
            if self._tokenizer.encode(text, add_special_tokens=False).ids == ids:
                return Prompt(ids=ids, text=text)


def write_adapters(folder: Path, base: Path, count: int, say: Callable[[str], None]) -> list[AdapterSource]:
    """Write adapters, half of them of one rank and half of the other."""
    linears = read_linears(base)
    sources = []
    for number in range(count):
        sources.append(write_random_adapter(folder / f"a{number}", linears, rank=RANKS[number % 2], seed=number))
        if number % 100 == 99:
            say(f"adapters: {number + 1} of {count} written")
    return sources


def spread(sources: list[AdapterSource], batch: int, distinct: int) -> list[AdapterSource | None]:
    """The adapter of each row: `distinct` of them in turn, or none."""
    return [sources[row % distinct] if distinct else None for row in range(batch)]


def draw_zipf(registered: int, count: int, seed: int) -> list[int]:
    """The adapter of each request; the r-th most popular has a weight of 1 / r^1.1."""
    odds = 1 / np.arange(1, registered + 1) ** ZIPF
    return [int(one) for one in np.random.default_rng(seed).choice(registered, count, p=odds / odds.sum())]


def folder_of(source: AdapterSource | None) -> str | None:
    return source.folder if source else None
