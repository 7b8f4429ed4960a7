"""Our backend in a process of its own."""

from typing import Any

from drive import run_batch
from turns import take_turns

from openledger_node.engine.backend import Backend, BackendSettings
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
        self.backend = open_backend(words)
        self._loaded: set[str] = set()

    def load(self, folders: list[str]) -> dict[str, Any]:
        """Load adapters before anything is timed."""
        for source in map(source_of, folders):
            if source.folder not in self._loaded:
                self.backend.load_adapter(source.id, self.backend.read_adapter(source))
                self._loaded.add(source.folder)
        return {}

    def run(self, prompts: list[list[int]], adapters: list[str | None], answer_tokens: int) -> dict[str, Any]:
        """Answer a batch."""
        sources = [source_of(folder) if folder else None for folder in adapters]
        run = run_batch(self.backend, prompts, sources, answer_tokens)
        return {"wall_s": run.wall_s, "first_s": run.first_s, "tokens": run.tokens}


def open_player(words: dict[str, Any]) -> Any:
    player = Player(words)
    return {"kernel": player.backend.profile.kernel}, {"load": player.load, "run": player.run}


if __name__ == "__main__":
    take_turns(open_player)
