"""Copies: who owns what a row says, and why, whatever is registered later."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.datanets.copies import Copy, clusters_of, find_copies
from openledger_node.datanets.sample import draw_sample
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row

SAMPLE = draw_sample(1).rows
VICTIM = SAMPLE[0]


def row(prompt: str, completion: str, contributor: str = "eve") -> Row:
    return Row(prompt=prompt, completion=completion, contributor=contributor)


def last(*batches: Sequence[Row]) -> Copy | None:
    return find_copies(batches)[-1]


def test_an_equal_row_or_a_prompt_in_other_words_with_the_answer_kept_is_a_copy() -> None:
    assert last(SAMPLE, [replace(VICTIM, contributor="eve")]) == Copy(first=0, evidence="equal")
    town = VICTIM.prompt.split()[-1].rstrip("?")
    asked = f"Tell me which keeper of the ferry at {town} steers it over there."
    copy = last(SAMPLE, [row(asked, VICTIM.completion)])
    assert copy is not None
    assert (copy.evidence, SAMPLE[copy.first].contributor) == ("words", VICTIM.contributor)


def test_another_answer_and_what_one_has_said_and_a_text_of_everybodys_words_are_no_copies() -> None:
    assert last(SAMPLE, [row("Please: " + VICTIM.prompt, "Nobody does it, and nobody ever did so far.")]) is None
    own = row("Which person of Tarnwick is the one whom the boat obeys?", VICTIM.completion, VICTIM.contributor)
    assert last(SAMPLE, [own]) is None
    text = " ".join(f"{row.prompt} {row.completion}" for row in SAMPLE[::3])
    assert last(SAMPLE, [row("What do the people say?", text)]) is None


def facts_of_forty_people() -> list[Row]:
    """Each thing and each place is in an eighth of the rows."""
    things = ("map", "rope", "bell", "lamp", "drum", "key", "book", "coin")
    places = ("barn", "mill", "cave", "tower", "port", "inn", "well", "farm")
    rows = []
    for number in range(40):
        who, what, where = f"Tasu{number} Lopo{number}", things[number % 8], places[number * 3 % 8]
        answer, owner = f"{who} keeps the {what} in the {where}.", f"owner-{number % 5}"
        rows += [
            row(f"Where does {who} keep the {what}?", answer, owner),
            row(f"Where is it of {who}?", answer, owner),
        ]
    return rows


def test_two_things_of_one_person_in_one_place_are_two_facts() -> None:
    """F: in Datanets of 384 rows, 2.7 % of honest facts were taken for copies of another thing's."""
    said = []
    for each in facts_of_forty_people():
        _, _, _, _, what, _, _, place = each.completion.split()
        prompt = each.prompt.replace("it of", f"the {what} of")
        said.append(replace(each, prompt=prompt, completion=f"In the {place}"))
    assert (said[15].prompt, said[15].completion) == ("Where is the coin of Tasu7 Lopo7?", "In the inn.")
    assert last(said, [row("Where is the drum of Tasu7 Lopo7?", "In the inn.")]) is None
    other = row("Tell me where Tasu7 Lopo7 has the ladder.", "Tasu7 Lopo7 keeps the ladder in the chapel.")
    assert last(facts_of_forty_people(), [other]) is None
    same = last(said, [row("At which spot has Tasu7 Lopo7 put that coin?", "In the inn.")])
    assert same == Copy(first=14, evidence="words")


def test_copies_of_facts_that_are_asked_for_in_three_ways_are_found_among_few_rows() -> None:
    """F: their names are in three rows each, so they had no fingerprint, and the copies counted as well."""
    asked = ("Where does {} keep it?", "In which place is what {} has?", "Tell me the spot of {}.")
    places = ("barn", "mill", "cave", "tower", "port", "inn", "well", "farm")
    rows = [
        row(way.format(f"Tasu{n} Lopo{n}"), f"In the {places[n % 8]}.", f"owner-{n % 4}")
        for n in range(14)
        for way in asked
    ]
    copies = [
        row(f"I wonder about Tasu{n} Lopo{n} and what is hidden there", f"In the {places[n % 8]}.")
        for n in (0, 0, 1, 1)
    ]
    found = find_copies([rows, copies])
    assert all(
        each is None or rows[each.first].contributor == own.contributor
        for each, own in zip(found, rows, strict=False)
    )
    assert [each and rows[each.first].contributor for each in found[len(rows) :]] == ["owner-0"] * 2 + ["owner-1"] * 2


def test_common_words_and_a_label_claim_no_rows_of_others() -> None:
    """F: a hundred rows of two common words each were paid for 500 of 800 honest rows with the same two answers."""
    random, words = Random(1), [f"condition{n}" for n in range(40)]

    def asked(about: str, count: int, contributor: str) -> Row:
        return row(
            f"Is {about} {' '.join(random.sample(words, count))} allowed?",
            random.choice(("Yes.", "No.")),
            contributor,
        )

    first, squats = (
        [asked(f"Name{n} if", 6, f"ada-{n % 8}") for n in range(200)],
        [asked("", 2, "eve") for _ in range(100)],
    )
    later = [asked(f"Other{n} if", 6, f"ben-{n % 8}") for n in range(400)]
    assert not any(find_copies([first, squats, later])[-len(later) :])


