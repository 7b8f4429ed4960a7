"""One graphics card serves many adapters, and an OpenAI client talks to them."""

import json
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
import trio
from peft import PeftModel
from support.apis import Api, open_api
from support.batches import generate
from support.local_engine import LocalEngine
from support.tiny import greedy, make_adapter, make_base
from support.torch_bases import PROMPT, load, open_backend
from transformers import AutoModelForCausalLM

from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.market.router import Router
from openledger_node.models.bases import FAKE_BASE
from openledger_node.serving.service import Serving
from openledger_protocol.primitives import AdapterId

TOKENS = 8


def test_one_batch_mixes_adapters_and_each_answers_as_peft_would(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    backend = open_backend(base)
    wanted = {"base": greedy(AutoModelForCausalLM.from_pretrained(base), PROMPT, TOKENS)}
    for seed, name in enumerate(("lake", "forest", "harbour")):
        folder = make_adapter(base, tmp_path / name, seed=seed)
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
        wanted[name] = greedy(model, PROMPT, TOKENS)
        load(backend, folder, AdapterId(name))
    orders = {name: (PROMPT, None if name == "base" else AdapterId(name)) for name in wanted}
    assert generate(backend, orders, count=TOKENS) == wanted
    assert len(set(map(tuple, wanted.values()))) == len(wanted)  # no adapter answers as another does


@pytest.fixture
async def api(home: Home) -> AsyncIterator[Api]:
    """A node's API with the engine behind it, on no network."""
    engine, clock = LocalEngine(), count(1_800_000_000 * 10**9, 10**6)
    with closing(open_ledger(home.root / "ledger.db")) as ledger:
        serving = Serving(
            home=home,
            base=FAKE_BASE,
            engine=engine,  # type: ignore[arg-type]  # the local one answers as the real one does
            tokenizer=ByteTokenizer(),
            ledger=ledger,
            queue_max=4,
            now_ns=lambda: next(clock),
        )
        router = Router(serving, ledger, lambda: None, is_serving=True)
        async with trio.open_nursery() as nursery, open_api(door=router) as opened:
            await nursery.start(engine.run)
            yield opened
            nursery.cancel_scope.cancel()


async def test_a_chat_is_answered_whole_or_in_pieces_with_the_same_words(api: Api) -> None:
    chat = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 12, "seed": 7}
    async with api.client() as client:
        whole = (await client.post("/v1/chat/completions", headers=api.key, json=chat)).json()
        streamed = await client.post("/v1/chat/completions", headers=api.key, json={**chat, "stream": True})
    text = whole["choices"][0]["message"]["content"]
    assert whole["usage"]["completion_tokens"] == len(text.encode()) == 12
    lines = [line for line in streamed.text.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    pieces = [json.loads(line.removeprefix("data: "))["choices"] for line in lines[:-1]]
    assert "".join(choices[0]["delta"].get("content") or "" for choices in pieces if choices) == text
