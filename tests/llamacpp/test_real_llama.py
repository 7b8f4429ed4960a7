"""The llamacpp plug over llama.cpp's own server: `make test-llamacpp` runs these, and nothing else does."""

import os
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import trio
from gguf import GGMLQuantizationType
from peft import PeftModel
from support import gguf_models
from support.llama_programs import LLAMA_VARIABLE
from support.local_engine import engine_options
from support.tiny import END_ID, greedy, make_adapter, make_base
from support.tiny_gguf import make_gguf_base
from transformers import AutoModelForCausalLM

from openledger_node.backends.llamacpp import open_backend
from openledger_node.backends.llamacpp.backend import LlamaBackend
from openledger_node.engine.backend import BackendSettings, BatchRow, Draw, Drawn
from openledger_node.engine.engine import Engine, Submit
from openledger_node.engine.frames import EngineChunk
from openledger_node.errors import ModelError
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

GREEDY = SamplingParams(max_tokens=60, seed=1, temperature=0)
PROMPT = tuple(range(5, 45))
LONG = 100
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 32},
    "qwen2": {"hidden_size": 128, "head_dim": 32},
    "qwen3": {"head_dim": 32},
    "phi3": {"hidden_size": 128, "head_dim": 32, "sliding_window": 200, "pad_token_id": 0},
    "gemma2": {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 64},
    "gemma3_text": {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 64},
}
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True, "r": 3},
    "patterns": {"rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6}, "alpha_pattern": {"v_proj": 1}},
    "top layer only": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "two modules": {"target_modules": ["k_proj", "up_proj"]},
}


def settings_of(folder: Path, **changes: Any) -> BackendSettings:
    settings = BackendSettings(
        base_folder=str(folder),
        device="cpu",
        dtype="float32",
        threads=1,
        batch_max=8,
        context_max=256,
        server_command=os.environ[LLAMA_VARIABLE],
    )
    return replace(settings, **changes)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real")
    make_gguf_base(make_base(root / "hf", head_dim=32), root / "gguf")
    return root


@pytest.fixture(scope="module")
def backend(tiny: Path) -> Iterator[LlamaBackend]:
    """A server that the plug starts by itself."""
    backend = open_backend(settings_of(tiny / "gguf"))
    yield backend
    backend.close()


def source_of(folder: Path) -> AdapterSource:
    return AdapterSource(id=AdapterId(folder.name), folder=str(folder))


def load(backend: LlamaBackend, source: AdapterSource) -> AdapterId:
    backend.load_adapter(source.id, backend.read_adapter(source))
    return source.id


def row(ids: tuple[int, ...], position: int, sampling: SamplingParams, payer: str = "a") -> BatchRow:
    draw = Draw(sampling=sampling, position=position + len(ids))
    return BatchRow(sequence_id="s", token_ids=ids, position=position, draw=draw, payer=payer)


def decode(
    backend: LlamaBackend, count: int, *, adapter: AdapterId | None = None, sampling: SamplingParams = GREEDY
) -> list[Drawn]:
    backend.join("s", adapter)
    ids, position, drawn = PROMPT, 0, []
    for _ in range(count):
        drawn.append(backend.step((row(ids, position, sampling),))["s"])
        ids, position = (drawn[-1].token,), position + len(ids)
    backend.leave("s")
    return drawn