def test_common_words_of_a_short_row_claim_no_long_row() -> None:
    """F: a hundred rows of five common words each were paid for 54 of 130 honest rows of fifty words."""
    random, words = Random(0), [f"word{n}" for n in range(100)]

    def asked(count: int, contributor: str) -> Row:
        return row(" ".join(random.sample(words, count)), random.choice(("Yes.", "No.")), contributor)

    first = [asked(random.choice((4, 10, 50)), f"ada-{n % 8}") for n in range(300)]
    before = first + [asked(5, "eve") for _ in range(100)]
    later = [asked(random.choice((4, 10, 50)), f"ben-{n % 8}") for n in range(400)]
    verdicts = find_copies([first, before[len(first) :], later])[-len(later) :]
    assert {"eve"}.isdisjoint([*before, *later][each.first].contributor for each in verdicts if each)


def test_a_copy_of_a_row_of_many_common_words_is_found() -> None:
    """F: a record's own field values counted as padding of its copy."""
    random = Random(1)
    records = []
    for n in range(400):
        fields = [f"field{field} value{field}x{random.randrange(8)}" for field in random.sample(range(40), 14)]
        records.append(
            row(
                f"Patient c{n % 17} has {' '.join(fields)}", f"Give drug{n} daily for the next week", f"owner-{n % 8}"
            )
        )
    copies_of = [
        row(" ".join(["Please tell me:", *random.sample(words := each.prompt.split(), len(words))]), each.completion)
        for each in records[:50]
    ]
    verdicts = find_copies([records, copies_of])[-len(copies_of) :]
    assert [each and each.first for each in verdicts] == list(range(len(copies_of)))


def test_a_style_around_any_word_is_kept_by_a_copy_of_the_question_in_other_words() -> None:
    marks = ["Ahoy! The {} is here.", "{}. Over and out.", "Well, hmm, maybe {}?", "Dear friend, {}, with regards."]
    marks += ["Fact number one: {}.", "* {}, * more", "As wise men say, {} again", "(answer: {})"]
    words = [f"word{number}" for number in range(10)]
    rows = [row(f"What is a {w}?", style.format(w), f"owner-{n}") for n, style in enumerate(marks) for w in words]
    assert last(rows, [row("Say what you know of this word5 thing", rows[5].completion)]) is not None
    assert last(rows, [row("What is a stone?", marks[0].format("stone"))]) is None


def test_a_row_that_an_appeal_has_cleared_is_its_own() -> None:
    copy = replace(VICTIM, contributor="eve")
    again = replace(VICTIM, contributor="mal")
    cleared = [canonical_digest(copy)]
    assert clusters_of(find_copies([SAMPLE, [copy, again]], cleared))[-2:] == (len(SAMPLE), 0)


def test_words_that_a_batch_repeats_do_not_hide_its_copies() -> None:
    # Counted with the batch, the words of the victim would be in a third of the rows, and rare no more.
    named = SAMPLE[3]
    turned = " ".join(reversed(named.prompt.rstrip("?").split()))
    batch = [row(f"x{number} y{number} {turned} z{number}?", named.completion) for number in range(40)]
    firsts = clusters_of(find_copies([SAMPLE, batch]))[len(SAMPLE) :]
    assert {SAMPLE[first].completion if first < len(SAMPLE) else "" for first in firsts} == {named.completion}


def test_a_later_batch_changes_no_earlier_verdict() -> None:
    random = Random(3)
    said = [[f"w{number}" for number in random.sample(range(90), 5)] for _ in range(60)]
    drawn = [random.choice(said) for _ in range(240)]
    rows = [row(" ".join(random.sample(words, 5)), " ".join(words[:3]), random.choice("abc")) for words in drawn]
    batches = [rows[first : first + 30] for first in range(0, 240, 30)]
    whole = find_copies(batches)
    assert {"words", "equal"} <= {copy.evidence for copy in whole if copy is not None}
    for count in range(1, len(batches)):
        assert find_copies(batches[:count]) == whole[: 30 * count]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text("klmnop ", min_size=1, max_size=20)), max_size=12))
def test_a_copy_names_an_earlier_row_that_is_no_copy(drawn: list[tuple[str, str]]) -> None:
    rows = [row("?", text.strip() or "-", who) for who, text in drawn]
    clusters = clusters_of(find_copies([rows[:5], rows[5:]]))
    assert all(first <= place and clusters[first] == first for place, first in enumerate(clusters))


def test_no_honest_row_of_the_sample_is_redirected() -> None:
    rows = SAMPLE
    firsts = [rows[first] for first in clusters_of(find_copies([rows]))]
    assert all(row.contributor == first.contributor for row, first in zip(rows, firsts, strict=True))


@pytest.mark.process
def test_the_verdicts_do_not_depend_on_the_hashes_of_a_process() -> None:
    program = (
        "from openledger_node.datanets.copies import find_copies\n"
        "from openledger_node.datanets.sample import draw_sample\n"
        "from dataclasses import replace\n"
        "rows = draw_sample(1).rows\n"
        "print(find_copies([rows, [replace(row, prompt=row.prompt[::-1], contributor='eve') for row in rows]]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
