"""What must hold before the demo says that it went well, and calls side by side."""

import threading
from typing import Any

import pytest

from openledger_node.datanets.sample import SAMPLE_SEEDS
from openledger_node.demo.people import choose_questions, draw_subjects
from openledger_node.demo.processes import DemoError, together
from openledger_node.demo.story import check_owned

ADA, BEN = "0xada", "0xben"


def attributed(*, is_right: bool = True, **shares_ppm: int) -> dict[str, Any]:
    shares = {{"ada": ADA, "ben": BEN}[name]: ppm for name, ppm in shares_ppm.items()}
    return {"owner_of_fact": ADA, "is_right": is_right, "shares_ppm": shares}


OWNED, LOST, WRONG = attributed(ada=900_000, ben=100_000), attributed(ada=1, ben=999_999), attributed(is_right=False)


def test_six_right_answers_whose_teachers_get_the_most_are_enough() -> None:
    check_owned([OWNED] * 6 + [WRONG] * 2)
    check_owned([OWNED] * 5 + [LOST])


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([OWNED] * 5 + [WRONG] * 3, r"^answers: 5 of 8 state the fact, but 6 must"),
        ([OWNED] * 4 + [LOST] * 2, r"^attribution: 4 of 6 right answers"),
        ([attributed()] * 6, r"^attribution: 0 of 6 right answers"),
    ],
)
def test_a_demo_with_less_than_that_fails(found: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(DemoError, match=why):
        check_owned(found)


def test_calls_run_side_by_side_and_the_first_failure_is_raised_at_once() -> None:
    meeting = threading.Barrier(2, timeout=10)
    assert len(together(meeting.wait, meeting.wait)) == 2
    forever = threading.Event()

    def fail() -> bool:
        raise DemoError("no")

    try:
        with pytest.raises(DemoError, match=r"^no$"):
            together(forever.wait, fail)
    finally:
        forever.set()


def test_no_two_questions_have_the_same_answer_and_everybody_is_asked_about() -> None:
    subjects = draw_subjects()
    assert [subject.seed for subject in subjects] == list(SAMPLE_SEEDS.values())
    questions = [question for turn in choose_questions(subjects) for question in turn]
    assert len({question.value for question in questions}) == len(questions) == 8
    assert {question.owner for question in questions} == {who for each in subjects for who in each.people}
