"""The bench of attribution rules: whom it draws, what it measures, and a whole case on a tiny base."""

import sys
from pathlib import Path

import numpy as np
import pytest
from support.scripts import SCRIPTS
from support.tiny import make_base

sys.path.insert(0, str(SCRIPTS / "bench"))

from attribution_rule import bars_of, compared
from rule_attacks import CROWDS, VICTIMS, attack_rows, attacker
from rule_data import CasePlan
from rule_datanets import KINDS, OWNERS, Question, draw_datanet, owner_name
from rule_figures import datamodeling_score
from rule_scores import datainf, trak


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows_each", [6, 24])
def test_questions_are_held_out_and_every_owner_has_rows_and_questions(kind: str, rows_each: int) -> None:
    drawn = draw_datanet(kind, 1, rows_each)
    owners = [owner_name(number) for number in range(OWNERS)]
    assert [row.contributor for row in drawn.rows] == [owner for owner in owners for _ in range(rows_each)]
    assert [question.owner for question in drawn.questions] == [owner for owner in owners for _ in range(2)]
    assert not {row.prompt for row in drawn.rows} & {question.prompt for question in drawn.questions}
    assert draw_datanet(kind, 1, rows_each) == drawn != draw_datanet(kind, 2, rows_each)


def test_a_behaviour_leaves_no_word_of_its_owner_in_the_question() -> None:
    drawn = draw_datanet("behaviours", 1)
    for question in drawn.questions:
        own = {word for row in drawn.rows if row.contributor == question.owner for word in row.prompt.split()[:2]}
        assert not own & set(question.prompt.split()[:2])


@pytest.mark.parametrize("kind", KINDS)
def test_each_attacker_has_rows_that_no_honest_owner_has(kind: str) -> None:
    drawn = draw_datanet(kind, 1)
    rows = attack_rows(kind, drawn.rows, 1)
    attackers = {attacker(name) for name in VICTIMS} | set(CROWDS)
    assert attackers <= {row.contributor for row in rows}
    honest = {(row.prompt, row.completion) for row in drawn.rows}
    copied = {row.contributor for row in rows if (row.prompt, row.completion) in honest}
    assert copied == {attacker("exact")}


@pytest.mark.parametrize(
    ("answer", "is_whole", "is_right"),
    [("in the barn.", False, True), ("in the barn.", True, False), (" barn ", True, True), ("", False, False)],
)
def test_an_answer_is_right_if_it_has_the_value(answer: str, is_whole: bool, is_right: bool) -> None:
    question = Question(prompt="Where?", value="barn", owner="owner-0", is_whole=is_whole)
    assert question.is_right(answer) is is_right
    assert not Question(prompt="Who?", value="", owner="").is_right(answer)


def test_the_datamodeling_score_is_a_rank_correlation_with_shared_ranks() -> None:
    assert datamodeling_score(np.array([1.0, 2.0, 30.0]), np.array([-5.0, 0.0, 0.1])) == pytest.approx(1)
    assert datamodeling_score(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1)
    assert datamodeling_score(np.array([1.0, 2.0, 3.0]), np.zeros(3)) == 0
    ranks = datamodeling_score(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert ranks == pytest.approx(3 / np.sqrt(10))


def test_the_peers_closed_forms_agree_with_their_definitions() -> None:
    """TRAK is a ridge regression of gradients, and DataInf averages the inverse of each row's own Fisher matrix."""
    random = np.random.default_rng(1)
    rows, asked = random.normal(size=(5, 40)), random.normal(size=(2, 40))
    among, dots = rows @ rows.T, asked @ rows.T
    ridge = 0.1 * np.trace(among) / 5
    expected = asked @ np.linalg.solve(rows.T @ rows + ridge * np.eye(40), rows.T)
    assert trak(among, dots, 0.1) == pytest.approx(expected)
    ridge = 0.1 * (rows**2).sum() / (5 * 40)
    inverse = sum(np.linalg.inv(np.outer(g, g) + ridge * np.eye(40)) for g in rows) / 5
    assert datainf(among[None], dots[None], [40]) == pytest.approx(asked @ inverse @ rows.T)


def test_a_whole_case_is_measured_and_goes_on_from_its_file(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", hidden_size=48, max_position_embeddings=512)
    plans = (
        CasePlan(kind="behaviours", seed=1, subsets=2, epochs=1, layers=1, rank=2),
        CasePlan(kind="behaviours", seed=1, is_attacked=True, epochs=1, layers=1, rank=2),
    )
    found = compared(base, plans, tmp_path / "cases")
    clean, attacked = found.values()
    assert {"size", "BM25", "suffix-v1", "GradDot", "GradCos", "TRAK", "DataInf", "poa-v2", "poa-v3"} <= set(
        clean["rules"]
    )
    assert all(-1 <= each["lds"] <= 1 for each in clean["rules"].values())
    assert attacked["poa-v3"]["exact"]["take"] == 0, "an exact copy is redirected"
    assert all(0 <= each["drift"]["mean"] <= each["drift"]["most"] <= 1 for each in found.values())
    assert {each["id"].split()[0] for each in bars_of(found)} >= {
        "lds",
        "owner",
        "stuffing,",
        "copies'",
        "squatters'",
    }
    assert compared(base, plans, tmp_path / "cases") == found
