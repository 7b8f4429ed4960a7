# /// script
# requires-python = ">=3.11"
# dependencies = ["lm-eval[api]==0.4.13"]
# ///
"""lm-evaluation-harness with its API models."""

import os

from driver import BASE_URL, KEY, MODEL, main
from lm_eval.api.instance import Instance
from lm_eval.models.api_models import JsonChatStr
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI

os.environ["OPENAI_API_KEY"] = KEY
settings = {"model": MODEL, "num_concurrent": 1, "max_retries": 1, "tokenizer_backend": None}


def chat():
    model = LocalChatCompletion(base_url=f"{BASE_URL}/chat/completions", **settings)
    turns = JsonChatStr('[{"role": "user", "content": "Name a colour."}]')
    request = Instance("generate_until", {}, (turns, {"until": ["."], "max_gen_toks": 8}), 0)
    assert len(model.generate_until([request], disable_tqdm=True)) == 1


def completion():
    model = LocalCompletionsAPI(base_url=f"{BASE_URL}/completions", tokenized_requests=False, **settings)
    request = Instance("generate_until", {}, ("One, two,", {"until": ["\n"], "max_gen_toks": 8}), 0)
    assert len(model.generate_until([request], disable_tqdm=True)) == 1


if __name__ == "__main__":
    main(globals())
