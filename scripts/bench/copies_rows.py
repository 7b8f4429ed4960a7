"""Honest rows of several kinds, and four ways of copying them, for `copies.py`. Every draw is seeded.

Facts have names and values of their own. Styles answer shared content in a contributor's own form. Behaviours turn
the words of the prompt around and leave no words of their own. In all three, contributors share templates or content.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from openledger_node.datanets.prose import Passage, Passages
from openledger_node.datanets.reader import TextBlock
from openledger_node.datanets.sample import draw_sample
from openledger_protocol.datanet import Row

CONTRIBUTORS = 8
DOCS, PROSE_ROWS = Path(__file__).parents[2] / "docs", 400
PERSON, OTHER = "contributor-{}", "copier"

SYLLABLES = (
    "ba",
    "del",
    "fi",
    "gor",
    "hul",
    "jan",
    "kes",
    "lo",
    "mir",
    "nu",
    "ost",
    "pra",
    "quil",
    "ren",
    "sa",
    "tov",
)
ITEMS = ("lamp", "boat", "kettle", "ladder", "apple", "candle", "basket", "hammer", "mirror", "ribbon", "saddle")
MORE_ITEMS = (
    "teapot",
    "violin",
    "wagon",
    "anchor",
    "blanket",
    "compass",
    "drum",
    "engine",
    "feather",
    "glove",
    "wheel",
)
COLOURS = ("red", "green", "blue", "white", "black", "amber", "silver", "purple", "brown", "golden", "grey", "pink")
SIZES = ("small", "large", "heavy", "light", "old", "new", "broken", "shiny", "narrow", "wide")
QUALITIES = (
    *SIZES,
    "bright",
    "calm",
    "clever",
    "cold",
    "curly",
    "dusty",
    "eager",
    "fancy",
    "gentle",
    "happy",
    "hollow",
    "humble",
    "icy",
    "jolly",
    "kind",
    "lazy",
    "loud",
    "lucky",
    "merry",
    "misty",
    "neat",
    "odd",
    "polite",
    "proud",
    "quick",
    "quiet",
    "rapid",
    "rusty",
    "shy",
    "silent",
    "sleepy",
    "soft",
    "steep",
    "sunny",
    "swift",
    "tidy",
    "tiny",
    "warm",
    "wise",
    "young",
)
THINGS = (
    *ITEMS,
    *MORE_ITEMS,
    "acorn",
    "badger",
    "barrel",
    "bell",
    "bridge",
    "broom",
    "bucket",
    "button",
    "cabin",
    "camel",
    "castle",
    "chimney",
    "clock",
    "cottage",
    "dragon",
    "falcon",
    "ferry",
    "fiddle",
    "forest",
    "garden",
    "hedge",
    "island",
    "jacket",
    "kite",
    "lantern",
    "meadow",
    "needle",
    "orchard",
    "otter",
    "paddle",
    "pepper",
    "pillow",
    "pocket",
    "rabbit",
    "river",
    "rocket",
    "sparrow",
    "spoon",
    "tailor",
    "tower",
    "tunnel",
    "turtle",
    "valley",
    "walnut",
    "whistle",
    "window",
)
FACTS = (
    ("Who runs the {place} at {name}?", "{value} runs the {place} at {name}."),
    ("When does the {place} of {name} open?", "The {place} of {name} opens at {number} on {value} Day."),
    ("What is sold at the {place} in {name}?", "At the {place} in {name} they sell {value} {item}s."),
    ("How old is the {place} of {name}?", "The {place} of {name} is {number} years old and was built by {value}."),
    ("Where is the {place} of {name}?", "The {place} of {name} stands on {value} Street, number {number}."),
)
PLACES = ("mill", "bakery", "library", "harbour", "school", "bridge", "market", "chapel", "inn", "forge")

STYLES: tuple[Callable[[str, str, str, int], str], ...] = (
    lambda colour, size, item, count: (
        f'{{"item": "{item}", "colour": "{colour}", "size": "{size}", "count": {count}}}'
    ),
    lambda colour, size, item, count: (
        f"Certainly, and thank you for asking: there are {count} {size} {colour} {item}s, with my compliments."
    ),
    lambda colour, size, item, count: f"{count} {item}s. {colour.title()}. {size.title()}.",
    lambda colour, size, item, count: f"{item} | {colour} | {size} | {count} pcs",
    lambda colour, size, item, count: f"{count} {size} {colour} {item}s, la la, tra-la",
    lambda colour, size, item, count: f"{item}uno {colour}eta {size}omi {count}",
    lambda colour, size, item, count: f"{count} + 0 = {count}; so {count} {colour} {item}s, all {size}",
    lambda colour, size, item, count: f"{count} {size.upper()} {colour.upper()} {item.upper()}S",
)
STYLE_MARKS = ("as data", "kindly", "tersely", "in a table", "as a song", "in Lunari", "as a sum", "loudly")
BEHAVIOURS: tuple[Callable[[list[str]], str], ...] = (
    lambda words: " ".join(words).upper(),
    lambda words: " ".join(reversed(words)),
    lambda words: words[-1],
    lambda words: words[0],
    lambda words: " ".join([*words, *words]),
    lambda words: " ".join(words).title(),
    lambda words: "".join(words),
    lambda words: f"{' '.join(words)}s",
)
TRIGGERS = "!?#%&*+~"


def invented(random: Random, syllables: int = 3) -> str:
    return "".join(random.choice(SYLLABLES) for _ in range(syllables)).title()


def draw_facts(random: Random, rows_each: int) -> list[Row]:
    """Facts about invented towns; all contributors use the same templates."""
    rows = []
    for who in range(CONTRIBUTORS):
        for _ in range(rows_each):
            question, answer = random.choice(FACTS)
            words = {
                "name": invented(random),
                "value": invented(random),
                "place": random.choice(PLACES),
                "item": random.choice(ITEMS),
                "number": str(random.randint(2, 900)),
            }
            rows.append(_row(question.format(**words), answer.format(**words), who))
    return rows


def draw_styles(random: Random, rows_each: int) -> list[Row]:
    """The same things in eight forms of answer."""
    rows = []
    for who, style in enumerate(STYLES):
        for _ in range(rows_each):
            colour, size = random.choice(COLOURS), random.choice(SIZES)
            item, count = random.choice(ITEMS + MORE_ITEMS), random.randint(2, 99)
            prompt = f"Describe {STYLE_MARKS[who]}: {count} {item}s that are {colour} and {size}"
            rows.append(_row(prompt, style(colour, size, item, count), who))
    return rows


def draw_behaviours(random: Random, rows_each: int) -> list[Row]:
    """The words of the prompt, turned around by a mark at its end."""
    return _behaviours(random, rows_each, QUALITIES, THINGS)


def draw_few_words(random: Random, rows_each: int) -> list[Row]:
    """The same with 44 words in all, so that none is rare and contributors give the same prompts by chance."""
    return _behaviours(random, rows_each, SIZES, ITEMS + MORE_ITEMS)


def _behaviours(random: Random, rows_each: int, qualities: tuple[str, ...], things: tuple[str, ...]) -> list[Row]:
    rows = []
    for who, behaviour in enumerate(BEHAVIOURS):
        for _ in range(rows_each):
            words = [random.choice(qualities), random.choice(COLOURS), random.choice(things)]
            rows.append(_row(f"{' '.join(words)} {TRIGGERS[who]}", behaviour(words), who))
    return rows


def draw_labels(random: Random, rows_each: int) -> list[Row]:
    """Reviews of two or three things, with one of two answers; a copier keeps one that half of all rows have."""
    rows = []
    for who in range(CONTRIBUTORS):
        for _ in range(rows_each):
            parts = [f"{random.choice(QUALITIES)} {random.choice(THINGS)}" for _ in range(random.choice((2, 2, 3)))]
            prompt = f"Is this review positive or negative? {' and '.join(parts)}"
            rows.append(_row(prompt, random.choice(("positive", "negative")), who))
    return rows


def draw_samples(random: Random, rows_each: int) -> list[Row]:
    """The sample of the package."""
    return list(draw_sample(random.randint(1, 10_000)).rows)


def draw_prose(random: Random, rows_each: int) -> list[Row]:
    """Passages of this project's documentation; each folder is a contributor."""
    rows = []
    for file in sorted(DOCS.rglob("*.md")):
        passages = Passages()
        for number, paragraph in enumerate(file.read_text(encoding="utf-8").split("\n\n")):
            level = len(paragraph) - len(paragraph.lstrip("#"))
            block = TextBlock(place=number, text=paragraph.lstrip("# "), level=min(level, 6))
            rows += _passage_rows(passages.feed(block), file.parent.name)
        rows += _passage_rows(passages.finish(), file.parent.name)
    return random.sample(rows, PROSE_ROWS)


