"""Plugs: names to code, ours and those of other packages."""

from pathlib import Path

import pytest

from openledger_node.backends import fake
from openledger_node.config import load_config
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.plugs import PLUGS, load_plug, plug_names
from openledger_node.settings_file import write_settings

METADATA = "Metadata-Version: 2.1\nName: quantum-backend\nVersion: 1.0\n"
NEED_NOTHING = {"fake", "memory", "simulated", "uniform-v0", "plain_text"}
ENTRY_POINTS = """
[openledger_node.backend]
quantum = quantum_backend:open_backend
fake = quantum_backend:open_backend
torn = no_such_module_at_all:open
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package that brings a backend, and one under a name of ours."""
    described = tmp_path / "quantum_backend-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(METADATA)
    (described / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "quantum_backend.py").write_text("def open_backend(settings):\n    return ('quantum', settings)\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torch_lra", "no backend is called 'torch_lra': did you mean 'torch_lora'?"),
        ("Fake", "no backend is called 'Fake': did you mean 'fake'?"),
        ("", "no backend is called '': choose from torch_lora, vllm, llamacpp, fake"),
    ],
)
def test_an_unknown_name_is_refused_and_the_nearest_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_plug("backend", name)
    assert str(refusal.value) == message


@pytest.mark.parametrize("socket", PLUGS)
def test_every_socket_has_a_plug_that_needs_nothing(socket: str) -> None:
    assert NEED_NOTHING & set(plug_names(socket))


@pytest.mark.usefixtures("third_party")
def test_a_plug_of_another_package_is_named_and_loaded_but_cannot_take_a_name_of_ours() -> None:
    assert plug_names("backend") == ["torch_lora", "vllm", "llamacpp", "fake", "quantum", "torn"]
    assert load_plug("backend", "quantum")("settings") == ("quantum", "settings")
    assert load_plug("backend", "fake") is fake.open_backend


@pytest.mark.usefixtures("third_party")
def test_a_plug_whose_package_cannot_be_imported_says_which() -> None:
    with pytest.raises(ConfigError, match=r"torn.*no_such_module_at_all"):
        load_plug("backend", "torn")


def test_our_own_plugs_are_found_without_other_packages(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: str) -> None:
        raise AssertionError("it reads a file of each installed package, and settings are read every few seconds")

    monkeypatch.setattr("importlib.metadata.entry_points", refuse)
    write_settings(home.config_file, {"inference.backend": "llamacpp", "factory.trainer": "fake"})
    config, _ = load_config(home.config_file)
    assert (config.inference.backend, config.factory.trainer) == ("llamacpp", "fake")


@pytest.mark.usefixtures("third_party")
def test_settings_may_name_a_plug_of_another_package(home: Home) -> None:
    write_settings(home.config_file, {"inference.backend": "quantum"})
    assert load_config(home.config_file)[0].inference.backend == "quantum"
