"""The wheel is whole: what the packages read at run time lies in it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.processes.nodes import ROOT

from openledger_node.datanets.sample import SAMPLE_SEEDS
from openledger_node.factory.samples import SAMPLES
from openledger_node.models.adapters import LIBRARY_FILES

pytestmark = pytest.mark.process

WEB = ROOT / "node" / "openledger_node" / "api" / "web"
NATIVE = ROOT / "node" / "openledger_node" / "backends" / "native"


def test_the_wheel_holds_every_file_of_the_page_of_the_compiled_step_and_of_the_samples(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = set(packed.namelist())
    source = [file for file in NATIVE.iterdir() if file.suffix in (".cpp", ".h")]
    page = [file for file in WEB.rglob("*") if file.is_file()]
    assert source
    assert page
    samples = [SAMPLES / name / file for name in SAMPLE_SEEDS for file in LIBRARY_FILES]
    wanted = {file.relative_to(ROOT / "node").as_posix() for file in (*page, *source, *samples)}
    assert wanted <= held