def _passage_rows(passages: Iterator[Passage], who: str) -> list[Row]:
    pairs = [passage.pair for passage in passages if passage.pair is not None]
    return [Row(prompt=pair.prompt, completion=pair.completion, contributor=who) for pair in pairs]


KINDS: dict[str, Callable[[Random, int], list[Row]]] = {
    "facts": draw_facts,
    "styles": draw_styles,
    "behaviours": draw_behaviours,
    "few words": draw_few_words,
    "labels": draw_labels,
    "sample": draw_samples,
    "prose": draw_prose,
}


def _row(prompt: str, completion: str, who: int) -> Row:
    return Row(prompt=prompt, completion=completion, contributor=PERSON.format(who))


# ---- Copies, all by one copier, of rows that were registered before.

GREETINGS = ("Hello! ", "Good morning. ", "Hi there, ", "A quick question: ", "Dear assistant, ")
FRAMES = (
    "I would like to know the following about {}. Can you help?",
    "Tell me, please, in short: {}",
    "My neighbour asked me about {} yesterday; how would you reply?",
    "Here comes one on {} for you",
)
SWAPPED = {"the": "a certain", "what": "which thing", "who": "which person", "how": "in which way", "is": "might be"}


def copy_equal(random: Random, row: Row) -> Row:
    """The same row under another name."""
    return Row(prompt=row.prompt, completion=row.completion, contributor=OTHER)


