"""The golden vectors are what the protocol gives today, and each says why it is there."""

import json
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("make_vectors", ROOT / "scripts" / "make_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")  # where it finds its cases, as when it is run
        spec.loader.exec_module(module)
    return module


def test_the_committed_vectors_are_those_that_the_script_makes(script: ModuleType) -> None:
    committed = {file.stem: file.read_text() for file in VECTORS.glob("*.json")}
    assert committed == {name: script.render(name) for name in script.FILES}


@pytest.mark.parametrize("file", sorted(VECTORS.glob("*.json")), ids=lambda file: file.stem)
def test_each_case_has_its_name_and_reason_and_either_an_output_or_an_error(file: Path) -> None:
    for cases in json.loads(file.read_text())["rules"].values():
        assert len({case["name"] for case in cases}) == len(cases)
        assert all(case["why"] for case in cases)
        assert all(("output" in case) != ("error" in case) for case in cases)


@pytest.mark.parametrize("name", ["payments", "attribution", "settlement", "payouts", "sum_tree", "merkle", "epoch"])
def test_a_contracts_test_can_read_the_money_path(name: str) -> None:
    """Flat objects, lists of such, and no number that a reader of JSON would round."""
    for cases in json.loads((VECTORS / f"{name}.json").read_text())["rules"].values():
        for case in cases:
            rows = case["input"] if isinstance(case["input"], list) else [case["input"]]
            lists = [value for row in rows for value in row.values() if isinstance(value, list)]
            nested = [entry for value in lists for entry in value if isinstance(entry, dict)]
            assert not [value for row in nested for value in row.values() if isinstance(value, list | dict)], case
            assert all(type(number) is int and abs(number) < 2**53 for number in numbers(case)), case


def numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from numbers(entry)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
