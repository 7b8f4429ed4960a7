"""The doctor on each kind of card: it names the device of the engine, and the fix if the card can't be used."""

import json

import pytest

from openledger_node.card import Card, TorchBuild, Trouble
from openledger_node.engine import budget
from openledger_node.engine.kernel_verdict import KernelVerdict, keep_verdict
from openledger_node.home import Home
from openledger_node.machine import Machine
from openledger_node.models.bases import write_base_json
from openledger_node.models.known_bases import known_base
from openledger_node.operator.doctor import machine, model, scene
from openledger_node.operator.doctor.scene import Scene
from openledger_protocol.codec import sha256_digest

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
        (RTX, CPU, "RTX 3060, but torch is its CPU build", "<index of CUDA builds>"),
        (AMD, ROCM, "an AMD GPU, a kind of card that is not tested yet", ""),
    ],
)
def test_the_device_is_named_and_what_is_wrong_has_a_fix(
    home: Home, monkeypatch: pytest.MonkeyPatch, card: Card | None, torch: TorchBuild, found: str, fix: str
) -> None:
    verdict = machine.device(on(home, monkeypatch, card, torch))
    assert found in verdict.found
    assert fix in verdict.fix
    assert bool(fix) == bool(verdict.fix)


TESTED = "RTX 3060, torch 2.13.0, Triton 3.7.1"


@pytest.mark.parametrize(
    ("missing", "verdict", "found", "fix"),
    [
        (None, None, "compiled by Triton at the first start", ""),
        (None, "they compute wrong numbers", "plain torch computes: they compute wrong numbers", "another torch"),
        (Trouble("there is no C compiler", "apt install gcc"), "", "plain torch computes: there is no C", "gcc"),
    ],
)
def test_the_path_of_a_card_is_named_and_why(
    home: Home, monkeypatch: pytest.MonkeyPatch, missing: Trouble | None, verdict: str | None, found: str, fix: str
) -> None:
    monkeypatch.setattr(machine, "missing_for_kernels", lambda: missing)
    if verdict is not None:
        keep_verdict(home.cache, KernelVerdict(key="0x01", tested=TESTED, fault=verdict))
    seen = machine.kernels(on(home, monkeypatch, RTX, CUDA))
    assert found in seen.found
    assert fix in seen.fix
    assert bool(fix) == bool(seen.fix)


def test_without_a_card_for_them_the_kernels_are_no_problem(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    apple = Card(vendor="apple", name="Apple's GPU", total_bytes=GIB)
    for card in (None, apple):
        assert not machine.kernels(on(home, monkeypatch, card, CPU)).is_known
    home.config_file.write_text('[inference]\nacceleration = "off"\n')
    assert "off, set by" in machine.kernels(on(home, monkeypatch, RTX, CUDA)).found
    home.config_file.write_text('[inference]\ndevice = "cpu"\n')
    assert not machine.kernels(on(home, monkeypatch, RTX, CUDA)).is_known


def test_the_memory_of_the_card_is_named_with_what_others_use(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.memory(on(home, monkeypatch, RTX, CUDA)).found == (
        "34.4 GB; the card has 12.9 GB, 1.1 GB of them in use by other programs"
    )
    assert machine.memory(on(home, monkeypatch, RTX, CPU)).found == "34.4 GB"


def write_base(home: Home, name: str) -> None:
    """A base on the disk as far as the doctor reads it."""
    known = known_base(name)
    assert known is not None
    folder = home.models / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(known.fields))
    (folder / "model.safetensors").write_bytes(b"weights")
    write_base_json(folder, name="mine", digest=sha256_digest(b"mine"), source=None)
    home.config_file.write_text('[inference]\nbase = "mine"\n')


@pytest.mark.parametrize(
    ("missing", "base_gb", "num_adapters"), [(Trouble("no C compiler", "get one"), "8.9", 3), (None, "9.0", 10)]
)
def test_the_plan_of_the_base_counts_what_other_programs_use_of_the_card(
    home: Home, monkeypatch: pytest.MonkeyPatch, missing: Trouble | None, base_gb: str, num_adapters: int
) -> None:
    monkeypatch.setattr(budget, "missing_for_kernels", lambda: missing)
    write_base(home, "Qwen/Qwen3-4B-Instruct-2507")
    verdict = model.budget(on(home, monkeypatch, RTX, CUDA))
    assert verdict.found.startswith(f"the engine may take 11.8 GB; the base needs about {base_gb} GB")
    found = f"tokens of context for all requests together and {num_adapters} adapters of rank 16 beside them"
    assert found in verdict.found
    assert not verdict.fix


@pytest.mark.parametrize(
    ("card", "base", "limits", "fix"),
    [
        (
            RTX,
            "Qwen/Qwen3-8B",
            "",
            "in which the base fits, or close programs that use the card, or choose a smaller",
        ),
        (RTX, "Qwen/Qwen3-32B", "[limits]\nvram_bytes = 9000000000\n", "with `openledger-node limits set --vram"),
        (None, "Qwen/Qwen3-32B", "", "`openledger-node setup`, such as HuggingFaceTB/SmolLM2-360M-Instruct"),
    ],
)
def test_a_base_that_does_not_fit_has_its_remedies(
    home: Home, monkeypatch: pytest.MonkeyPatch, card: Card | None, base: str, limits: str, fix: str
) -> None:
    write_base(home, base)
    with home.config_file.open("a") as file:
        file.write(limits)
    verdict = model.budget(on(home, monkeypatch, card, CUDA if card else CPU))
    assert fix in verdict.fix
    assert verdict.fix.startswith("set [inference] quantisation = ") == (base == "Qwen/Qwen3-8B" or not card)
    assert card or "close programs" not in verdict.fix
