"""The memory of the engine's process: settings of malloc that keep a token's temporaries mapped."""

import pytest

from openledger_node.engine.child import MALLOC, child_environment


def test_an_engine_has_the_settings_for_malloc_save_those_that_the_operator_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    wanted = {**MALLOC, "MALLOC_TRIM_THRESHOLD_": "1000"}
    assert child_environment("auto", 0).items() >= wanted.items()
