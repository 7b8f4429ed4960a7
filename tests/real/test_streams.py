"""Many readers, many adapters, one batch: each answer is the one that PEFT gives alone."""

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from peft import PeftModel
from support.processes.nodes import Node, running_node
from support.tiers import depth
from support.tiny import greedy, make_adapter

from openledger_node.engine.tokenizer import Tokenizer, open_tokenizer
from openledger_node.home import Home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import find_base
from openledger_node.models.causal_lm import open_causal_lm
from openledger_protocol.constants import DEMO_BASE_NAME
from openledger_protocol.inference import Message

pytestmark = [pytest.mark.model, pytest.mark.process]

NUM_STREAMS = 16
NUM_TOKENS = depth(light=12, deep=24)
END_ID = 2
ADAPTERS: dict[str, dict[str, Any]] = {
    "rank4": {"r": 4},
    "rank16": {"r": 16, "use_rslora": True},
    "attention": {"r": 8, "target_modules": ["q_proj", "v_proj"]},
    "top": {"r": 8, "layers_to_transform": list(range(20, 30)), "layers_pattern": "layers"},
}
MODELS = [DEMO_BASE_NAME, *ADAPTERS]
TOPICS = ["the sea", "bread", "a clock", "snow", "a violin", "salt", "a map", "rain"]


@pytest.fixture(scope="module")
def adapter_folders(demo_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {
        name: make_adapter(demo_base, root / name, seed=seed, scale=0.2, **settings)
        for seed, (name, settings) in enumerate(ADAPTERS.items())
    }


@pytest.fixture(scope="module")
def node(real_home: Home, adapter_folders: dict[str, Path]) -> Iterator[Node]:
    base = find_base(real_home, DEMO_BASE_NAME)
    for name, folder in adapter_folders.items():
        add_adapter(real_home, folder, base, name=name)
    with running_node(real_home, "--dtype", "float32") as running:
        yield running


@pytest.fixture(scope="module")
def client(node: Node) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=node.key, max_retries=0, timeout=120) as opened:
        yield opened


def question(number: int) -> str:
    return f"Question {number}: tell me something about {TOPICS[number % len(TOPICS)]}."


def ask(client: openai.OpenAI, number: int) -> str:
    events = client.chat.completions.create(
        model=MODELS[number % len(MODELS)],
        messages=[{"role": "user", "content": question(number)}],
        max_tokens=NUM_TOKENS,
        temperature=0,
        stream=True,
    )
    return "".join(event.choices[0].delta.content or "" for event in events)


def test_sixteen_streams_over_four_adapters_and_the_base_equal_peft_alone(
    client: openai.OpenAI, demo_base: Path, adapter_folders: dict[str, Path]
) -> None:
    with ThreadPoolExecutor(NUM_STREAMS) as pool:
        together = list(pool.map(lambda number: ask(client, number), range(NUM_STREAMS)))
    assert len(set(together)) > NUM_STREAMS - 3  # adapters are heard, too
    model, tokenizer = open_peft(demo_base, adapter_folders), open_tokenizer(demo_base)
    assert [number for number, text in enumerate(together) if not says_the_same(model, tokenizer, number, text)] == []


def test_a_killed_engine_resumes_a_real_answer_where_it_was(client: openai.OpenAI, node: Node) -> None:
    asked: Any = {
        "model": "rank16",
        "messages": [{"role": "user", "content": question(1)}],
        "max_tokens": 40,
        "temperature": 0.9,
        "seed": 11,
        "stream": True,
    }
    undisturbed = [event.choices[0].delta.content or "" for event in client.chat.completions.create(**asked)]
    engine: int = node.status()["engine"]["process_id"]  # known beforehand, so that the kill comes in the middle
    seen: list[str] = []
    for event in client.chat.completions.create(**asked):
        seen.append(event.choices[0].delta.content or "")
        if len(seen) == 10:
            os.kill(engine, signal.SIGKILL)
    assert "".join(seen) == "".join(undisturbed)
    assert node.status()["engine"]["restarts"] == 1


def open_peft(demo_base: Path, adapter_folders: dict[str, Path]) -> Any:
    """Transformers' model with all adapters in PEFT."""
    base = open_causal_lm(demo_base, torch.float32)
    first, *others = adapter_folders
    model = PeftModel.from_pretrained(base, adapter_folders[first], adapter_name=first)
    for name in others:
        model.load_adapter(adapter_folders[name], adapter_name=name)
    return model


def says_the_same(model: Any, tokenizer: Tokenizer, number: int, answer: str) -> bool:
    """Whether PEFT, alone and greedy, gives `answer`: each of its tokens is the likeliest after those before it.

    One pass over the whole text settles that, unless its canonical tokens are not the generated ones; then PEFT
    generates it anew.
    """
    name = MODELS[number % len(MODELS)]
    prompt_ids = tokenizer.render((Message(role="user", content=question(number)),))
    answer_ids = tokenizer.encode(answer)
    with model.disable_adapter() if name == DEMO_BASE_NAME else contextlib.nullcontext(model.set_adapter(name)):
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt_ids, *answer_ids]])).logits[0, len(prompt_ids) - 1 :]
        likeliest = logits.argmax(dim=1).tolist()
        if likeliest[:-1] == list(answer_ids):
            return len(answer_ids) == NUM_TOKENS or likeliest[-1] == END_ID
        generated = greedy(model, prompt_ids, NUM_TOKENS)
    delivered = generated[: generated.index(END_ID)] if END_ID in generated else generated
    decoder = tokenizer.decoder()
    return "".join(decoder.push(token) for token in delivered) == answer
