"""The backend that `auto` takes for a base."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType
from support.gguf_models import write_gguf
from support.tiny import make_base

from openledger_node.card import Card, TorchBuild
from openledger_node.config import InferenceConfig
from openledger_node.engine import choose
from openledger_node.engine.choose import choose_backend
from openledger_node.machine import Machine
from openledger_node.models.bases import FAKE_BASE, Base
from openledger_node.models.gguf_files.config import config_of
from openledger_node.models.gguf_files.header import read_header


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("choose") / "hf", hidden_size=256, intermediate_size=256)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine with a llama-server and no GPU, to be changed."""
    found: dict[str, Any] = {"programs": {"llama-server"}, "card": None, "hip": None}
    monkeypatch.setattr(choose.shutil, "which", lambda name: name if name in found["programs"] else None)

    def look() -> Machine:
        torch = TorchBuild(version="2.9", cuda=None, hip=found["hip"])
        return Machine(ram_bytes=32 << 30, card=found["card"], torch=torch)

    monkeypatch.setattr(choose, "look_at_machine", look)
    return found


def base_of(tiny: Path, file: Path, **how: Any) -> Base:
    return replace(FAKE_BASE, folder=file.parent, gguf=write_gguf(tiny, file, **how))


def test_a_base_of_safetensors_and_the_fake_need_no_choice(tiny: Path) -> None:
    auto = InferenceConfig()
    assert choose_backend(auto, FAKE_BASE).backend == "fake"
    assert choose_backend(auto, replace(FAKE_BASE, folder=tiny)).backend == "torch_lora"
    assert choose_backend(replace(auto, backend="vllm"), replace(FAKE_BASE, folder=tiny)).backend == "vllm"


def narrow_mlp(name: str) -> GGMLQuantizationType:
    return GGMLQuantizationType.Q8_0 if "mlp" in name else GGMLQuantizationType.F32


def describe(base: Base) -> Base:
    """Write the description that `models pull` makes of a base's file."""
    (base.folder / "config.json").write_text(json.dumps(config_of(read_header(base.gguf))))
    return base


def test_a_described_file_is_not_read_again(tiny: Path, tmp_path: Path, machine: dict[str, Any]) -> None:
    base = describe(base_of(tiny, tmp_path / "a.gguf", type_of=narrow_mlp))
    base.gguf.unlink()
    assert choose_backend(InferenceConfig(), base).backend == "torch_lora"
    machine["card"] = Card(vendor="amd", name="an AMD GPU", total_bytes=16 << 30)
    assert choose_backend(InferenceConfig(), base).backend == "llamacpp"


def test_a_description_names_what_only_llama_cpp_reads(tiny: Path, tmp_path: Path) -> None:
    def type_of(name: str) -> GGMLQuantizationType:
        return GGMLQuantizationType.TQ2_0 if "q_proj" in name else narrow_mlp(name)

    base = describe(base_of(tiny, tmp_path / "a.gguf", type_of=type_of))
    choice = choose_backend(InferenceConfig(), base)
    assert (choice.backend, choice.why) == ("llamacpp", "the node's own engine does not read TQ2_0")


def test_another_architecture_needs_llama_cpp(tiny: Path, tmp_path: Path, machine: dict[str, Any]) -> None:
    base = base_of(tiny, tmp_path / "a.gguf")
    base.gguf.write_bytes(base.gguf.read_bytes().replace(b"llama", b"falcn"))
    choice = choose_backend(InferenceConfig(), base)
    assert (choice.backend, choice.why) == ("llamacpp", "the node's own engine does not know the architecture falcn")
    machine["programs"].clear()
    choice = choose_backend(InferenceConfig(), base)
    assert choice.backend == "torch_lora"
    assert choice.why.endswith("but no llama-server is installed")
    machine["programs"].add("/opt/llama/llama-server")
    own = InferenceConfig(server_command="/opt/llama/llama-server --fit off")
    assert choose_backend(own, base).backend == "llamacpp"


def test_an_amd_card_that_torch_cannot_use_gets_llama_cpp(
    tiny: Path, tmp_path: Path, machine: dict[str, Any]
) -> None:
    base = base_of(tiny, tmp_path / "a.gguf")
    choice = choose_backend(InferenceConfig(), base)
    assert choice.why == "the node's own engine reads this GGUF file, and mixes adapters"
    machine["card"] = Card(vendor="amd", name="an AMD GPU", total_bytes=16 << 30)
    assert choose_backend(InferenceConfig(), base).backend == "llamacpp"
    assert choose_backend(InferenceConfig(device="cpu"), base).backend == "torch_lora"
    machine["hip"] = "6.4"
    assert choose_backend(InferenceConfig(), base).backend == "torch_lora"
