"""The locked dependencies install where every compiler fails, and torch is the build that fits the machine."""

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest
from house.scripts import load_script
from support.processes.nodes import ROOT

install_torch = load_script("install_torch")
LINUX = install_torch.Facts(system="Linux")
CPU, OWN = ("--index-url", install_torch.CPU_INDEX), ("--index-url", "x")
IMPORTS = "import libp2p, libp2p.crypto.ecc, fastecdsa.curve, coincurve, tokenizers, fastapi; print('whole')"


@pytest.mark.process
def test_the_locked_dependencies_install_without_a_compiler(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    # No cache: a wheel that was built here at another time, with a compiler, would hide that one is needed.
    options = ["--no-cache", "--python", str(python), "--requirement", str(ROOT / "requirements" / "run.lock")]
    subprocess.run([*install, *options], env=NO_COMPILER, check=True)
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


PLATFORMS = ("x86_64-manylinux_2_31", "aarch64-manylinux_2_31", "aarch64-apple-darwin")
PURE_PYTHON = ("varint", "python-baseconv")
"""Packages without a wheel. They hold no code to compile."""

NO_COMPILER = {**os.environ, "CC": "/bin/false", "CXX": "/bin/false"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's wheel of the last commit."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, ROOT / "scripts" / "release.py", "--skip-bill", "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    check = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=out, check=True, capture_output=True, text=True
    )
    assert check.stdout.count(": OK") == 2
    (found,) = out.glob("*.whl")
    return found


@pytest.mark.process
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_wheel_resolves_to_wheels(wheel: Path, tmp_path: Path, platform: str) -> None:
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [each for each in packed.namelist() if each.endswith(".dist-info/METADATA")]
        about = HeaderParser().parsestr(packed.read(name).decode())
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(each for each in about.get_all("Requires-Dist", []) if "extra" not in each))
    pure = [word for each in PURE_PYTHON for word in ("--no-binary", each)]
    options = ["--python-version", "3.12", "--python-platform", platform, "--only-binary", ":all:", *pure, "--quiet"]
    command = [sys.executable, "-m", "uv", "pip", "compile", *options, str(requirements)]
    resolved = subprocess.check_output(command, text=True, env=NO_COMPILER)
    assert "fastecdsa==" in resolved
    assert "libp2p==" not in resolved


@pytest.mark.deep(reason="installs torch twice; test_the_wheel_resolves_to_wheels guards the requirements")
@pytest.mark.process
@pytest.mark.parametrize("tool", ["uv", "pipx"])
def test_a_tool_installs_the_wheel_and_answers(wheel: Path, tmp_path: Path, tool: str) -> None:
    places = {"UV_TOOL_DIR": "tools", "UV_TOOL_BIN_DIR": "bin", "PIPX_HOME": "tools", "PIPX_BIN_DIR": "bin"}
    folders = {name: str(tmp_path / folder) for name, folder in places.items()}
    home = {"OPENLEDGER_HOME": str(tmp_path / "home"), "OPENLEDGER_API_PORT": "0"}
    environment = {**NO_COMPILER, **folders, **home}
    uv = [sys.executable, "-m", "uv", "tool"]
    with_uv = [*uv, "install", "--quiet", "--python", sys.executable, str(wheel)]
    with_pipx = [*uv, "run", "--quiet", "pipx", "install", "--quiet", "--python", sys.executable, str(wheel)]
    subprocess.run({"uv": with_uv, "pipx": with_pipx}[tool], env=environment, check=True)
    program = tmp_path / "bin" / "openledger-node"
    with subprocess.Popen([program, "start"], env=environment, stderr=subprocess.PIPE, text=True) as node:
        assert node.stderr is not None
        try:
            assert any(line.startswith("first answer: ") for line in node.stderr)
        finally:
            node.terminate()
            node.communicate(timeout=60)


def test_the_images_install_what_the_lock_says_and_run_as_no_root() -> None:
    lines = (ROOT / "docker" / "Dockerfile").read_text().splitlines()
    assert "RUN uv pip install --no-deps --require-hashes --requirement requirements/run.lock" in lines
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1] == "10001"
    stages = [line.split()[-1] for line in lines if line.startswith("FROM ")]
    assert stages == ["node", "cpu", "cuda"]


@pytest.mark.parametrize(
    ("facts", "arguments", "says"),
    [
        (LINUX, CPU, "there is no graphics card"),
        (replace(LINUX, has_nvidia_driver=True), (), "there is an NVIDIA driver"),
        (replace(LINUX, vendors=frozenset({"0x10de"})), CPU, "the NVIDIA card has no driver"),
        (replace(LINUX, vendors=frozenset({"0x1002"})), CPU, "index of ROCm builds"),
        (install_torch.Facts(system="Darwin"), (), "Apple's GPU"),
        (replace(LINUX, arguments=OWN, has_nvidia_driver=True), OWN, "as TORCH_ARGS says: --index-url x"),
    ],
    ids=["no card", "NVIDIA", "NVIDIA, no driver", "AMD", "Mac", "the operator's own"],
)
def test_the_build_of_torch_follows_the_card_and_says_why(facts: Any, arguments: tuple[str, ...], says: str) -> None:
    choice = install_torch.choose(facts)
    assert choice.arguments == arguments
    assert says in choice.why


def test_a_cpu_build_that_fails_is_not_replaced_by_a_larger_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(install_torch, "run_pip", lambda *arguments: ran.append(arguments) or 1)
    monkeypatch.setattr(install_torch, "answers", lambda _: True)
    assert install_torch.install("torch>=2.6,<3", install_torch.choose(LINUX)) == 1
    assert len(ran) == 1
