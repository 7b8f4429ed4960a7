"""The graphics card by its driver's words, and each reason why torch can't use it with its fix."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from openledger_node import card as cards
from openledger_node.card import Card, TorchBuild, card_from_xml, find_card, find_torch, has_card_for, trouble_with

GIB, MIB = 1 << 30, 1 << 20
XML = """<?xml version="1.0" ?><nvidia_smi_log>
  <driver_version>{driver}</driver_version><cuda_version>12.2</cuda_version>
  <gpu id="00000000:01:00.0">
    <product_name>NVIDIA GeForce RTX 3060</product_name><product_architecture>Ampere</product_architecture>
    <fb_memory_usage>
      <total>12288 MiB</total><reserved>200 MiB</reserved><used>5000 MiB</used><free>{free}</free>
    </fb_memory_usage>
    <bar1_memory_usage><total>256 MiB</total><free>250 MiB</free></bar1_memory_usage>
    <processes>{processes}</processes>
  </gpu>
  <gpu id="00000000:02:00.0"><product_name>second</product_name></gpu>
</nvidia_smi_log>"""
PROCESS = (
    "<process_info><pid>{pid}</pid><process_name>x</process_name><used_memory>{used}</used_memory></process_info>"
)
BUILT = TorchBuild("2.13.0+cu130", "13.0", None)
CPU_BUILD = TorchBuild("2.13.0+cpu", None, None)
ROCM = TorchBuild("2.13.0+rocm6.4", None, "6.4.4")


def xml(*processes: str, driver: str = "580.95", free: str = "7088 MiB") -> str:
    return XML.format(driver=driver, free=free, processes="".join(processes))


def nvidia(**changes: object) -> Card:
    usual = {"vendor": "nvidia", "name": "RTX 3060", "total_bytes": 12 * GIB, "driver": "580.95"}
    return Card(**{**usual, **changes})  # type: ignore[arg-type]


def test_the_nodes_own_engine_does_not_count_as_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "PROC", tmp_path)
    for pid, command in ((7, b"python\0-m\0openledger_node.engine.child"), (8, b"/usr/bin/Xorg")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes(command)
    ours, desktop = PROCESS.format(pid=7, used="4000 MiB"), PROCESS.format(pid=8, used="900 MiB")
    gone = PROCESS.format(pid=9, used="100 MiB")
    found = card_from_xml(xml(ours, desktop, gone))
    assert (found.name, found.driver, found.architecture) == ("NVIDIA GeForce RTX 3060", "580.95", "Ampere")
    assert (found.total_bytes, found.taken_bytes) == (12 * GIB, (5200 - 4000) * MIB)
    assert found.own_bytes == 4000 * MIB
    assert card_from_xml(xml(desktop)).free_bytes == 7088 * MIB
    hidden = PROCESS.format(pid=7, used="N/A")  # under WSL the driver does not say
    assert card_from_xml(xml(hidden)).taken_bytes == 5200 * MIB


@pytest.mark.process
@pytest.mark.parametrize("text", ["<nvidia_smi_log><gpu/></nvidia_smi_log>", "NVIDIA-SMI has failed"])
def test_a_driver_that_fails_is_still_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = find_card(GIB)
    assert found == Card(vendor="nvidia", name="NVIDIA card")
    trouble = trouble_with(found, BUILT)
    assert trouble is not None
    assert (trouble.found, "`nvidia-smi`" in trouble.fix) == ("an NVIDIA GPU whose driver does not answer", True)


@pytest.mark.process
def test_a_driver_that_answers_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\ncat <<'END'\n{xml()}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = find_card(GIB)
    assert found is not None
    assert found.total_bytes == 12 * GIB
    assert (tmp_path / "asked").read_text() == "-q -x\n"
    assert has_card_for(BUILT)
    assert not has_card_for(CPU_BUILD)
    assert not has_card_for(None)


def write_card(folder: Path, number: int, vendor: str, total: int | None = None, used: int = 0) -> None:
    device = folder / f"card{number}" / "device"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    if total is not None:
        (device / "mem_info_vram_total").write_text(f"{total}\n")
        (device / "mem_info_vram_used").write_text(f"{used}\n")


@pytest.fixture
def drm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this machine's cards, on a machine without nvidia-smi."""
    monkeypatch.setattr(cards, "CARDS", tmp_path / "drm")
    monkeypatch.setattr(cards.shutil, "which", lambda _: None)
    monkeypatch.setattr(cards.sys, "platform", "linux")
    return tmp_path / "drm"


def test_an_amd_card_is_the_one_with_the_most_memory(drm: Path) -> None:
    write_card(drm, 0, "0x1002", 512 * MIB)
    write_card(drm, 1, "0x1002", 16 * GIB, used=GIB)
    found = find_card(GIB)
    assert found == Card(vendor="amd", name="an AMD GPU", total_bytes=16 * GIB, taken_bytes=GIB)
    assert (trouble_with(found, ROCM), has_card_for(ROCM)) == (None, True)
    trouble = trouble_with(found, CPU_BUILD)
    assert trouble is not None
    assert "which this build of torch can't use" in trouble.found
    assert "<index of ROCm builds>" in trouble.fix


