"""The routes of the bases: a change is refused without a trace, or written before the node starts again."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from support.tiny import make_base

from openledger_node.api.bases import add_bases
from openledger_node.config import Config, InferenceConfig
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.models.bases import describe_folder, find_base
from openledger_node.operator.pulls import Hear, Pull, Pulls


class Node:
    """The parts of a daemon that the routes use."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.serving = SimpleNamespace(base=find_base(home, "tiny-a"), is_draining=False)
        self.pulls = Pulls("base", _fetch_nothing)
        self.starts = 0
        self.is_stopped = False
        operator: Any = SimpleNamespace(
            limits=SimpleNamespace(held_on_card_bytes=lambda: 0), parts=SimpleNamespace(serving=self.serving)
        )
        config = Config(inference=InferenceConfig(base="tiny-a"))
        self.app = FastAPI()
        add_bases(self.app, home, operator, self.pulls, config_now=lambda: config, start_again=self.start_again)

    def start_again(self) -> None:
        if self.is_stopped:
            raise ConfigError("the node is stopping: its next start serves the base")
        self.starts += 1

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            found: dict[str, Any] = (await client.post(path, json=body)).raise_for_status().json()
            return found


async def _fetch_nothing(pull: Pull, hear: Hear) -> None:
    """A pull that never ends, since nothing runs it."""


@pytest.fixture
def daemon(home: Home, monkeypatch: pytest.MonkeyPatch) -> Node:
    for seed, name in enumerate(("tiny-a", "tiny-b")):
        describe_folder(make_base(home.models / name, seed=seed))
    home.config_file.write_text('[inference]\nbase = "tiny-a"\n')
    monkeypatch.delenv("OPENLEDGER_INFERENCE_BASE", raising=False)
    return Node(home)


def written(daemon: Node) -> str:
    return daemon.home.config_file.read_text()


async def test_a_change_is_written_and_the_node_starts_again(daemon: Node) -> None:
    assert await daemon.post("/models/use", base="tiny-b") == {"from": "tiny-a", "to": "tiny-b"}
    assert ('base = "tiny-b"' in written(daemon), daemon.starts) == (True, 1)
    for named in ("tiny-a", "tiny-b"):  # one is served, the next start serves the other
        with pytest.raises(ConfigError, match=f"{named} is in use: serve another base first"):
            await daemon.post("/models/remove", base=named)
        assert find_base(daemon.home, named).name == named


@pytest.mark.parametrize("why", ["a pull runs", "it drains", "a variable overrides it", "node.toml can't be changed"])
async def test_a_refused_change_changes_nothing(daemon: Node, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    before = written(daemon)
    if why == "a pull runs":
        daemon.pulls.order("acme/tiny")
    daemon.serving.is_draining = why == "it drains"
    if why == "a variable overrides it":
        monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "tiny-a")
    if why == "node.toml can't be changed":
        daemon.home.config_file.write_text(before := "[inference\n")
    with pytest.raises(ConfigError):
        await daemon.post("/models/use", base="tiny-b")
    assert (written(daemon), daemon.starts) == (before, 0)


async def test_a_stop_that_comes_first_is_said_and_the_next_start_serves_the_base(daemon: Node) -> None:
    daemon.is_stopped = True
    with pytest.raises(ConfigError, match="its next start serves the base"):
        await daemon.post("/models/use", base="tiny-b")
    assert 'base = "tiny-b"' in written(daemon)
