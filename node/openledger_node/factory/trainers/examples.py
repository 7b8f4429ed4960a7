"""Training examples: the token ids of prompts and completions, and their batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import Message

from ...engine.tokenizer import Tokenizer, open_tokenizer, special_tokens
from ...errors import ModelError

BUCKET_BATCHES = 4
"""Batches per bucket. Rows are sorted by length within a bucket: little padding, and a new mix in every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One row. An example equals only itself, so that it can be a dictionary key."""

    prompt_ids: tuple[int, ...]  # the base's chat template up to where the answer begins
    completion_ids: tuple[int, ...]  # with the end token, because an adapter must learn when to stop

    @property
    def ids(self) -> tuple[int, ...]:
        """All token ids that the model reads."""
        return self.prompt_ids + self.completion_ids


def encode_rows(rows: Sequence[Row], base_folder: Path, tokens_max: int) -> list[Example]:
    """Tokenise with the code that serves, so that prompts are learned as they will be asked.

    Raises:
        ModelError: the base has no chat template or no end token, or a row is too long.
    """
    tokenizer = open_tokenizer(base_folder)
    end_ids = tokenizer.encode(special_tokens(base_folder).get("eos_token", ""))
    if len(end_ids) != 1:
        raise ModelError(f"{base_folder} names no eos_token in tokenizer_config.json: answers would never end")
    examples = [_encode(row, tokenizer, end_ids) for row in rows]
    for row, example in zip(rows, examples, strict=True):
        if len(example.ids) > tokens_max:
            raise ModelError(f"a row has {len(example.ids)} tokens, over {tokens_max}: shorten {row.prompt[:60]!r}")
    return examples


def draw_batches(examples: Sequence[Example], batch_size: int, random: Random) -> list[list[Example]]:
    """Draw the batches of one epoch: every example once, with others of similar length, in random order."""
    shuffled = random.sample(examples, len(examples))
    buckets = _chunks(shuffled, batch_size * BUCKET_BATCHES)
    batches = [batch for bucket in buckets for batch in in_batches(bucket, batch_size)]
    return random.sample(batches, len(batches))


def in_batches(examples: Sequence[Example], batch_size: int) -> list[list[Example]]:
    """Make batches of all examples, from the shortest to the longest."""
    return _chunks(sorted(examples, key=lambda example: len(example.ids)), batch_size)


def _encode(row: Row, tokenizer: Tokenizer, end_ids: tuple[int, ...]) -> Example:
    try:
        prompt_ids = tokenizer.render((Message(role="user", content=row.prompt),))
    except MalformedError as error:
        raise ModelError(f"rows are learned as conversations, and the base cannot render one: {error}") from error
    return Example(prompt_ids=prompt_ids, completion_ids=tokenizer.encode(row.completion) + end_ids)


def _chunks(examples: list[Example], size: int) -> list[list[Example]]:
    return [examples[first : first + size] for first in range(0, len(examples), size)]