def test_a_card_without_the_engine_gives_back_what_the_driver_did_not_list_as_ours(drm: Path) -> None:
    write_card(drm, 0, "0x1002", 16 * GIB, used=11 * GIB)
    amd = find_card(GIB)
    assert amd is not None
    assert amd.without(10 * GIB).free_bytes == 15 * GIB, "AMD's driver counts the engine as any other program"
    assert amd.without(0) == amd
    assert amd.without(12 * GIB).free_bytes == 16 * GIB
    listed = nvidia(taken_bytes=GIB, own_bytes=10 * GIB)
    assert listed.without(9 * GIB) == listed, "the driver has listed the engine already"
    assert nvidia(taken_bytes=11 * GIB).without(10 * GIB).free_bytes == 11 * GIB, "a container hides the processes"


def test_a_processors_own_graphics_are_no_problem_that_needs_the_owner(drm: Path) -> None:
    write_card(drm, 0, "0x1002", 512 * MIB)
    found = find_card(GIB)
    assert found is not None
    trouble = trouble_with(found, CPU_BUILD)
    assert trouble is not None
    assert not trouble.fix
    write_card(drm, 1, "0x8086")
    assert find_card(GIB) == found


def test_an_nvidia_card_without_a_driver_is_found(drm: Path) -> None:
    write_card(drm, 0, "0x10de")
    found = find_card(GIB)
    assert found == Card(vendor="nvidia", name="NVIDIA card")
    trouble = trouble_with(found, BUILT)
    assert trouble is not None
    assert trouble.found == "an NVIDIA card without NVIDIA's driver"
    assert "install NVIDIA's driver" in trouble.fix


def test_a_machine_without_a_card_has_none(drm: Path) -> None:
    assert find_card(GIB) is None
    write_card(drm, 0, "0x8086")
    assert find_card(GIB) is None


def test_a_macs_gpu_may_use_two_thirds_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards.sys, "platform", "darwin")
    monkeypatch.setattr(cards.platform, "machine", lambda: "arm64")
    found = find_card(24 * GIB)
    assert found is not None
    assert (found.vendor, found.total_bytes, trouble_with(found, CPU_BUILD)) == ("apple", 24 * GIB * 66 // 100, None)
    monkeypatch.setattr(cards.platform, "machine", lambda: "x86_64")
    assert find_card(24 * GIB) is None


@pytest.mark.parametrize(
    ("changes", "build", "found", "fix"),
    [
        ({}, CPU_BUILD, "RTX 3060, but torch is its CPU build", "index of CUDA builds"),
        ({"driver": "524.9"}, "12.8", "driver 524.9 is too old for torch's build for CUDA 12.8", "525 or later"),
        ({"driver": "570.86"}, "13.0", "driver 570.86 is too old", "580 or later"),
        ({"architecture": "Pascal"}, "12.8", "has no code", "index of CUDA 12.6 builds"),
        ({"architecture": "Kepler"}, "12.6", "a Kepler card", 'device = "cpu"'),
        ({"architecture": "Blackwell"}, "12.6", "a Blackwell card", "index of CUDA 12.8 builds"),
    ],
)
def test_each_reason_why_torch_can_not_use_a_card_has_its_fix(
    changes: dict[str, str], build: TorchBuild | str, found: str, fix: str
) -> None:
    torch = build if isinstance(build, TorchBuild) else TorchBuild("2.13.0", build, None)
    trouble = trouble_with(nvidia(**changes), torch)
    assert trouble is not None
    assert found in trouble.found
    assert fix in trouble.fix


@pytest.mark.parametrize(
    ("changes", "cuda"),
    [
        ({"driver": "525.60"}, "12.8"),
        ({"driver": ""}, "12.8"),
        ({"architecture": "Pascal"}, "12.6"),
        ({"architecture": "Blackwell"}, "12.8"),
        ({"architecture": "Rubin"}, "13.2"),
    ],
)
def test_a_card_against_which_nothing_is_known_is_used(changes: dict[str, str], cuda: str) -> None:
    assert trouble_with(nvidia(**changes), TorchBuild("2.13.0", cuda, None)) is None


def test_the_installed_torch_is_read_without_loading_it() -> None:
    import torch

    found = find_torch()
    assert found is not None
    assert found == (torch.__version__, torch.version.cuda, torch.version.hip)


def test_the_version_of_triton_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "__init__.py"
    monkeypatch.setattr(cards, "find_spec", lambda _: SimpleNamespace(origin=str(file)))
    for text, found in (('__version__ = "3.5.1+rocm7"\n', (3, 5)), ("version = 1\n", None), ("", None)):
        file.write_text(text)
        assert cards._triton_version() == found
