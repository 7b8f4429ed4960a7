"""The whole path that the docs walk through, from nano to the kernels, on Triton's interpreter."""

from pathlib import Path

import pytest
import torch
from support.tiny import make_adapter, make_base

from openledger_node.backends.cuda.backend import CudaBackend
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.config import load_config
from openledger_node.engine import nano
from openledger_node.engine.nano import Nano, adapter_of
from openledger_node.engine.options import EngineOptions, engine_options
from openledger_node.home import Home
from openledger_node.models.bases import find_base
from openledger_protocol.inference import SamplingParams

PROMPTS = ("Who steers?", "Who steers the ferry?")


def answers(options: EngineOptions, folders: list[Path], home: Home) -> dict[str, str]:
    engine = Nano(options)
    for number, prompt in enumerate(PROMPTS):
        for name, source in [("base", None), *((folder.name, adapter_of(home, str(folder))) for folder in folders)]:
            sampling = SamplingParams(max_tokens=2, seed=number, temperature=0.9 * number)
            engine.ask(f"{name}/{number}", prompt, sampling, source)
    list(engine.run())
    return engine.answers


def test_answers_of_the_kernels_are_those_of_plain_torch(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(tmp_path / "base", num_hidden_layers=1, head_dim=16)
    folders = [make_adapter(base, tmp_path / "one", seed=1), make_adapter(base, tmp_path / "two", seed=2, r=7)]
    flags = {
        "inference.dtype": "float32",
        "inference.acceleration": "off",
        "inference.context_max": 128,
        "inference.adapter_cache_bytes": 1 << 20,
        "inference.prefill_tokens_max": 40,
    }
    options = engine_options(home, load_config(home.config_file, flags=flags)[0], find_base(home, str(base)))
    expected = answers(options, folders, home)
    on_cpu = Placement(device=torch.device("cpu"), dtype=torch.float32)
    monkeypatch.setattr(nano, "load_plug", lambda *_: lambda settings: CudaBackend(settings, on_cpu))
    assert answers(options, folders, home) == expected
    assert len(set(expected.values())) > len(PROMPTS)
