"""The locked dependencies install where every compiler fails, and torch is the build that fits the machine."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.processes.nodes import ROOT
from support.scripts import load_script

install_torch = load_script("install_torch")
LINUX = install_torch.Facts(system="Linux")
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


@pytest.mark.parametrize(
    ("facts", "arguments", "says"),
    [
        pytest.param(LINUX, ("--index-url", install_torch.CPU_INDEX), "there is no graphics card", id="no card"),
        pytest.param(replace(LINUX, has_nvidia_driver=True), (), "there is an NVIDIA driver", id="NVIDIA"),
        pytest.param(
            replace(LINUX, vendors=frozenset({"0x10de"})),
            ("--index-url", install_torch.CPU_INDEX),
            "the NVIDIA card has no driver",
            id="NVIDIA, no driver",
        ),
        pytest.param(
            replace(LINUX, vendors=frozenset({"0x1002"})),
            ("--index-url", install_torch.CPU_INDEX),
            "index of ROCm builds",
            id="AMD",
        ),
        pytest.param(install_torch.Facts(system="Darwin"), (), "Apple's GPU", id="Mac"),
        pytest.param(
            replace(LINUX, arguments=("--index-url", "x"), has_nvidia_driver=True),
            ("--index-url", "x"),
            "as TORCH_ARGS says: --index-url x",
            id="the operator's own",
        ),
    ],
)
def test_the_build_of_torch_follows_the_card_and_says_why(facts: Any, arguments: tuple[str, ...], says: str) -> None:
    choice = install_torch.choose(facts)
    assert choice.arguments == arguments
    assert says in choice.why


def test_cards_are_known_by_linuxs_files(tmp_path: Path) -> None:
    assert install_torch.vendors_in(tmp_path) == set()
    for name, vendor in (("card0", "0x8086\n"), ("card1", "0x10de\n")):
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "device" / "vendor").write_text(vendor)
    assert install_torch.vendors_in(tmp_path) == {"0x8086", "0x10de"}


@pytest.mark.parametrize("status_of_cpu_index", [0, 1])
def test_without_the_index_of_cpu_builds_torch_comes_from_the_operators_own(
    status_of_cpu_index: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, ...]] = []

    def run_pip(*arguments: str, is_hushed: bool = False) -> int:
        ran.append(arguments)
        return status_of_cpu_index if install_torch.CPU_INDEX in arguments else 0

    monkeypatch.setattr(install_torch, "run_pip", run_pip)
    assert install_torch.install("torch>=2.6,<3", install_torch.choose(LINUX)) == 0
    assert ran[-1] == ("torch>=2.6,<3", "uv"), "no index is named, so pip takes the operator's"
    assert ("about 3 GB" in capsys.readouterr().out) == bool(status_of_cpu_index)