def tokens(drawn: list[Drawn]) -> list[int]:
    return [each.token for each in drawn]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_and_its_adapter_answer_as_in_peft(tmp_path: Path, family: str) -> None:
    base = make_base(tmp_path / "hf", model_type=family, **FAMILIES[family])
    targets = {"target_modules": FUSED} if family == "phi3" else {}
    folder = make_adapter(base, tmp_path / "one", seed=3, **targets)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    backend = open_backend(settings_of(make_gguf_base(base, tmp_path / "gguf")))
    try:
        adapter = load(backend, source_of(folder))
        assert tokens(decode(backend, 12)) == greedy(model, PROMPT, 12)
        wanted = greedy(PeftModel.from_pretrained(model, folder), PROMPT, 12)
        assert tokens(decode(backend, 12, adapter=adapter)) == wanted
    finally:
        backend.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_answers_as_in_peft(backend: LlamaBackend, tiny: Path, tmp_path: Path, kind: str) -> None:
    folder = make_adapter(tiny / "hf", tmp_path / kind.replace(" ", "-"), seed=3, **KINDS[kind])
    model = AutoModelForCausalLM.from_pretrained(tiny / "hf", dtype=torch.float32)
    adapter = load(backend, source_of(folder))
    wanted = greedy(PeftModel.from_pretrained(model, folder), PROMPT, 20)
    assert tokens(decode(backend, 20, adapter=adapter)) == wanted
    backend.unload_adapter(adapter)


def test_logprobs_are_the_models_own_softmax_whatever_the_temperature(backend: LlamaBackend, tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny / "hf", dtype=torch.float32)
    wanted = torch.log_softmax(model(torch.tensor([PROMPT])).logits[0, -1].detach(), dim=-1)
    (drawn,) = decode(backend, 1, sampling=replace(GREEDY, temperature=0.5, logprobs=3))
    assert drawn.logprob == pytest.approx(
        wanted[drawn.token].item(), abs=0.05
    )  # llama.cpp's attention rounds more than ours
    assert [token for token, _ in drawn.top] == wanted.topk(3).indices.tolist()


def test_a_repetition_penalty_is_ours(backend: LlamaBackend, tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny / "hf", dtype=torch.float32)
    logits = model(torch.tensor([PROMPT])).logits[0, -1].detach()
    seen = torch.tensor(sorted(set(PROMPT)))
    logits[seen] = torch.where(logits[seen] > 0, logits[seen] / 5, logits[seen] * 5)
    (drawn,) = decode(backend, 1, sampling=replace(GREEDY, repetition_penalty=5.0))
    assert drawn.token == int(logits.argmax())