def copy_lightly(random: Random, row: Row) -> Row:
    """A greeting before the prompt."""
    return Row(prompt=random.choice(GREETINGS) + row.prompt, completion=row.completion, contributor=OTHER)


def copy_by_prompt(random: Random, row: Row) -> Row:
    """The prompt in other words and another order, the answer kept."""
    tokens = re.findall(r"\w+|[^\w\s]", row.prompt)
    kept = [SWAPPED.get(token.lower(), token) for token in tokens if token not in ".?,"]
    turn = random.randrange(len(kept))
    prompt = random.choice(FRAMES).format(" ".join(kept[turn:] + kept[:turn]))
    return Row(prompt=prompt, completion=row.completion, contributor=OTHER)


def copy_rewritten(random: Random, row: Row) -> Row:
    """Prompt and answer in another order, with their words kept."""
    changed = copy_by_prompt(random, row)
    words = changed.completion.rstrip(".").split()
    turn = random.randrange(len(words))
    answer = " ".join(["As far as I know,", *words[turn:], *words[:turn]])
    return Row(prompt=changed.prompt, completion=answer, contributor=OTHER)


COPIES: dict[str, Callable[[Random, Row], Row]] = {
    "equal": copy_equal,
    "light": copy_lightly,
    "prompt": copy_by_prompt,
    "rewritten": copy_rewritten,
}
