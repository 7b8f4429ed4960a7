"""The vllm plug over vLLM itself, on a tiny base in float32: `make test-vllm` runs these, and nothing else does."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import trio
from peft import PeftModel
from support.local_engine import engine_options
from support.processes.nodes import wait_for
from support.real_vllm import ARGUMENTS, VLLM_VARIABLE, tiny_settings
from support.tiny import END_ID, greedy, make_adapter, make_base
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from openledger_node.backends.vllm import open_backend
from openledger_node.backends.vllm.backend import VllmBackend
from openledger_node.engine.backend import BatchRow, Draw
from openledger_node.engine.engine import Engine, Submit
from openledger_node.engine.frames import EngineChunk
from openledger_node.engine.grammar import open_grammars
from openledger_node.errors import ModelError
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

GREEDY = SamplingParams(max_tokens=100, seed=1, temperature=0)
PROMPT = tuple(range(5, 45))
ADAPTER = AdapterId("0xaa")
SERVER_TIMEOUT_S = 400.0

LONG = 512
"""Tokens that take vLLM seconds: those that it wrote ahead before it died are read all the same."""

ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True, "r": 3},
    "patterns": {"rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6}, "alpha_pattern": {"v_proj": 1}},
    "top layer only": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "two modules": {"target_modules": ["k_proj", "up_proj"]},
    "rank 64": {"r": 64, "lora_alpha": 64},
}


def command() -> str:
    return " ".join([os.environ[VLLM_VARIABLE], *ARGUMENTS])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("real") / "base", head_dim=32, max_position_embeddings=LONG)


@pytest.fixture(scope="module")
def backend(base: Path) -> Iterator[VllmBackend]:
    """A server that the plug starts by itself."""
    backend = open_backend(replace(tiny_settings(base), server_command=command()))
    yield backend
    backend.close()


def run(backend: VllmBackend, name: str, ids: tuple[int, ...], position: int, sampling: SamplingParams) -> Any:
    draw = Draw(sampling=sampling, position=position + len(ids))
    return backend.step((BatchRow(sequence_id=name, token_ids=ids, position=position, draw=draw),)).get(name)


def decode(
    backend: VllmBackend, count: int, *, adapter: AdapterId | None = None, sampling: SamplingParams = GREEDY
) -> list[int]:
    backend.join("s", adapter)
    ids, position, drawn = PROMPT, 0, []
    for _ in range(count):
        drawn.append(run(backend, "s", ids, position, sampling).token)
        ids, position = (drawn[-1],), position + len(ids)
    backend.leave("s")
    return drawn


def source_of(folder: Path) -> AdapterSource:
    return AdapterSource(id=ADAPTER, folder=str(folder))


def num_at_work(backend: VllmBackend) -> float:
    """Requests that vLLM says it has."""
    lines = backend._client.ask("GET", "/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_"))


@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_answers_as_in_peft(backend: VllmBackend, base: Path, tmp_path: Path, kind: str) -> None:
    folder = make_adapter(base, tmp_path / kind, seed=3, **ADAPTERS[kind])
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    backend.load_adapter(ADAPTER, backend.read_adapter(source_of(folder)))
    assert decode(backend, 20) == greedy(model, PROMPT, 20)
    assert decode(backend, 20, adapter=ADAPTER) == greedy(PeftModel.from_pretrained(model, folder), PROMPT, 20)
    backend.unload_adapter(ADAPTER)


def test_dora_is_refused_in_vllms_words(backend: VllmBackend, base: Path, tmp_path: Path) -> None:
    host = backend.read_adapter(source_of(make_adapter(base, tmp_path / "dora", seed=3, use_dora=True)))
    with pytest.raises(AdapterRefusedError, match="does not yet support DoRA"):
        backend.load_adapter(ADAPTER, host)


def test_too_high_a_rank_is_refused_in_vllms_words(backend: VllmBackend, base: Path, tmp_path: Path) -> None:
    host = backend.read_adapter(source_of(make_adapter(base, tmp_path / "rank", seed=3, r=65)))
    with pytest.raises(AdapterRefusedError, match="rank"):
        backend.load_adapter(ADAPTER, host)


def test_logprobs_are_the_models_own_softmax_whatever_the_temperature(backend: VllmBackend, base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    logprobs = torch.log_softmax(model(torch.tensor([PROMPT])).logits[0, -1].detach(), dim=-1)
    wanted = torch.topk(logprobs, 5)
    backend.join("s", None)
    sampling = replace(GREEDY, temperature=1.7, top_k=3, logprobs=5, frequency_penalty=1.0)
    drawn = run(backend, "s", PROMPT, 0, sampling)
    backend.leave("s")
    assert [token for token, _ in drawn.top] == wanted.indices.tolist()
    assert [logprob for _, logprob in drawn.top] == pytest.approx(wanted.values.tolist(), abs=1e-3)
    assert drawn.logprob == pytest.approx(float(logprobs[drawn.token]), abs=1e-3)


def test_an_answer_fits_its_schema_and_our_own_grammar_lets_every_token_of_it_pass(
    backend: VllmBackend, base: Path
) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"type": "array", "items": {"enum": [1, 22]}, "maxItems": 3}},
        "required": ["ok", "n"],
        "additionalProperties": False,
    }
    sampling = replace(GREEDY, json_schema=json.dumps(schema), temperature=1.0)
    grammar = open_grammars(base, 260).start(json.dumps(schema))
    backend.join("s", None)
    ids, position, drawn = PROMPT, 0, []
    while not drawn or drawn[-1] != END_ID:
        allowed = grammar.allowed()
        drawn.append(run(backend, "s", ids, position, sampling).token)
        assert allowed is not None
        assert int(allowed[drawn[-1] // 32]) >> drawn[-1] % 32 & 1
        grammar.push(drawn[-1])
        ids, position = (drawn[-1],), position + len(ids)
    backend.leave("s")
    answer = Tokenizer.from_file(str(base / "tokenizer.json")).decode(drawn[:-1])
    assert set(json.loads(answer)) == {"ok", "n"}


def test_who_leaves_stops_vllm(backend: VllmBackend) -> None:
    backend.join("s", None)
    run(backend, "s", (5,), 0, replace(GREEDY, max_tokens=120))
    backend.leave("s")
    wait_for(lambda: num_at_work(backend) == 0)


def test_a_sequence_goes_on_behind_tokens_that_vllm_did_not_draw(backend: VllmBackend) -> None:
    whole = decode(backend, 12)
    backend.join("s", None)
    assert run(backend, "s", (*PROMPT, *whole[:6]), 0, GREEDY).token == whole[6]
    backend.leave("s")


async def test_answers_go_on_as_they_would_have_when_vllm_is_killed(base: Path, tmp_path: Path) -> None:
    options = engine_options(
        backend="vllm",
        settings=replace(tiny_settings(base), server_command=command(), context_max=LONG),
        stall_timeout_s=300.0,
    )
    engine = Engine(options)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    endless = next((first,) for first in range(1, 200) if END_ID not in greedy(model, (first,), LONG - 1))
    order = Submit(sequence_id="a", prompt_ids=endless, sampling=replace(GREEDY, max_tokens=LONG - 1), adapter=None)
    with trio.fail_after(SERVER_TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            undisturbed = [outcome.ids async for outcome in engine.submit(order) if isinstance(outcome, EngineChunk)]
            outcomes = engine.submit(replace(order, sequence_id="b"))
            drawn = []
            async for outcome in outcomes:
                if isinstance(outcome, EngineChunk):
                    drawn.append(outcome.ids)
                if len(drawn) == 3 and engine.num_restarts == 0:
                    for process_id in processes_below(engine.process_id):
                        os.kill(process_id, signal.SIGKILL)
            nursery.cancel_scope.cancel()
    assert len(undisturbed) == LONG - 1
    assert drawn == undisturbed
    assert engine.num_restarts == 1


def processes_below(process_id: int | None) -> list[int]:
    """The keeper, the server, and its own."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], stdout=subprocess.PIPE, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    below = [process_id]
    for parent in below:
        below += [child for child, its_parent in pairs if its_parent == parent]
    return [each for each in below[1:] if each is not None]


def test_a_base_that_vllm_does_not_serve_is_a_model_error_in_its_words(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    config = json.loads((base / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "unheard-of", "architectures": ["Odd"]}))
    with pytest.raises(ModelError, match=r"ended while it started: .*unheard-of"):
        open_backend(replace(tiny_settings(folder), server_command=command()))
