"""Our backend in a process of its own: throughput, cold loads, and the limit of memory bandwidth."""

import time
from typing import Any

from bandwidth import multiply_rate, read_bandwidth
from cold_files import files_below, forget
from drive import run_batch
from turns import take_turns

from openledger_node.engine.backend import BLOCK_TOKENS, Backend, BackendSettings, HostAdapter
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.plugs import load_plug
from openledger_protocol.primitives import AdapterId


def open_backend(words: dict[str, Any], **changes: Any) -> Backend:
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
        **changes,
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
        self._cache_folder = words.get("cache_folder")
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

    def cold(self, folder: str) -> dict[str, Any]:
        """Load one adapter whose files are not in the page cache, and unload it again."""
        forget(files_below(folder, self._cache_folder))
        began_s = time.perf_counter()
        adapter = self._bring(folder)
        wall_s = time.perf_counter() - began_s
        self.backend.unload_adapter(source_of(folder).id)
        return {"wall_s": wall_s, "bytes": adapter.size_bytes}

    def floor(self, adapters: list[str | None], context: int) -> dict[str, Any]:
        """The bytes and multiplications of a decode step, and the machine's current speed of both."""
        profile = self.backend.profile
        lora = sum(self._loaded[folder].size_bytes for folder in {one for one in adapters if one})
        cached = len(adapters) * context * profile.block_bytes // BLOCK_TOKENS
        total = profile.base_bytes + lora + cached
        rate, why = read_bandwidth(self._cache_folder, profile.threads, total)
        # Each weight is multiplied once for each row that uses it: one multiplication and one addition.
        operations = len(adapters) * profile.base_bytes + sum(self._loaded[one].size_bytes for one in adapters if one)
        speed = multiply_rate(self._cache_folder, profile.threads)
        return {
            "bytes": total,
            "bytes_a_second": rate,
            "why": why,
            "floor_s": total / rate if rate else None,
            "operations": operations,
            "operations_a_second": speed,
            "multiply_s": operations / speed if speed else None,
        }

    def _bring(self, folder: str) -> HostAdapter:
        source = source_of(folder)
        adapter = self.backend.read_adapter(source)
        self.backend.load_adapter(source.id, adapter)
        return adapter


def open_player(words: dict[str, Any]) -> Any:
    player = Player(words)
    profile = player.backend.profile
    about = {"kernel": profile.kernel, "dtype": profile.dtype, "threads": profile.threads, "open_s": player.open_s}
    return about, {"load": player.load, "run": player.run, "cold": player.cold, "floor": player.floor}


if __name__ == "__main__":
    take_turns(open_player)
