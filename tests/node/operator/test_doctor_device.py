"""The doctor on each kind of card: it names the device of the engine, and the fix if the card can't be used."""

import pytest

from openledger_node.card import Card, TorchBuild
from openledger_node.home import Home
from openledger_node.machine import Machine
from openledger_node.operator.doctor import machine, scene
from openledger_node.operator.doctor.scene import Scene

GIB = 1 << 30
CUDA = TorchBuild("2.13.0", "13.0", None)
CPU = TorchBuild("2.13.0+cpu", None, None)
ROCM = TorchBuild("2.13.0", None, "6.4")
RTX = Card(vendor="nvidia", name="RTX 3060", total_bytes=12 * GIB, taken_bytes=GIB, driver="580.95")
AMD = Card(vendor="amd", name="an AMD GPU", total_bytes=16 * GIB)


def on(home: Home, monkeypatch: pytest.MonkeyPatch, card: Card | None, torch: TorchBuild) -> Scene:
    found = Machine(ram_bytes=32 * GIB, card=card, torch=torch)
    monkeypatch.setattr(scene, "look_at_machine", lambda: found)
    return Scene(home, lambda *_: None)


@pytest.mark.parametrize(
    ("card", "torch", "found", "fix"),
    [
        (None, CPU, "no graphics card: the engine runs on the CPU", ""),
        (RTX, CUDA, "RTX 3060", ""),
        (RTX, CPU, "RTX 3060, but torch is its CPU build", "<index of CUDA builds>"),
        (AMD, ROCM, "an AMD GPU, a kind of card that is not tested yet", ""),
        (AMD, CPU, "an AMD GPU, which this build of torch can't use", "<index of ROCm builds>"),
        (Card(vendor="apple", name="Apple's GPU", total_bytes=GIB), CPU, "Apple's GPU", ""),
        (Card(vendor="nvidia", name="NVIDIA card"), CUDA, "driver", "driver"),
    ],
)
def test_the_device_is_named_and_what_is_wrong_has_a_fix(
    home: Home, monkeypatch: pytest.MonkeyPatch, card: Card | None, torch: TorchBuild, found: str, fix: str
) -> None:
    verdict = machine.device(on(home, monkeypatch, card, torch))
    assert found in verdict.found
    assert fix in verdict.fix
    assert bool(fix) == bool(verdict.fix)


def test_a_card_that_the_owner_does_not_want_is_no_problem(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.config_file.write_text('[inference]\ndevice = "cpu"\n')
    assert not machine.device(on(home, monkeypatch, RTX, CPU)).fix


def test_the_memory_of_the_card_is_named_with_what_others_use(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.memory(on(home, monkeypatch, RTX, CUDA)).found == (
        "32.0 GiB; the card has 12.0 GiB, 1.0 GiB of them in use by other programs"
    )
    assert machine.memory(on(home, monkeypatch, RTX, CPU)).found == "32.0 GiB"
