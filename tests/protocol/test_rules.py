"""Sets of attribution rules: as bits on the chain, and what several Datanets allow together."""

import pytest

from openledger_protocol.rules import bits_from_rules, common_rules, rules_from_bits


@pytest.mark.parametrize(("rules", "bits"), [((1,), 2), ((7,), 128), ((1, 7), 130), ((), 0)])
def test_a_set_of_rules_has_a_bit_for_each(rules: tuple[int, ...], bits: int) -> None:
    assert bits_from_rules(rules) == bits
    assert rules_from_bits(bits) == rules


def test_rules_of_a_later_release_are_left_out() -> None:
    assert rules_from_bits(130 | 1 << 9) == (1, 7)


@pytest.mark.parametrize(
    ("allowed", "common"),
    [
        ([(1, 7), (7,)], (7,)),
        ([(1,), (7,)], ()),
        ([(7, 1), (1, 7)], (1, 7)),
        ([], (1,)),
    ],
    ids=["one in common", "none in common", "both", "no Datanet"],
)
def test_an_adapter_may_use_what_all_its_datanets_allow(
    allowed: list[tuple[int, ...]], common: tuple[int, ...]
) -> None:
    assert common_rules(allowed) == common
