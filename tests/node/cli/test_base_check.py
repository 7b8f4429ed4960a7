"""`models pull` and `setup` say what fits before a download, and refuse what can't: over a hub on this machine."""

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node.cli.verbs import Ran, Run
from support.commands import run_command
from support.fake_hub import FakeHub, fake_hub
from support.processes.nodes import node_environment
from support.tiny import make_base

from openledger_node.card import Card, TorchBuild
from openledger_node.cli.base_check import BaseCheck
from openledger_node.config import Config
from openledger_node.engine import base_fit, budget
from openledger_node.engine.base_fit import FORMS
from openledger_node.home import Home
from openledger_node.machine import Machine
from openledger_node.operator import base_look

GIB = 1 << 30
MODEL_ERROR, CONFIG_ERROR, NETWORK_ERROR = 7, 3, 6
LARGE: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 128_256, "hidden_size": 8192, "intermediate_size": 28_672,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131_072,
}  # fmt: skip
FIT = "tokens of context for all requests together and"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        yield hub


def typed(home: Home, hub: FakeHub, *words: str) -> Ran:
    env = node_environment(home, COLUMNS="400", **hub.environment)
    ran = run_command(*words, env=env, timeout_s=60)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def with_card(monkeypatch: pytest.MonkeyPatch, gib: int, *, has_kernels: bool = False) -> None:
    monkeypatch.setattr(base_fit, "runs_kernels", lambda *_: has_kernels)
    card = Card(vendor="nvidia", name="RTX", total_bytes=gib * GIB, taken_bytes=GIB, driver="580.95")
    machine = Machine(ram_bytes=16 * GIB, card=card, torch=TorchBuild("2.13.0", "13.0", None))
    monkeypatch.setattr(base_look, "look_at_machine", lambda: machine)
    monkeypatch.setattr(base_look, "is_hub_up", lambda: True)
    roomy = shutil.disk_usage(".")._replace(free=1 << 40)
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda _: roomy)


def settings(home: Home) -> dict[str, Any]:
    return tomllib.loads(home.config_file.read_text()) if home.config_file.exists() else {}


@pytest.mark.process
def test_a_base_that_fits_is_said_to_and_pulled(home: Home, hub: FakeHub, tmp_path: Path) -> None:
    hub.files["acme/tiny"] = {file.name: file.read_bytes() for file in make_base(tmp_path / "base").iterdir()}
    ran = typed(home, hub, "models", "pull", "acme/tiny", "--json")
    assert ran.status == 0, ran.stderr
    assert json.loads(ran.stdout)["name"] == "acme--tiny"
    said = ran.stderr.splitlines()
    assert said[0].startswith("acme/tiny on ")
    assert [line.split()[:2] for line in said[1 : 1 + len(FORMS)]] == [[form, "fits"] for form in FORMS]
    assert all(FIT in line for line in said[1 : 1 + len(FORMS)])
    again = typed(home, hub, "models", "pull", "acme/tiny")
    assert (again.status, FIT in again.stderr) == (0, False), "it is here already"