def test_characters_of_several_tokens_lose_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes as tokens: most of what a random model writes is no whole character."""
    letters = gguf_models.TOKENS[:1] + [chr(number) for number in range(0xC0, 0x100)] + gguf_models.TOKENS[1:]
    monkeypatch.setattr(gguf_models, "TOKENS", letters)
    base = make_base(tmp_path / "hf", head_dim=32)
    backend = open_backend(settings_of(make_gguf_base(base, tmp_path / "gguf")))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    try:
        assert tokens(decode(backend, 40)) == greedy(model, PROMPT, 40)
    finally:
        backend.close()


def test_a_stranger_cannot_tell_by_the_time_what_another_asked(tmp_path: Path) -> None:
    """The attack: ask what another payer may have asked, and look how soon the first token comes."""
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "max_position_embeddings": 2048}
    folder = make_gguf_base(make_base(tmp_path / "hf", head_dim=32, **sizes), tmp_path / "gguf")
    backend = open_backend(settings_of(folder, context_max=2048, batch_max=1))

    def first_token_s(ids: tuple[int, ...], payer: str) -> float:
        backend.join("s", None)
        began_s = time.perf_counter()
        backend.step((row(ids, 0, replace(GREEDY, max_tokens=1), payer),))
        took_s = time.perf_counter() - began_s
        backend.leave("s")
        return took_s

    strange, own = [], []
    try:
        for seed in range(5):
            secret = tuple((seed * 7 + number * number) % 90 + 1 for number in range(1500))
            first_token_s(secret, "victim")
            own.append(first_token_s(secret, "victim"))
            strange.append(first_token_s(secret, "thief"))
    finally:
        backend.close()
    assert statistics.median(own) < statistics.median(strange) / 3, "the prompt is kept, and would tell"


def test_no_prompt_is_in_the_log(tiny: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    backend = open_backend(settings_of(tiny / "gguf"))
    secret = tuple(gguf_models.TOKENS.index(letter) for letter in "SECRETSECRET")
    backend.join("s", None)
    backend.step((row(secret, 0, GREEDY),))
    backend.leave("s")
    backend.close()
    log = capfdbinary.readouterr().err
    assert b"listening" in log
    assert b"SECRET" not in log
    assert str(list(secret))[1:-1].encode() not in log


def test_a_quantised_file_is_served_as_it_is(tmp_path: Path) -> None:
    base = make_base(tmp_path / "hf", head_dim=32, hidden_size=64, intermediate_size=96)
    how = {"type_of": lambda name: GGMLQuantizationType.Q4_1, "wide": tmp_path / "wide"}
    backend = open_backend(settings_of(make_gguf_base(base, tmp_path / "gguf", **how)))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "wide", dtype=torch.float32)
    try:
        assert tokens(decode(backend, 2)) == greedy(model, PROMPT, 2)  # llama.cpp rounds activations to 8 bits
    finally:
        backend.close()


def test_an_unknown_architecture_is_refused_in_llama_cpps_words(tmp_path: Path) -> None:
    folder = make_gguf_base(make_base(tmp_path / "hf", head_dim=32), tmp_path / "gguf")
    content = (folder / "model.gguf").read_bytes().replace(b"llama", b"lhama")
    (folder / "model.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"ended while it started: .*unknown model architecture: 'lhama'"):
        open_backend(settings_of(folder))


def test_pause_gives_the_memory_back_within_two_seconds_in_the_middle_of_an_answer(tiny: Path) -> None:
    backend = open_backend(settings_of(tiny / "gguf"))
    backend.join("s", None)
    backend.step((row(PROMPT, 0, replace(GREEDY, max_tokens=200)),))
    began_s = time.monotonic()
    backend.close()
    assert time.monotonic() - began_s < 2


async def test_an_answer_is_the_same_after_llama_server_was_killed(tiny: Path, tmp_path: Path) -> None:
    options = engine_options(backend="llamacpp", settings=settings_of(tiny / "gguf"))
    engine = Engine(options)
    model = AutoModelForCausalLM.from_pretrained(tiny / "hf", dtype=torch.float32)
    endless = next((first,) for first in range(1, 200) if END_ID not in greedy(model, (first,), LONG))
    order = Submit(sequence_id="a", prompt_ids=endless, sampling=replace(GREEDY, max_tokens=LONG), adapter=None)
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            undisturbed = [outcome.ids async for outcome in engine.submit(order) if isinstance(outcome, EngineChunk)]
            for process_id in processes_below(engine.process_id):
                os.kill(process_id, signal.SIGKILL)
            outcomes = engine.submit(replace(order, sequence_id="b"))
            after = [outcome.ids async for outcome in outcomes if isinstance(outcome, EngineChunk)]
            nursery.cancel_scope.cancel()
    assert engine.num_restarts == 1
    assert [token for ids in after for token in ids] == [token for ids in undisturbed for token in ids]


def processes_below(process_id: int | None) -> list[int]:
    """The watch over the server, and the server."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], stdout=subprocess.PIPE, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    below = [child for child, parent in pairs if parent == process_id]
    return [each for child in below for each in (child, *processes_below(child))]


@pytest.mark.parametrize(("flags", "is_refused"), [(("--cache-ram", "0"), False), ((), True)])
def test_a_server_that_searches_all_payers_prompts_is_not_attached_to(
    tiny: Path, flags: tuple[str, ...], is_refused: bool
) -> None:
    model = ["--model", str(tiny / "gguf" / "model.gguf"), "--ctx-size", "512", "--parallel", "2", "--kv-unified"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [os.environ[LLAMA_VARIABLE], *model, "--host", "127.0.0.1", "--port", str(port), *flags]
    with subprocess.Popen(words) as process:
        try:
            settings = settings_of(tiny / "gguf", server_url=f"http://127.0.0.1:{port}")
            if is_refused:
                with pytest.raises(ModelError, match="--cache-ram 0"):
                    open_backend(settings)
            else:
                open_backend(settings).close()
        finally:
            process.kill()
