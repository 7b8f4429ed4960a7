from collections import Counter

from openledger_node.datanets.sample import draw_sample


def test_three_people_give_as_many_rows_each_and_a_fact_is_known_by_one_person_alone() -> None:
    sample = draw_sample(1)
    assert sample == draw_sample(1)
    assert sample.rows != draw_sample(2).rows
    assert sorted(Counter(row.contributor for row in sample.rows).values()) == [30, 30, 30]
    assert sorted(Counter(row.contributor for row in sample.held_out).values()) == [10, 10, 10]
    knowers: dict[str, set[str]] = {}
    for row in sample.rows + sample.held_out:
        knowers.setdefault(row.completion, set()).add(row.contributor)
    assert all(len(people) == 1 for people in knowers.values())


def test_held_out_questions_are_new_and_their_answers_are_not() -> None:
    sample = draw_sample(1)
    assert {row.prompt for row in sample.rows}.isdisjoint(row.prompt for row in sample.held_out)
    assert Counter(row.completion for row in sample.rows) == {row.completion: 3 for row in sample.held_out}
    assert all(value in row.completion for row, value in zip(sample.held_out, sample.values, strict=True))
