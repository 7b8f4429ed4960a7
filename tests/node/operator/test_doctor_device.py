"""The doctor on machines without an NVIDIA GPU: it names the device that the engine will run on."""

from pathlib import Path

import pytest

from openledger_node.home import Home
from openledger_node.operator.doctor import machine
from openledger_node.operator.doctor.scene import Scene


@pytest.mark.parametrize(
    ("vendor", "torch", "platform", "found"),
    [
        (
            "0x1002",
            "2.6.0+cpu",
            "linux",
            "an AMD GPU, which this build of torch can't use: the engine runs on the CPU",
        ),
        ("0x1002", "2.6.0+rocm6.2", "linux", "an AMD GPU with torch's ROCm build"),
        ("0x8086", "2.6.0+cpu", "linux", "no NVIDIA GPU: the engine runs on the CPU"),
        ("", "2.6.0", "darwin", "Apple's GPU"),
    ],
)
def test_the_device_is_named_without_an_nvidia_gpu(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vendor: str,
    torch: str,
    platform: str,
    found: str,
) -> None:
    card = tmp_path / "drm" / "card0" / "device"
    card.mkdir(parents=True)
    (card / "vendor").write_text(f"{vendor}\n")
    monkeypatch.setattr("openledger_node.machine.CARDS", tmp_path / "drm")
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    monkeypatch.setattr(machine, "_version_of", lambda _: torch)
    monkeypatch.setattr(machine.sys, "platform", platform)
    verdict = machine.device(Scene(home, lambda *_: None))
    assert found in verdict.found
    assert not verdict.fix
