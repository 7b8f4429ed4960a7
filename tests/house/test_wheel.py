"""The wheel is whole: what the packages read at run time lies in it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.processes.nodes import ROOT

pytestmark = pytest.mark.slow

WEB = ROOT / "node" / "openledger_node" / "api" / "web"


def test_the_wheel_holds_every_file_of_the_page(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = set(packed.namelist())
    wanted = {file.relative_to(ROOT / "node").as_posix() for file in WEB.rglob("*") if file.is_file()}
    assert wanted
    assert wanted <= held
