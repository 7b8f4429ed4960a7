"""vLLM, by its offline API. It may run in another environment, so it imports none of the node's packages."""

import os
import time
from typing import Any

from turns import take_turns

KV_CACHE_GIB = "2"


class Player:
    """One model with room for `adapters_max` adapters in a batch."""

    def __init__(self, words: dict[str, Any]) -> None:
        from vllm import LLM  # the variables below are read when it is imported

        self._llm = LLM(
            model=words["base"],
            dtype=words["dtype"],
            max_model_len=words["context"],
            max_num_seqs=words["batch"],
            enable_lora=True,
            max_loras=words["adapters_max"],
            max_cpu_loras=words["adapters_max"],
            max_lora_rank=words["rank_max"],
            enable_prefix_caching=False,
            seed=0,
        )
        self._numbers: dict[str, int] = {}  # folder → vLLM's id, from 1

    def load(self, folders: list[str]) -> dict[str, Any]:
        """Load adapters, as a first request for each would."""
        for folder in folders:
            self._llm.llm_engine.add_lora(self._request(folder))
        return {}

    def run(self, prompts: list[list[int]], adapters: list[str | None], answer_tokens: int) -> dict[str, Any]:
        """Answer a batch."""
        from vllm import SamplingParams

        count = answer_tokens
        sampling = SamplingParams(
            temperature=0, max_tokens=count, min_tokens=count, ignore_eos=True, detokenize=False
        )
        asked = [{"prompt_token_ids": ids} for ids in prompts]
        loras = [self._request(folder) if folder else None for folder in adapters]
        began_s = time.perf_counter()
        outputs = self._llm.generate(asked, sampling, lora_request=loras if any(adapters) else None, use_tqdm=False)
        wall_s = time.perf_counter() - began_s
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        return {"wall_s": wall_s, "first_s": [], "tokens": tokens}

    def _request(self, folder: str) -> Any:
        from vllm.lora.request import LoRARequest

        number = self._numbers.setdefault(folder, len(self._numbers) + 1)
        return LoRARequest(lora_name=f"a{number}", lora_int_id=number, lora_path=folder)


def open_player(words: dict[str, Any]) -> Any:
    os.environ.update(
        VLLM_CPU_KVCACHE_SPACE=KV_CACHE_GIB,
        VLLM_CPU_OMP_THREADS_BIND=f"0-{words['threads'] - 1}",
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_NO_USAGE_STATS="1",
        HF_HUB_OFFLINE="1",
    )
    player = Player(words)
    from vllm import __version__

    return {"versions": {"vllm": __version__}}, {"load": player.load, "run": player.run}


if __name__ == "__main__":
    take_turns(open_player)
