"""Pins: kept in the home, in their order, within the budget; a torn file says what to do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter, add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import remove_adapter
from openledger_node.models.pins import (
    check_pin_fits,
    drop_pin,
    keep_pin,
    pinned_among,
    pinned_sources,
    read_pins,
    size_in_memory,
    source_of,
)
from openledger_protocol.primitives import Digest

MakeFolder = Callable[..., Path]


@pytest.fixture
def two(home: Home, make_adapter_folder: MakeFolder) -> list[Adapter]:
    return [add_adapter(home, make_adapter_folder(f"a{seed}", seed=seed), FAKE_BASE) for seed in (1, 2)]


def test_pins_are_kept_once_and_in_their_order(home: Home, two: list[Adapter]) -> None:
    for adapter in (two[1], two[0], two[1]):
        keep_pin(home, adapter.id)
    assert read_pins(home) == (two[0].id, two[1].id)
    assert pinned_sources(home, FAKE_BASE) == (source_of(two[0]), source_of(two[1]))
    assert pinned_among(home, two) == two
    drop_pin(home, two[0].id)
    drop_pin(home, two[0].id)
    assert read_pins(home) == (two[1].id,)


def test_a_pin_of_what_is_not_here_or_of_another_base_starts_nothing(home: Home, two: list[Adapter]) -> None:
    for adapter in two:
        keep_pin(home, adapter.id)
    remove_adapter(home, two[0].name)
    assert pinned_sources(home, FAKE_BASE) == (source_of(two[1]),)
    assert pinned_sources(home, replace(FAKE_BASE, digest=Digest("0x" + "0" * 64))) == ()


def test_a_pin_beyond_the_budget_is_refused_with_the_numbers(two: list[Adapter]) -> None:
    each = size_in_memory(two[0], "float32")
    check_pin_fits(two[0], [two[1]], dtype="float32", budget_bytes=2 * each)
    check_pin_fits(two[0], two, dtype="float32", budget_bytes=2 * each)
    check_pin_fits(two[0], [two[1]], dtype="bfloat16", budget_bytes=each)
    with pytest.raises(
        ConfigError, match=r"needs [\d.]+ k?B of memory and [\d.]+ k?B are pinned already, but \[inference\]"
    ):
        check_pin_fits(two[0], [two[1]], dtype="float32", budget_bytes=2 * each - 1)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"schema": "openledger.pins/2", "adapters": []}',
        '{"schema": "openledger.pins/1", "adapters": ["harbour"]}',
        '{"schema": "openledger.pins/1", "adapters": 5}',
    ],
)
def test_a_torn_file_says_what_to_do(home: Home, text: str) -> None:
    home.pins.write_text(text)
    with pytest.raises(ConfigError, match="delete it, and pin the adapters again"):
        read_pins(home)