@pytest.mark.process
def test_a_base_that_does_not_fit_is_refused_before_its_download(home: Home, hub: FakeHub, tmp_path: Path) -> None:
    home.config_file.write_text("[limits]\nram_bytes = 2000000000\n")
    hub.files["acme/large"] = {"config.json": json.dumps(LARGE).encode(), "model.safetensors": b"weights"}
    ran = typed(home, hub, "models", "pull", "acme/large")
    assert ran.status == MODEL_ERROR
    assert "none  does not fit: takes " in ran.stderr
    # Without bf16 on the processor the larger one fits in int8 only.
    others = r"HuggingFaceTB/SmolLM2-360M-Instruct( in int8)? and smollm2-135m-instruct would fit\."
    assert re.search(rf"and this machine has 2\.0 GB for it\. {others}", ran.stderr)
    assert ran.stderr.rstrip().endswith("Add --anyway to download it all the same")
    assert hub.fetched == ["config.json"]
    assert [file.name for file in home.models.iterdir()] in ([], [".lock"])
    hub.files["acme/tiny"] = {
        **hub.files["acme/large"],
        "config.json": (make_base(tmp_path) / "config.json").read_bytes(),
    }
    hub.claimed["acme/tiny"] = {"model.safetensors": 10**15}
    huge = typed(home, hub, "models", "pull", "acme/tiny")
    assert (huge.status, "model.safetensors" in hub.fetched) == (CONFIG_ERROR, False)
    assert "the download takes 1000000.0 GB, and the disk of " in huge.stderr
    missing = typed(home, hub, "models", "pull", "acme/none")
    assert (missing.status, "no such repository, or it is private" in missing.stderr) == (NETWORK_ERROR, True)
    anyway = typed(home, hub, "models", "pull", "acme/large", "--anyway")
    assert "note acme/large does not fit" in anyway.stderr
    assert "model.safetensors" in hub.fetched


@pytest.mark.process
def test_a_hostile_config_is_refused_and_leaves_nothing(home: Home, hub: FakeHub) -> None:
    hub.files["acme/evil"] = {"model.safetensors": b"weights"}
    for content, says in (
        (json.dumps({**LARGE, "hidden_size": 10**12}), "says hidden_size = 1000000000000"),
        (" " * (1 << 20) + "{}", "it is not a base model"),
    ):
        hub.files["acme/evil"]["config.json"] = content.encode()
        ran = typed(home, hub, "models", "pull", "acme/evil")
        assert (ran.status, "Traceback" in ran.stderr, says in ran.stderr) == (MODEL_ERROR, False, True)
    assert "model.safetensors" not in hub.fetched
    assert not (home.models / ".acme--evil.partial").exists()


def test_setup_finds_a_quantisation_that_fits_the_card(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with_card(monkeypatch, 12, has_kernels=True)
    monkeypatch.setattr("openledger_node.cli.setup._bring_base", lambda *_, **__: None)
    ran = run("setup", "--yes")
    assert ran.status == 0
    assert settings(home)["inference"] == {"base": "Qwen--Qwen3-14B", "quantisation": FORMS[-1]}
    assert "Qwen/Qwen3-14B on RTX with 12.9 GB, 11.8 GB of them for the engine:" in ran.stderr
    assert "none  does not fit: takes " in ran.stderr


def test_setup_by_flags_refuses_a_base_that_is_too_big(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with_card(monkeypatch, 8)
    monkeypatch.setattr("openledger_node.cli.setup._bring_base", lambda *_, **__: None)
    refused = run("setup", "--no-input", "--base", "Qwen/Qwen3-32B")
    assert (refused.status, settings(home)) == (MODEL_ERROR, {})
    assert "your card has 7.5 GB for it. Qwen/Qwen3-8B in " in refused.stderr
    anyway = run("setup", "--no-input", "--base", "Qwen/Qwen3-32B", "--anyway", "--no-pull")
    assert (anyway.status, settings(home)["inference"]) == (0, {"base": "Qwen--Qwen3-32B"})
    smaller = run("setup", "--no-input", "--base", "Qwen/Qwen3-4B-Instruct-2507", "--quantisation", "int8")
    assert (smaller.status, settings(home)["inference"]["quantisation"]) == (0, "int8")
    limited = run("setup", "--no-input", "--base", "Qwen/Qwen3-14B", "--vram", "6GB")
    assert (limited.status, "your card has 6.0 GB for it" in limited.stderr) == (MODEL_ERROR, True)


def test_a_base_that_can_not_be_had_is_not_proposed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_look, "look_at_machine", lambda: Machine(ram_bytes=16 * GIB))
    for is_up, base in ((True, "HuggingFaceTB/SmolLM2-360M-Instruct"), (False, "smollm2-135m-instruct")):
        monkeypatch.setattr(base_look, "is_hub_up", lambda up=is_up: up)
        assert BaseCheck(home, Config(), is_anyway=False).propose() == base
