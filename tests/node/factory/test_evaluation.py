"""The figures of an evaluation, against values worked out by hand."""

import pytest

from openledger_node.factory.evaluation import probe_set, rouge_l, summarise, wins
from openledger_node.factory.trainer import EvaluationResult
from openledger_protocol.adapter import PROBE_ANSWER_LENGTH_MAX, PROBE_PROMPT_LENGTH_MAX, PROBES_MAX
from openledger_protocol.datanet import Row


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("The cat, sat!", "the cat sat", 1.0),
        ("police kill the gunman", "police killed the gunman", 0.75),  # the example of the paper
        ("the gunman kill police", "police killed the gunman", 0.5),
        ("", "the cat", 0.0),
        ("a x b y c", "a b c", 0.75),
    ],
)
def test_rouge_l_is_that_of_the_longest_common_subsequence(answer: str, reference: str, expected: float) -> None:
    assert rouge_l(answer, reference) == pytest.approx(expected)
    assert rouge_l(reference, answer) == pytest.approx(expected)


def test_a_tie_counts_half_and_the_margin_is_of_95_percent() -> None:
    found = wins([0.1, 0.5, 0.5, 0.9], [0.2, 0.5, 0.7, 0.1])
    assert (found["won"], found["lost"], found["tied"], found["share"]) == (2, 1, 1, 0.625)
    assert found["plus_minus"] == pytest.approx(0.34434, abs=1e-4)
    assert wins([0.0] * 16, [1.0] * 16)["plus_minus"] == pytest.approx(0.096825, abs=1e-4), "not certain, for so few"


def test_figures_stand_for_base_and_adapter_side_by_side() -> None:
    rows = [Row(prompt="?", completion=completion, contributor="ada") for completion in ("one", "two")]
    losses = {"loss_base": 3.0, "loss_adapter": 1.0, "general_base": 2.0, "general_adapter": 2.5}
    result = EvaluationResult(**losses, answers_base=("no", "no"), answers_adapter=("One.", "no"))
    found = summarise(rows, result)
    assert found["exact"] == {"base": 0.0, "adapter": 0.5}
    assert found["rouge_l"] == {"base": 0.0, "adapter": 0.5}
    assert found["general_loss"] == {"base": 2.0, "adapter": 2.5}
    assert (found["rows"], found["loss"]) == (2, {"base": 3.0, "adapter": 1.0})
    assert found["wins"]["share"] == 0.75


def test_the_probe_set_has_only_what_a_manifest_takes() -> None:
    prompts = ["", "x" * (PROBE_PROMPT_LENGTH_MAX + 1), *(f"{number}?" for number in range(PROBES_MAX + 2))]
    rows = [Row(prompt=prompt, completion="one", contributor="ada") for prompt in prompts]
    answers = ("a", "b", "", *("y" * 3_000 for _ in range(PROBES_MAX + 1)))
    nothing = {"loss_base": 0.0, "loss_adapter": 0.0, "general_base": 0.0, "general_adapter": 0.0}
    found = probe_set(rows, EvaluationResult(**nothing, answers_base=answers, answers_adapter=answers))
    assert [probe.prompt for probe in found] == prompts[3 : 3 + PROBES_MAX]
    assert {len(probe.answer) for probe in found} == {PROBE_ANSWER_LENGTH_MAX}
