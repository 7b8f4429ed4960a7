"""The daemon's own chain: it is started again when it dies, by the engine that began it."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from openledger_node.chain.clients.evm import open_client
from openledger_node.chain.dev import launch as engines
from openledger_node.chain.dev.anvil import start_anvil
from openledger_node.chain.dev.launch import CHAIN_FILES, Devnet, Engine, engine_of, find_anvil
from openledger_node.chain.dev.supervision import LASTING_S, RESTART_PAUSES_S, keep_running
from openledger_node.child_process import BegunProcess
from openledger_node.errors import ChainError


@dataclass
class Chain:
    """A process that lives as long as its script says; None is a start that fails."""

    lives_s: Iterator[float | None]
    started_s: list[float] = field(default_factory=list)
    ends_s: float = 0.0

    @property
    def status(self) -> int | None:
        return None if trio.current_time() < self.ends_s else -9

    def restart(self) -> None:
        now_s = trio.from_thread.run_sync(trio.current_time)
        self.started_s.append(now_s)
        life_s = next(self.lives_s)
        if life_s is None:
            raise ChainError("the disk is full")
        self.ends_s = now_s + life_s


async def starts(chain: Chain, within_s: float) -> list[float]:
    began_s = trio.current_time()
    with trio.move_on_after(within_s):
        await keep_running(chain)  # type: ignore[arg-type]
    return [each - began_s for each in chain.started_s]


async def test_a_killed_chain_runs_again_soon(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    (started_s,) = await starts(Chain(iter([1e9])), 600)
    assert started_s < 2
    assert "has ended with status -9: starting it again" in caplog.text
    assert "the development chain runs again" in caplog.text


async def test_a_chain_that_does_not_start_is_tried_for_ever_ever_more_slowly(autojump_clock: object) -> None:
    chain = Chain(iter([*[None] * 9, 1e9]))
    found = await starts(chain, 600)
    pauses = [after - before for before, after in pairwise(found)]
    assert len(found) == 10
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(RESTART_PAUSES_S[-1], abs=1)


async def test_a_chain_that_has_lasted_is_started_soon_the_next_time(autojump_clock: object) -> None:
    chain = Chain(iter([1.0, 1.0, 1.0, LASTING_S + 10, 1e9]))
    found = await starts(chain, 600)
    assert found[-1] - found[-2] == pytest.approx(LASTING_S + 10 + RESTART_PAUSES_S[0], abs=1.1)


@pytest.mark.parametrize(
    ("is_own", "words"), [(True, "starts it again"), (False, "check that it is running, and its")]
)
def test_only_a_strangers_endpoint_is_blamed_for_its_address(is_own: bool, words: str) -> None:
    client = open_client("http://127.0.0.1:9", is_own=is_own)
    with pytest.raises(ChainError, match=words) as refusal:
        client.head()
    assert ("127.0.0.1" in str(refusal.value)) is not is_own
    client.close()


def begin(genesis_hash: str = "0x" + "1" * 64, *, is_silent: bool = False) -> BegunProcess:
    """Begin a process in place of a chain's, which ends with its stdin."""
    ready = {"url": "http://127.0.0.1:1", "chain_id": 1, "genesis_hash": genesis_hash, "engine": "embedded"}
    words = "" if is_silent else f"print({json.dumps(json.dumps(ready))}, flush=True);"
    command = [sys.executable, "-c", f"import sys; {words} sys.stdin.read()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return BegunProcess(process, what="the development chain", failure=ChainError)


@pytest.mark.process
def test_another_chain_at_the_same_address_is_not_taken_for_this_one() -> None:
    chain = Devnet(begin(), lambda _: begin("0x" + "2" * 64))
    with pytest.raises(ChainError, match="is another one now: stop the node and start it again"):
        chain.restart()
    assert chain.status is not None, "its process was ended"


@pytest.mark.process
async def test_a_node_that_stops_leaves_no_chain_that_was_being_started_again() -> None:
    begun: list[BegunProcess] = []

    def begin_silent(_port: int) -> BegunProcess:
        begun.append(begin(is_silent=True))
        trio.from_thread.run_sync(has_begun.set)
        return begun[-1]

    has_begun = trio.Event()
    with Devnet(begin(), begin_silent) as chain:
        chain._process.kill()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_running, chain)
            await has_begun.wait()
            nursery.cancel_scope.cancel()
    assert begun[0].process.poll() is not None
    with pytest.raises(ChainError, match="is not started again"):
        chain.restart()
    assert len(begun) == 1


# ---- which engine runs a development chain: the one that began it, and without npm's anvil still one


def begin_chain(folder: Path, engine: Engine) -> None:
    (folder / CHAIN_FILES[engine]).write_text("{}")


def test_only_a_chain_that_anvil_began_needs_anvil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without npm: no checkout with packages, nothing on the path."""
    monkeypatch.setattr(engines, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_anvil() is None
    assert engine_of(tmp_path, "auto") == "embedded"
    begin_chain(tmp_path, "anvil")
    assert engine_of(tmp_path, "auto") == "anvil"
    with pytest.raises(ChainError, match=r"anvil created the chain in .* but is not installed: .* or use another fo"):
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
    begin_chain(tmp_path, engine)
    assert engine_of(tmp_path, "auto") == engine_of(tmp_path, engine) == engine
    (other,) = set(CHAIN_FILES) - {engine}
    with pytest.raises(ChainError, match=f"{engine} created the chain in .*: use that engine, or another folder"):
        engine_of(tmp_path, other)
    with pytest.raises(ChainError, match="there is no engine 'ganache': use auto, embedded or anvil"):
        engine_of(tmp_path, "ganache")
