"""Daemon and engine: each message comes out of its frame as it went in."""

from dataclasses import replace
from typing import get_args

from node.engine.scripted_child import PROFILE

from openledger_node.engine import frames
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.load_steps import LoadStep
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import FinishReason, SamplingParams, TokenLogprob
from openledger_protocol.primitives import AdapterId

SETTINGS = BackendSettings(
    base_folder="/a/base", device="cpu", dtype="float32", threads=2, batch_max=16, context_max=2048
)

SAMPLING = SamplingParams(
    max_tokens=9, seed=2**64 - 1, temperature=0.1, top_p=0.9, top_k=40, min_p=0.05, stop=("\n\n", "🙂")
)
SOURCE = AdapterSource(id=AdapterId("0x" + "a" * 64), folder="/a/b c")
LOGPROB = TokenLogprob(id=0, logprob=-0.25, top=((0, -0.25), (7, -3.5)))
SUBMIT = frames.Submit(
    sequence_id="s", prompt_ids=(1, 2), resumed_ids=(3,), sampling=SAMPLING, adapter=SOURCE, payer="0xb"
)

MESSAGES: list[frames.Command | frames.Event] = [
    frames.Joined(sequence_ids=("a", "b")),
    frames.OpenEngine(backend="fake", settings=SETTINGS, prefill_tokens_max=512, adapter_cache_bytes=1 << 40),
    frames.OpenEngine(
        backend="fake",
        settings=SETTINGS,
        prefill_tokens_max=1,
        adapter_cache_bytes=0,
        adapter_ram_bytes=1 << 33,
        pinned=(SOURCE, replace(SOURCE, id=AdapterId("0xb"), folder="")),
    ),
    SUBMIT,
    replace(SUBMIT, sampling=replace(SAMPLING, logprobs=3)),
    replace(SUBMIT, num_allowed=64),
    frames.Allow(sequence_id="s", num_tokens=96),
    replace(SUBMIT, prompt_ids=(), resumed_ids=(), sampling=SamplingParams(max_tokens=1, seed=0)),
    frames.Cancel(sequence_id="s"),
    frames.Pin(source=SOURCE),
    frames.Unpin(adapter_id=SOURCE.id),
    frames.Unload(adapter_id=SOURCE.id),
    LoadStep(phase="loading", done=3, total=30),
    frames.EngineReady(profile=replace(PROFILE, end_ids=(0, 151_643))),
    frames.Fatal(message="no base: set [inference] base"),
    frames.StepTokens(sequence_ids=("s", "t"), texts=("a\0\n🙂\u202e", ""), ids=(1, 0), reasons=("stop", None)),
    frames.StepTokens(
        sequence_ids=("s", "t", "u"),
        texts=("", "", "a"),
        ids=(0, 1, 2),
        reasons=(None, None, "length"),
        logprobs=((), (LOGPROB,), (replace(LOGPROB, top=()),)),
    ),
    *(frames.Finished(sequence_id="s", reason=reason) for reason in get_args(FinishReason)),
    frames.Refused(sequence_id="s", message="no memory is left", code="unavailable"),
    frames.Beat(num_running=1, num_waiting=2, resident=("0xaa", "0xbb"), adapter_bytes=1 << 40),
    frames.Beat(),
]


def passed_on(*messages: frames.Command | frames.Event) -> list[frames.Command | frames.Event]:
    sent = b"".join(map(frames.encode, messages))
    return [frames.decode(fields) for fields in frames.frame_decoder().feed(sent)]


def test_the_tokens_of_a_step_are_told_sequence_by_sequence() -> None:
    step = frames.StepTokens(
        sequence_ids=("s", "t"), texts=("a", "b"), ids=(1, 2), reasons=("stop", None), logprobs=((), (LOGPROB,))
    )
    assert list(frames.unfold(step)) == [
        frames.EngineChunk(sequence_id="s", text="a", ids=(1,)),
        frames.Finished(sequence_id="s", reason="stop"),
        frames.EngineChunk(sequence_id="t", text="b", ids=(2,), logprobs=(LOGPROB,)),
    ]


def test_messages_of_every_kind_come_in_one_piece_out_in_their_order() -> None:
    assert {type(message) for message in MESSAGES} == {*get_args(frames.Command), *get_args(frames.Event)}
    assert passed_on(*MESSAGES) == MESSAGES


def test_a_prompt_that_fills_the_largest_context_fits_into_a_frame() -> None:
    long = replace(SUBMIT, prompt_ids=(151_935,) * (1 << 20))
    assert passed_on(long) == [long]
