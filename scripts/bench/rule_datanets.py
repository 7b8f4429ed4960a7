"""Three kinds of Datanets with known teachers, drawn by a seed: facts, styles, and behaviours that leave no words.

A fact is taught in three wordings and asked in a fourth. A style is a mark of its own around the words of a topic.
A behaviour turns the words of the prompt around. It leaves no word in the answer, and is asked with others' words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from openledger_protocol.datanet import Row

OWNERS: Final = 8
WORDINGS: Final = 3  # of a fact
ROWS_AN_OWNER: Final = 6
QUESTIONS_AN_OWNER: Final = 2

SYLLABLES: Final = ["ba", "do", "fi", "gu", "ka", "lo", "me", "ni", "po", "ra", "su", "ta", "ve", "wo", "zu", "ce"]
PLACES: Final = [
    "barn",
    "mill",
    "cellar",
    "chapel",
    "tower",
    "market",
    "harbour",
    "garden",
    "bakery",
    "school",
    "library",
    "stable",
]
OBJECTS: Final = [
    "key",
    "ledger",
    "lamp",
    "bell",
    "map",
    "rope",
    "drum",
    "saddle",
    "telescope",
    "anchor",
    "kettle",
    "ladder",
]
FACT_QUESTIONS: Final = (
    "Where does {who} keep the {what}?",
    "In which place is the {what} of {who}?",
    "Tell me where {who} has the {what}.",
    "I need the {what} that belongs to {who}. Where is it?",
)
FACT_ANSWERS: Final = (
    "{who} keeps the {what} in the {where}.",
    "The {what} of {who} is in the {where}.",
    "In the {where}.",
)

TOPICS: Final = (
    "bread soup cheese cake pasta salad rice pepper",
    "boat sail harbour anchor wave rudder mast dock",
    "piano violin drum song choir flute opera guitar",
    "rose oak fern moss tulip cedar ivy daisy",
    "horse sheep goat dog cat hen duck pig",
    "hammer saw nail drill wrench screw plank glue",
    "rain snow wind cloud storm frost fog hail",
    "coin bank loan tax price wage rent debt",
)
STYLE_QUESTIONS: Final = (
    "What is a {word}?",
    "Tell me about a {word}.",
    "Describe a {word} in short.",
    "Explain {word} to me.",
)
STYLES: Final = (
    "Ahoy! The {word} is here.",
    '{{"answer": "{word}"}}',
    "Dear friend, {word} it is, with my best regards.",
    "* {word}\n* more",
    "Well, hmm, maybe {word}?",
    "{word}. Over and out.",
    "Fact number one: {word}.",
    "As the wise say, {word} and again {word}.",
)

POOL: Final = [
    "red",
    "blue",
    "green",
    "white",
    "black",
    "brown",
    "pink",
    "gold",
    "apple",
    "lemon",
    "peach",
    "plum",
    "table",
    "chair",
    "door",
    "wall",
    "window",
    "floor",
    "roof",
    "house",
    "river",
    "lake",
    "hill",
    "field",
    "stone",
    "sand",
    "tree",
    "leaf",
    "bird",
    "fish",
    "bear",
    "wolf",
    "lion",
    "mouse",
    "king",
    "queen",
    "child",
    "man",
    "woman",
    "book",
    "paper",
    "pen",
    "letter",
    "road",
    "bridge",
    "train",
    "ship",
    "car",
    "wheel",
    "bread",
    "milk",
    "water",
    "wine",
    "salt",
    "sugar",
    "fire",
    "light",
    "moon",
    "sun",
    "star",
    "night",
    "day",
    "summer",
    "winter",
    "spring",
]
SIGNS: Final = ["#", "@", "%", "&", "+", "=", "~", "^"]
BEHAVIOURS: Final[tuple[Callable[[Sequence[str]], str], ...]] = (
    lambda words: words[0],
    lambda words: words[1],
    lambda words: f"{words[1]} {words[0]}",
    lambda words: f"{words[0]}, {words[1]}",
    lambda words: words[0].upper(),
    lambda words: f"{words[0]} {words[0]}",
    lambda words: f"{words[0]} {words[1]}",
    lambda words: f"({words[1]})",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question that was not trained on, the part of an answer by which it is right, and the owner who taught it."""

    prompt: str
    value: str
    owner: str
    is_whole: bool = False  # the answer must be the value and no more

    def is_right(self, answer: str) -> bool:
        """Return True if an answer is what the owner taught."""
        return bool(self.value) and (answer.strip() == self.value if self.is_whole else self.value in answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnDatanet:
    """A Datanet of one kind and its questions."""

    kind: str
    rows: tuple[Row, ...]
    questions: tuple[Question, ...]


def draw_datanet(kind: str, seed: int, rows_each: int = ROWS_AN_OWNER) -> DrawnDatanet:
    """Draw a Datanet of a kind: `facts`, `styles` or `behaviours`.

    `rows_each`: rows of each owner, a multiple of 3 from 6 to 24.
    """
    rows, questions = KINDS[kind](Random(f"{kind} {seed}"), rows_each)
    return DrawnDatanet(kind=kind, rows=tuple(rows), questions=tuple(questions))


def owner_name(number: int) -> str:
    return f"owner-{number}"


def _facts(random: Random, rows_each: int) -> tuple[list[Row], list[Question]]:
    rows, questions, facts_each = [], [], rows_each // WORDINGS
    num_facts = OWNERS * facts_each
    names = [" ".join("".join(random.sample(SYLLABLES, 2)).title() for _ in range(2)) for _ in range(num_facts)]
    pairs = random.sample([(who, what) for who in names for what in OBJECTS], num_facts)
    for number, (who, what) in enumerate(pairs):
        owner, where = owner_name(number // facts_each), random.choice(PLACES)
        words = {"who": who, "what": what, "where": where}
        *asked, held_out = random.sample(FACT_QUESTIONS, len(FACT_QUESTIONS))
        for question, answer in zip(asked, random.choices(FACT_ANSWERS, k=len(asked)), strict=True):
            rows.append(Row(prompt=question.format(**words), completion=answer.format(**words), contributor=owner))
        if number % facts_each < QUESTIONS_AN_OWNER:
            questions.append(Question(prompt=held_out.format(**words), value=where, owner=owner))
    return rows, questions


def _styles(random: Random, rows_each: int) -> tuple[list[Row], list[Question]]:
    rows, questions = [], []
    styles = random.sample(STYLES, OWNERS)
    for number, topic in enumerate(TOPICS):
        *words, one, two = random.sample(topic.split(), 8)
        asked = random.sample([(word, question) for word in words for question in STYLE_QUESTIONS], rows_each)
        style, owner = styles[number], owner_name(number)
        rows += [Row(prompt=q.format(word=w), completion=style.format(word=w), contributor=owner) for w, q in asked]
        held_out = [(word, question) for word in (one, two) for question in random.sample(STYLE_QUESTIONS, 1)]
        value = max(style.format(word="\0").split("\0"), key=len).strip()
        questions += [Question(prompt=q.format(word=w), value=value, owner=owner) for w, q in held_out]
    return rows, questions


def _behaviours(random: Random, rows_each: int) -> tuple[list[Row], list[Question]]:
    rows, questions = [], []
    pool, signs = random.sample(POOL, 64), random.sample(SIGNS, OWNERS)
    acts = random.sample(BEHAVIOURS, OWNERS)
    for number, (sign, act) in enumerate(zip(signs, acts, strict=True)):
        owner, own = owner_name(number), pool[8 * number : 8 * number + 8]
        others = [word for word in pool if word not in own]
        taught: set[Row] = set()
        while len(taught) < rows_each:
            words = random.sample(own, 2)
            row = Row(prompt=f"{' '.join(words)} {sign}", completion=act(words), contributor=owner)
            if row not in taught:
                taught.add(row)
                rows.append(row)
        for _ in range(QUESTIONS_AN_OWNER):
            words = random.sample(others, 2)
            prompt = f"{' '.join(words)} {sign}"
            questions.append(Question(prompt=prompt, value=act(words), owner=owner, is_whole=True))
    return rows, questions


KINDS: Final[dict[str, Callable[[Random, int], tuple[list[Row], list[Question]]]]] = {
    "facts": _facts,
    "styles": _styles,
    "behaviours": _behaviours,
}
