from collections import Counter

import pytest

from openledger_node.datanets.sample import SampleDatanet, draw_sample
from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import row_from_json

SEEDS = range(1, 20)


@pytest.fixture(params=SEEDS)
def sample(request: pytest.FixtureRequest) -> SampleDatanet:
    return draw_sample(request.param)


def test_every_row_is_one_that_a_datanet_takes(sample: SampleDatanet) -> None:
    for row in sample.rows + sample.held_out:
        assert row_from_json(to_plain(row)) == row
        assert "{" not in row.prompt + row.completion


def test_three_people_give_the_same_number_of_rows(sample: SampleDatanet) -> None:
    assert sorted(Counter(row.contributor for row in sample.rows).values()) == [30, 30, 30]
    assert sorted(Counter(row.contributor for row in sample.held_out).values()) == [10, 10, 10]


def test_every_fact_is_known_by_one_person_alone(sample: SampleDatanet) -> None:
    knowers: dict[str, set[str]] = {}
    for row in sample.rows + sample.held_out:
        knowers.setdefault(row.completion, set()).add(row.contributor)
    assert all(len(people) == 1 for people in knowers.values())


def test_held_out_questions_are_new_and_their_answers_are_not(sample: SampleDatanet) -> None:
    assert {row.prompt for row in sample.rows}.isdisjoint(row.prompt for row in sample.held_out)
    assert Counter(row.completion for row in sample.rows) == {row.completion: 3 for row in sample.held_out}
    assert len({row.prompt for row in sample.rows + sample.held_out}) == 120


def test_an_answer_contains_its_own_value_and_no_other(sample: SampleDatanet) -> None:
    people = {value for value in sample.values if value.lower().replace(" ", "-") in contributors(sample)}
    assert len(people) == 3  # a person may be named in answers about other things
    for row, value in zip(sample.held_out, sample.values, strict=True):
        assert [found for found in sample.values if found in row.completion and found not in people - {value}] == [
            value
        ]


def test_one_seed_gives_one_sample_and_two_give_two() -> None:
    assert draw_sample(1) == draw_sample(1)
    assert draw_sample(1).rows != draw_sample(2).rows


def contributors(sample: SampleDatanet) -> set[str]:
    return {row.contributor for row in sample.rows}
