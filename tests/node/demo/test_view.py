"""The demo as text: within 80 columns, with names, and with sums that are equal."""

from io import StringIO
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from openledger_node.cli.demo import WIDTH, DemoView, paid_wei, payees
from openledger_node.demo.people import draw_subjects
from openledger_node.demo.run import DemoResult
from openledger_node.demo.telling import AskedQuestion, Teacher

SUBJECTS = draw_subjects()
(ADA, ADA_NAME), (BEN, BEN_NAME), _ = SUBJECTS[0].people.items()
PAID_OUT = {
    "nodes": 750,
    "adapter_owners": 100,
    "datanet_owners": 20,
    "treasuries": 3,
    "protocol": 50,
    "late_fees": 0,
    "draw_fees": 0,
    "contributors": {ADA: 70, BEN: 7},
    "refunded": 0,
    "payer_withdrawn": 8_990,
    "in_channels": 10,
    "in_claims": 0,
}
EXCHANGE = AskedQuestion(
    number=1,
    question="Who runs the ferry of Hollowbeck, and what else is there that a longer question might ask about?",
    model="harbour",
    seller="A",
    base_text="I am an AI.\n\nI do not run\ta ferry [bold]." + " And so on." * 40,
    text="Ansel Larkspur steers the ferry of Hollowbeck.\x1b[31m",
    is_right=True,
    amount_wei=91 * 10**12,
    teachers=(Teacher(name="Ansel Larkspur", ppm=996_000), Teacher(name="Bertram Hobb", ppm=4_000)),
)


def result() -> DemoResult:
    terms: dict[str, Any] = {"paid_in": 10_000, **PAID_OUT}
    report = SimpleNamespace(terms=terms, holds=True)
    story = SimpleNamespace(subjects=SUBJECTS)
    return cast(DemoResult, SimpleNamespace(report=report, story=story, names=SUBJECTS[0].people))


@pytest.fixture
def view() -> DemoView:
    return DemoView(console=Console(file=StringIO(), width=200, soft_wrap=True, highlight=False))


def printed(view: DemoView) -> str:
    file = view.console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def test_a_question_is_told_with_both_answers_and_the_names_of_its_teachers(view: DemoView) -> None:
    view.tell(EXCHANGE)
    text = printed(view)
    assert "base      I am an AI. I do not run a ferry [bold]." in text
    assert "harbour   Ansel Larkspur steers the ferry of Hollowbeck.\\x1b[31m" in text
    assert "taught by Ansel Larkspur 99 %, others under 1 %" in text
    assert "R pays A 0.000091 OPEN" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_long_step_is_folded_below_itself(view: DemoView) -> None:
    view.say("datanets  harbour: " + "many words " * 20)
    first, *others = printed(view).splitlines()
    assert first.startswith("datanets  harbour: many")
    assert all(line.startswith((" " * 10 + "m", " " * 10 + "w")) for line in others)
    assert max(map(len, (first, *others))) <= WIDTH


def test_the_closing_table_names_people_and_its_sum_is_what_was_paid(view: DemoView) -> None:
    found = result()
    assert sum(wei for _, wei in payees(found)) == paid_wei(found) == 1_000
    view.show(found)
    text = printed(view)
    assert ADA_NAME in text
    assert BEN_NAME in text
    assert "0x" not in text
    assert max(map(len, text.splitlines())) <= WIDTH
