"""Which engine runs a development chain: the one that began it, and without npm's anvil still one."""

from pathlib import Path

import pytest

from openledger_node.chain.dev import launch as engines
from openledger_node.chain.dev.anvil import start_anvil
from openledger_node.chain.dev.launch import CHAIN_FILES, Engine, engine_of, find_anvil
from openledger_node.errors import ChainError


@pytest.fixture
def no_anvil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without npm: no checkout with packages, nothing on the path."""
    monkeypatch.setattr(engines, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def begin(folder: Path, engine: Engine) -> None:
    (folder / CHAIN_FILES[engine]).write_text("{}")


@pytest.mark.usefixtures("no_anvil")
def test_without_anvil_a_chain_runs_on_the_embedded_engine(tmp_path: Path) -> None:
    assert find_anvil() is None
    assert engine_of(tmp_path, "auto") == "embedded"


@pytest.mark.usefixtures("no_anvil")
def test_without_anvil_a_chain_that_it_began_waits_for_it(tmp_path: Path) -> None:
    begin(tmp_path, "anvil")
    assert engine_of(tmp_path, "auto") == "anvil"
    with pytest.raises(
        ChainError, match=r"anvil created the chain in .* but is not installed: .* or use another folder"
    ):
        start_anvil(tmp_path, 0, 1.0)


def test_anvil_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CHECKOUT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "anvil"
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
    assert find_anvil() == program


@pytest.mark.parametrize("engine", CHAIN_FILES)
def test_a_chain_stays_with_the_engine_that_began_it(tmp_path: Path, engine: Engine) -> None:
    begin(tmp_path, engine)
    assert engine_of(tmp_path, "auto") == engine_of(tmp_path, engine) == engine
    (other,) = set(CHAIN_FILES) - {engine}
    with pytest.raises(ChainError, match=f"{engine} created the chain in .*: use that engine, or another folder"):
        engine_of(tmp_path, other)


def test_an_engine_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChainError, match="there is no engine 'ganache': use auto, embedded or anvil"):
        engine_of(tmp_path, "ganache")
