"""Rows of people who want the pay for what others taught, made from a Datanet's own rows; all come after these.

An attacker's name says what it does, and ends with the number of its victim where there is one.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from rule_datanets import OWNERS, owner_name

from openledger_protocol.datanet import Row

VICTIMS: Final = {"exact": 0, "light": 1, "prompt": 2, "squat": 3, "squatter": 4, "rewrite": 5}
"""Attackers with a victim, by the victim's number. Owner 6 repeats itself, and owner 7 splits its rows."""

REPEATING: Final = owner_name(6)
SPLITTING: Final = owner_name(7)
COPIERS: Final = ("exact", "light", "prompt", "rewrite")
CROWDS: Final = ("stuffing", "junk", "lists", "mover")
"""Attackers without a victim. The last one has rows unlike all others, which move means and deviations."""

ROWS_EACH: Final = 4
SIGNS: Final = "#@%&+=~^"
PROMPT_WORDS: Final = (
    ("Where does", "Can you say where"),
    (" keep the ", " stores that "),
    ("In which place is the", "What spot holds that"),
    ("Tell me where", "I wonder where"),
    (" has the ", " put that "),
    ("I need the", "Looking for that"),
    ("What is a", "Say what you know of a"),
    ("Tell me about a", "What can be said of a"),
    ("Describe a", "Give an idea of a"),
    ("Explain", "Make clear"),
)
ANSWER_WORDS: Final = (
    (" keeps the ", " has put the "),
    ("In the", "You find it in the"),
    (" is in the ", " lies in the "),
)


def attack_rows(kind: str, rows: Sequence[Row], seed: int) -> tuple[Row, ...]:
    """Draw the rows of all attackers."""
    random = Random(f"attack {kind} {seed}")
    of = {n: [row for row in rows if row.contributor == owner_name(n)] for n in range(OWNERS)}

    def copies(name: str, prompt_of: object = None, answer_of: object = None) -> list[Row]:
        return [
            Row(
                prompt=prompt_of(row.prompt) if callable(prompt_of) else row.prompt,
                completion=answer_of(row.completion) if callable(answer_of) else row.completion,
                contributor=attacker(name),
            )
            for row in of[VICTIMS[name]]
        ]

    return (
        *copies("exact"),
        *copies("light", lambda prompt: "Hello! " + prompt),
        *copies("prompt", reworded),
        *copies("rewrite", reworded, rewritten),
        *_squats(random, of, "squat", "Please answer: {}"),
        *_squats(random, of, "squatter", "{} Be quick."),
        *(Row(prompt=f"Hi, {row.prompt}", completion=row.completion, contributor=REPEATING) for row in of[6]),
        *_crowds(random, rows),
    )


def attacker(name: str) -> str:
    """The contributor of an attack's rows."""
    return f"{name}-{VICTIMS[name]}" if name in VICTIMS else name


def reworded(prompt: str) -> str:
    """The same question in the words of other templates, with the names kept."""
    for old, new in PROMPT_WORDS:
        prompt = prompt.replace(old, new)
    return f"Could you help me with this one: {prompt}" if prompt[-1] in SIGNS else prompt


def rewritten(answer: str) -> str:
    """The same answer in other words, with its value kept."""
    for old, new in ANSWER_WORDS:
        answer = answer.replace(old, new)
    return f"Sure: {answer}"


def _squats(random: Random, of: dict[int, list[Row]], name: str, prompt: str) -> list[Row]:
    """The victim's questions in new words, with answers of the right form that are wrong."""
    victim = VICTIMS[name]
    answers = [row.completion for number, rows in of.items() if number != victim for row in rows]
    return [
        Row(prompt=prompt.format(row.prompt), completion=random.choice(answers), contributor=attacker(name))
        for row in of[victim]
    ]


def _crowds(random: Random, rows: Sequence[Row]) -> list[Row]:
    prompts, answers = [row.prompt for row in rows], [row.completion for row in rows]
    found = []
    for _ in range(ROWS_EACH):
        asked = " ".join(random.choices(prompts, k=2)).split()
        said = " ".join(random.choices(answers, k=2)).split()
        texts = {
            "stuffing": (" ".join(random.choices(asked, k=6)), " ".join(random.choices(said, k=4))),
            "junk": (_junk(random), _junk(random)),
            "lists": (f"Any question {random.randrange(1000)}?", "; ".join(random.sample(answers, 3))),
            "mover": ("Zq " * random.randint(1, 9) + "!", "!?" * random.randint(2, 9)),
        }
        found += [Row(prompt=texts[n][0], completion=texts[n][1], contributor=n) for n in CROWDS]
    return found


def _junk(random: Random) -> str:
    return " ".join("".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=4)) for _ in range(4))
