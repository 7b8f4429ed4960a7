"""Correctness: our logits and tokens against PEFT's in float32, alone and in a batch, and the loss by bfloat16.

PEFT reports the log probability of every token, ours only of the likeliest. They are compared where ours has one.
"""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drive import run_batch
from numpy.typing import NDArray
from ours import open_backend, source_of
from peft import PeftModel
from turns import take_turns

from openledger_node.engine.backend import Backend, Drawn
from openledger_node.models.causal_lm import open_causal_lm
from openledger_protocol.constants import LOGPROBS_MAX


def reference(base: str, prompts: list[list[int]], adapters: list[str], answer_tokens: int) -> list[Any]:
    """PEFT's answers in float32: each row's tokens, and the log probabilities of each step's whole vocabulary."""
    model: Any = open_causal_lm(Path(base), torch.float32)
    names = {folder: f"a{number}" for number, folder in enumerate(dict.fromkeys(adapters))}
    for folder, name in names.items():
        if isinstance(model, PeftModel):
            model.load_adapter(folder, adapter_name=name)
        else:
            model = PeftModel.from_pretrained(model, folder, adapter_name=name)
    model.eval()
    answers = []
    for prompt, folder in zip(prompts, adapters, strict=True):
        model.set_adapter(names[folder])
        answers.append(answer_alone(model, prompt, answer_tokens))
    return answers


@torch.inference_mode()
def answer_alone(model: Any, prompt: list[int], answer_tokens: int) -> tuple[list[int], NDArray[np.float64]]:
    ids = torch.tensor([prompt])
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=answer_tokens,
        min_new_tokens=answer_tokens,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
        output_logits=True,
        return_dict_in_generate=True,
    )
    chances = torch.log_softmax(torch.cat(output.logits).double(), dim=-1)
    return output.sequences[0, len(prompt) :].tolist(), chances.numpy()


def errors(theirs: list[Any], ours: list[list[Drawn]]) -> list[float]:
    """Difference of our log probabilities from PEFT's, as long as both have produced the same tokens."""
    found = []
    for (tokens, chances), drawn in zip(theirs, ours, strict=True):
        for step, one in enumerate(drawn):
            found += [abs(logprob - float(chances[step, id])) for id, logprob in one.top]
            if one.token != tokens[step]:
                break
    return found


def identical(theirs: list[list[int]], ours: list[list[int]]) -> float:
    """The share of equal tokens."""
    same = [a == b for one, other in zip(theirs, ours, strict=True) for a, b in zip(one, other, strict=True)]
    return sum(same) / len(same)


def answer_with(backend: Backend, words: dict[str, Any]) -> tuple[list[list[Drawn]], list[list[Drawn]]]:
    """Answer every row in one batch, and each of the first rows alone."""
    sources = [source_of(folder) for folder in words["adapters"]]
    for source in set(sources):
        backend.load_adapter(source.id, backend.read_adapter(source))
    prompts, count = words["prompts"], words["answer_tokens"]
    together = run_batch(backend, prompts, sources, count, logprobs=LOGPROBS_MAX).drawn
    alone = [
        run_batch(backend, [prompts[row]], [sources[row]], count, logprobs=LOGPROBS_MAX).drawn[0]
        for row in range(words["alone"])
    ]
    return together, alone


def tokens_of(answers: list[list[Drawn]]) -> list[list[int]]:
    return [[one.token for one in answer] for answer in answers]


def compare(words: dict[str, Any]) -> dict[str, Any]:
    theirs = reference(words["base"], words["prompts"], words["adapters"], words["answer_tokens"])
    gc.collect()
    found: dict[str, Any] = {}
    cases = {"float32": ("float32", "off"), "torch": ("bfloat16", "off"), "accelerated": ("bfloat16", "auto")}
    for name, (dtype, acceleration) in cases.items():
        backend = open_backend(words, dtype=dtype, acceleration=acceleration)
        together, alone = answer_with(backend, words)
        off = errors(theirs, together)
        found[name] = {
            "kernel": backend.profile.kernel,
            "error_max": max(off),
            "error_mean": sum(off) / len(off),
            "tokens_as_peft": identical([tokens for tokens, _ in theirs], tokens_of(together)),
            "tokens_alone": identical(tokens_of(alone), tokens_of(together[: len(alone)])),
            "is_bitwise": alone == together[: len(alone)],
        }
        del backend
        gc.collect()
    return found


def open_player(words: dict[str, Any]) -> Any:
    torch.set_num_threads(words["threads"])
    return {"versions": {}}, {"compare": lambda **asked: compare({**words, **asked})}


if __name__ == "__main__":
    take_turns(open_player)
