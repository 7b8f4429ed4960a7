"""The golden vectors are what the protocol gives today, and each says why it is there."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("make_vectors", ROOT / "scripts" / "make_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
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
