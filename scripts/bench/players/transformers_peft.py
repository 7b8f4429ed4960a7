"""The common alternatives: transformers' batched generate, and PEFT's mixed batch (`adapter_names`)."""

import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft import __version__ as peft_version
from transformers import LogitsProcessor, LogitsProcessorList
from transformers import __version__ as transformers_version
from turns import take_turns

from openledger_node.models.causal_lm import open_causal_lm

BASE_ROW = "__base__"


class Clock(LogitsProcessor):
    """Records the time of the first step's logits, and changes nothing."""

    first_s = 0.0

    def __call__(self, _: Any, scores: torch.Tensor) -> torch.Tensor:
        """Pass the logits on."""
        self.first_s = self.first_s or time.perf_counter()
        return scores


class Player:
    """One model, and the adapters loaded so far."""

    def __init__(self, base: str, dtype: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model: Any = open_causal_lm(Path(base), getattr(torch, dtype)).eval()
        self._names: dict[str, str] = {}  # folder → PEFT's name

    def load(self, folders: list[str]) -> dict[str, Any]:
        """Load adapters before anything is timed."""
        for folder in folders:
            if folder not in self._names:
                self._add(folder)
        return {}

    def run(self, prompts: list[list[int]], adapters: list[str | None], answer_tokens: int) -> dict[str, Any]:
        """Answer a batch."""
        ids, clock = torch.tensor(prompts), Clock()
        mixed = {"adapter_names": [self._names[one] if one else BASE_ROW for one in adapters]} if self._names else {}
        began_s = time.perf_counter()
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=answer_tokens,
                min_new_tokens=answer_tokens,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=None,
                logits_processor=LogitsProcessorList([clock]),
                **mixed,
            )
        wall_s = time.perf_counter() - began_s
        first_s = [clock.first_s - began_s] * len(prompts)
        return {"wall_s": wall_s, "first_s": first_s, "tokens": output[:, ids.shape[1] :].numel()}

    def _add(self, folder: str) -> None:
        name = f"a{len(self._names)}"
        if self._names:
            self._model.load_adapter(folder, adapter_name=name, autocast_adapter_dtype=False)
        else:
            self._model = PeftModel.from_pretrained(
                self._model, folder, adapter_name=name, autocast_adapter_dtype=False
            ).eval()
        self._names[folder] = name


def open_player(words: dict[str, Any]) -> Any:
    player = Player(words["base"], words["dtype"], words["threads"])
    versions = {"torch": torch.__version__, "transformers": transformers_version, "peft": peft_version}
    return {"versions": versions}, {"load": player.load, "run": player.run}


if __name__ == "__main__":
    take_turns(open_player)
