"""The golden vectors are what the protocol gives today, and each says why it is there."""

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
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")  # where it finds its cases, as when it is run
        spec.loader.exec_module(module)
    return module


def test_the_committed_vectors_are_those_that_the_script_makes(script: ModuleType) -> None:
    committed = {file.stem: file.read_text() for file in VECTORS.glob("*.json")}
    assert committed == {name: script.render(name) for name in script.FILES}
