"""Our backend in a process of its own."""

import time
from typing import Any

from drive import run_batch
from turns import take_turns

from openledger_node.engine.backend import Backend, BackendSettings, HostAdapter
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.plugs import load_plug
from openledger_protocol.primitives import AdapterId


def open_backend(words: dict[str, Any]) -> Backend:
    """Open the node's own plug as the engine does."""
    settings: dict[str, Any] = {
        "base_folder": words["base"],
        "device": "cpu",
        "dtype": words["dtype"],
        "threads": words["threads"],
        "batch_max": words["batch"],
        "context_max": words["context"],
        "acceleration": words.get("acceleration", "auto"),
        "cache_folder": words.get("cache_folder"),
    }
    backend: Backend = load_plug("backend", "torch_lora")(BackendSettings(**settings))
    return backend


def source_of(folder: str) -> AdapterSource:
    return AdapterSource(id=AdapterId(folder), folder=folder)


class Player:
    """One open backend."""

    def __init__(self, words: dict[str, Any]) -> None:
        began_s = time.perf_counter()
        self.backend = open_backend(words)
        self.open_s = time.perf_counter() - began_s
        self._loaded: dict[str, HostAdapter] = {}

    def load(self, folders: list[str]) -> dict[str, Any]:
        """Load adapters before anything is timed."""
        began_s = time.perf_counter()
        for folder in folders:
            if folder not in self._loaded:
                self._loaded[folder] = self._bring(folder)
        return {"wall_s": time.perf_counter() - began_s}

    def run(self, prompts: list[list[int]], adapters: list[str | None], answer_tokens: int) -> dict[str, Any]:
        """Answer a batch."""
        sources = [source_of(folder) if folder else None for folder in adapters]
        run = run_batch(self.backend, prompts, sources, answer_tokens)
        return {"wall_s": run.wall_s, "first_s": run.first_s, "steps_s": run.steps_s, "tokens": run.tokens}

    def _bring(self, folder: str) -> HostAdapter:
        source = source_of(folder)
        adapter = self.backend.read_adapter(source)
        self.backend.load_adapter(source.id, adapter)
        return adapter


def open_player(words: dict[str, Any]) -> Any:
    player = Player(words)
    profile = player.backend.profile
    about = {"kernel": profile.kernel, "dtype": profile.dtype, "threads": profile.threads, "open_s": player.open_s}
    return about, {"load": player.load, "run": player.run}


if __name__ == "__main__":
    take_turns(open_player)
