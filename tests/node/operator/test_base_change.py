"""The change of the base of a running node: what is refused while the old one still serves."""

import fcntl
import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny import make_base

from openledger_node.card import Card, TorchBuild
from openledger_node.config import Config, InferenceConfig, LimitsConfig
from openledger_node.engine import base_fit
from openledger_node.errors import ConfigError, ModelError, NodeError
from openledger_node.home import Home
from openledger_node.machine import Machine
from openledger_node.models.bases import describe_folder
from openledger_node.models.known_bases import known_base
from openledger_node.operator import base_look
from openledger_node.operator.base_change import overridden, settings_for
from openledger_node.operator.base_look import BaseLooks

SERVED = Config(inference=InferenceConfig(base="tiny-a"))
GB = 10**9


@pytest.fixture
def home(home: Home) -> Home:
    for seed, name in enumerate(("tiny-a", "tiny-b")):
        describe_folder(make_base(home.models / name, seed=seed))
    return home


def test_only_a_base_that_is_here_and_fits_is_served_next(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_for(home, SERVED, "tiny-b") == {"inference.base": "tiny-b"}
    with pytest.raises(ConfigError, match="tiny-a is the base that is served already"):
        settings_for(home, SERVED, "tiny-a")
    with pytest.raises(ModelError, match="run `openledger-node models pull nowhere`"):
        settings_for(home, SERVED, "nowhere")
    with pytest.raises(NodeError, match="fit"):
        settings_for(home, replace(SERVED, limits=LimitsConfig(ram_bytes=1000, vram_bytes=1000)), "tiny-b")
    (home.models / "tiny-b" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        settings_for(home, SERVED, "tiny-b")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "tiny-a")
    assert overridden() == "OPENLEDGER_INFERENCE_BASE is set and overrides node.toml at the next start"


def test_a_base_whose_weights_are_torn_is_refused(home: Home) -> None:
    weights = home.models / "tiny-b" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"model\.safetensors is not as it was when tiny-b was described"):
        settings_for(home, SERVED, "tiny-b")


def test_a_training_refuses_the_change(home: Home) -> None:
    home.training.mkdir(parents=True, exist_ok=True)
    with (home.training / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="`openledger-node factory stop`"):
            settings_for(home, SERVED, "tiny-b")


def test_the_next_base_may_use_the_memory_of_this(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_base("Qwen/Qwen3-4B-Instruct-2507")
    assert known is not None
    (tmp_path / "config.json").write_text(json.dumps(known.fields))
    card = Card(vendor="amd", name="an AMD GPU", total_bytes=16 * GB, taken_bytes=13 * GB)
    machine = Machine(ram_bytes=32 * GB, card=card, torch=TorchBuild("2.13.0+rocm6.4", None, "6.4.4"))
    monkeypatch.setattr(base_look, "look_at_machine", lambda: machine)
    monkeypatch.setattr(base_fit, "runs_kernels", lambda *_: True)
    with pytest.raises(ModelError, match=r"your card has 3\.0 GB for it"):
        BaseLooks(home, Config()).check_memory(str(tmp_path))
    BaseLooks(home, Config(), held_bytes=12 * GB).check_memory(str(tmp_path))
