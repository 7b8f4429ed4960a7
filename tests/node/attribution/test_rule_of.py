"""The attribution rule of an adapter's answers: the best that its Datanets allow and that can run here."""

from types import SimpleNamespace
from typing import Any

import pytest

from openledger_node.attribution.registry import AdapterRegistry, Registered
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

ADAPTER: Any = SimpleNamespace(id=AdapterId("0xaa"), full_name="lake@12345678")


def registry_of(rules: tuple[int, ...], *, has_taps: bool, has_signals: bool) -> AdapterRegistry:
    owned: Any = SimpleNamespace(index=SimpleNamespace(signals=object() if has_signals else None))
    nowhere: Any = SimpleNamespace(
        events=None, finalized_number=None, block_time_s=None
    )  # and nothing is asked there
    registry = AdapterRegistry(nowhere, nowhere, nowhere, SimpleNamespace(has_taps=has_taps, profile=None))
    registry._found[ADAPTER.id] = Registered(datanet_ids=(), owned=(owned,), rules=rules)
    return registry


@pytest.mark.parametrize(
    ("rules", "has_taps", "has_signals", "rule"),
    [((1,), True, True, 1), ((1, 7), True, True, 7), ((1, 7), False, True, 1), ((1, 7), True, False, 1)],
)
def test_the_best_rule_that_can_run_is_taken(
    rules: tuple[int, ...], has_taps: bool, has_signals: bool, rule: int
) -> None:
    registry = registry_of(rules, has_taps=has_taps, has_signals=has_signals)
    assert registry.rule_of(ADAPTER) == rule
    registry.source = None
    assert registry.rule_of(ADAPTER) == 1, "a command without an engine sells nothing by signals"


@pytest.mark.parametrize(
    ("rules", "has_taps", "has_signals", "told"),
    [
        ((7,), False, True, 'this backend can\'t compute: set .inference. backend = "torch_lora"'),
        ((7,), True, False, "trained without an index of signals: train it with --signals"),
        ((), True, True, "allow no attribution rule in common"),
    ],
)
def test_an_adapter_whose_rule_cannot_run_is_not_sold(
    rules: tuple[int, ...], has_taps: bool, has_signals: bool, told: str
) -> None:
    with pytest.raises(AdapterRefusedError, match=told):
        registry_of(rules, has_taps=has_taps, has_signals=has_signals).rule_of(ADAPTER)
