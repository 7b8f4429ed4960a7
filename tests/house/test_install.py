"""Users need no compiler: the locked dependencies install where every compiler fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes.nodes import ROOT

IMPORTS = "import libp2p, libp2p.crypto.ecc, fastecdsa.curve, coincurve, tokenizers, fastapi; print('whole')"


@pytest.mark.ci
@pytest.mark.slow
def test_the_locked_dependencies_install_without_a_compiler(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    # No cache: a wheel that was built here at another time, with a compiler, would hide that one is needed.
    options = ["--no-cache", "--python", str(python), "--requirement", str(ROOT / "requirements" / "run.lock")]
    no_compiler = {**os.environ, "CC": "/bin/false", "CXX": "/bin/false"}
    subprocess.run([*install, *options], env=no_compiler, check=True)
    assert subprocess.check_output([python, "-c", IMPORTS], text=True).strip() == "whole"


def test_every_locked_package_has_hashes_and_torch_is_not_among_them() -> None:
    for name in ("run.lock", "dev.lock"):
        lock = (ROOT / "requirements" / name).read_text()
        packages = [block for block in lock.split("\n") if block and not block.startswith((" ", "#"))]
        assert len(packages) > 50
        assert all(line.endswith("\\") for line in packages), "a hash follows each package"
        assert not any(line.startswith(("torch==", "nvidia-")) for line in packages)
        has_triton = any(line.startswith("triton==") for line in packages)
        assert has_triton == (name == "dev.lock"), (
            "operators have the one of their torch; tests need one without a card"
        )
