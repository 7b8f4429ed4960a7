"""Prompts of a test buyer: drawn from a Datanet's rows, so that the right shares are clear, and worded as users do.

A node must not tell a test from a user, so a prompt is a row's question, a part of its text or a question about it,
with the small changes that people make when they type.
"""

import re
from collections.abc import Callable
from random import Random
from typing import Final

WORDS_MAX: Final = 60
"""Longer texts are cut: the prompt costs money, too."""

WORDS_MIN: Final = 4
SYSTEMS: Final = ("You are a helpful assistant.", "Answer briefly.", "You are a helpful assistant. Be concise.")
TEMPERATURES: Final = (0.0, 0.2, 0.7, 1.0)


def prompt_of_row(text: str, random: Random) -> str:
    """Make a prompt from a row's text, its question and its answer without anything between them."""
    sentences = [each for each in re.split(r"(?<=[.!?])\s*", " ".join(text.split())) if each] or [text]
    way = random.choice(_WAYS)
    return _typed(way(sentences, random), random)


def _question(sentences: list[str], _: Random) -> str:
    return _first_words(sentences[0], WORDS_MAX)


def _beginning(sentences: list[str], random: Random) -> str:
    """The beginning of a sentence, for the model to go on with."""
    sentence = random.choice(sentences)
    num_words = len(sentence.split())
    return _first_words(sentence, max(WORDS_MIN, random.randint(num_words // 2, num_words)))


def _about(sentences: list[str], random: Random) -> str:
    words = random.choice(sentences).rstrip(".!?").split()
    begin = random.randrange(max(1, len(words) - WORDS_MIN))
    some = " ".join(words[begin : begin + random.randint(WORDS_MIN, 2 * WORDS_MIN)])
    return random.choice(
        (
            "What do you know about {}?",
            "Can you explain this to me: {}?",
            "Tell me more about {}",
            "{} - why is that?",
        )
    ).format(some)


def _heard(sentences: list[str], random: Random) -> str:
    sentence = _first_words(random.choice(sentences), WORDS_MAX)
    return random.choice(
        ("Is this right? {}", "I read this: {} Is it true?", "{} Please say it in other words.")
    ).format(sentence)


_WAYS: Final[tuple[Callable[[list[str], Random], str], ...]] = (_question, _beginning, _about, _heard)


def _first_words(text: str, count: int) -> str:
    return " ".join(text.split()[: min(count, WORDS_MAX)])


def _typed(text: str, random: Random) -> str:
    """Word a prompt as it may be typed."""
    if random.random() < 0.2:
        text = text.rstrip(".?!")
    if random.random() < 0.2:
        text = text[:1].lower() + text[1:]
    if random.random() < 0.15:
        text = random.choice(("Hi, ", "Hello! ", "Quick question: ")) + text
    if random.random() < 0.15:
        text += random.choice((" Thanks", " please", " Keep it short."))
    return text
