"""The worker over the real backend: what blocks a text lies in, and whose they were, changes no token in float32."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from support.engine_events import events_in
from support.tiny import make_adapter, make_base
from support.torch_bases import cpu_settings

from openledger_node.engine import frames
from openledger_node.engine.backend import BLOCK_TOKENS, Backend, BackendSettings
from openledger_node.engine.frames import Beat, EngineChunk, Finished, OpenEngine, Submit
from openledger_node.engine.tokenizer import open_tokenizer
from openledger_node.engine.worker import Link, Worker
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.plugs import load_plug
from openledger_protocol.inference import Message, SamplingParams
from openledger_protocol.primitives import AdapterId

TOKENS_MAX = 40
COMMON = tuple(range(5, 45))


GEMMA = {"model_type": "gemma2", "sliding_window": 20, "query_pre_attn_scalar": 20, "final_logit_softcapping": 5.0}


@pytest.fixture(scope="module", params=[{}, GEMMA], ids=["llama", "gemma2"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    base = make_base(root / "base", **request.param)
    make_adapter(base, root / "0xaa", seed=1)
    make_adapter(base, root / "0xbb", seed=2, r=7, target_modules=["q_proj", "down_proj"])
    return root


def submits(tiny: Path) -> list[Submit]:
    sources = [None, *(AdapterSource(id=AdapterId(name), folder=str(tiny / name)) for name in ("0xaa", "0xbb"))]
    return [
        Submit(
            sequence_id=f"s{number}",
            prompt_ids=(*COMMON[: 20 + 17 * (number // 3 % 2)], number),
            sampling=SamplingParams(max_tokens=TOKENS_MAX, seed=number, temperature=number % 2),
            adapter=sources[number % 3],
        )
        for number in range(12)
    ]


def answers(settings: BackendSettings, commands: list[Submit], *, prefill_tokens_max: int) -> tuple[object, Beat]:
    """Run all to their ends, and return the tokens of each with the engine's last figures."""
    backend: Backend = load_plug("backend", "torch_lora")(settings)
    ours, theirs = socket.socketpair()
    sizes = {"prefill_tokens_max": prefill_tokens_max, "adapter_cache_bytes": 1 << 26}
    opened = OpenEngine(backend="torch_lora", settings=settings, **sizes)
    worker = Worker(Link(theirs), backend, opened)
    ours.sendall(b"".join(map(frames.encode, commands)))
    decoder, ids, num_finished, beat = frames.frame_decoder(), dict[str, list[int]](), 0, Beat()
    for command in Link(theirs).receive(wait=True):
        worker._obey(command)
    with ours, theirs:
        while num_finished < len(commands):
            worker._step()
            worker._beat(is_busy=False)
            for event in events_in(decoder, ours.recv(1 << 16)):
                if isinstance(event, EngineChunk):
                    ids.setdefault(event.sequence_id, []).extend(event.ids)
                elif isinstance(event, Beat):
                    beat = event
                num_finished += isinstance(event, Finished)
        worker._beat_at_s = 0.0
        worker._beat(is_busy=False)
        beat = next(frames.decode(fields) for fields in decoder.feed(ours.recv(1 << 16)))
    return ids, beat


@pytest.mark.process
def test_a_tight_kv_cache_and_reused_beginnings_change_no_token(tiny: Path) -> None:
    settings = cpu_settings(tiny / "base", batch_max=6)
    commands = submits(tiny)
    plenty, _ = answers(settings, commands, prefill_tokens_max=512)
    block_bytes = load_plug("backend", "torch_lora")(settings).profile.block_bytes
    tight = replace(settings, kv_cache_bytes=16 * block_bytes)
    scarce, beat = answers(tight, commands, prefill_tokens_max=BLOCK_TOKENS + 3)
    assert scarce == plenty
    assert beat.num_preempted > 0
    assert beat.num_reused_tokens > 0


def test_payers_who_send_the_same_text_share_the_head_of_the_template_and_no_more(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    head = "every chat begins with these words: "
    (base / "chat_template.jinja").write_text(head + "{% for m in messages %}{{ m.content }}{% endfor %}")
    settings = cpu_settings(base, batch_max=1)
    prompt = open_tokenizer(base).render((Message(role="user", content="a secret that was guessed " * 2),))
    reused = {}
    for payer in ("0xvictim", "0xstranger", ""):
        sampling = SamplingParams(max_tokens=1, seed=1)
        commands = [
            Submit(sequence_id=f"s{number}", prompt_ids=prompt, sampling=sampling, adapter=None, payer=each)
            for number, each in enumerate(("0xvictim", payer))
        ]
        reused[payer] = answers(settings, commands, prefill_tokens_max=512)[1].num_reused_tokens
    of_head = len(head) // BLOCK_TOKENS * BLOCK_TOKENS
    whole = (len(prompt) - 1) // BLOCK_TOKENS * BLOCK_TOKENS
    assert reused == {"0xvictim": whole, "0xstranger": of_head, "": of_head}
    assert 0 < of_head < reused["0xvictim"]
