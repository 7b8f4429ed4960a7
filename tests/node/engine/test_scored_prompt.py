"""Probabilities of a prompt's own tokens: the worker draws the prompt token by token, unseen by the daemon."""

import contextlib
import socket
import threading
from dataclasses import replace

from support.engine_events import events_in

from openledger_node.backends.fake import FakeBackend
from openledger_node.engine import frames
from openledger_node.engine.backend import BackendSettings, Profile
from openledger_node.engine.frames import EngineChunk, Finished, OpenEngine, Refused, Submit
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.engine.worker import Link, Worker
from openledger_protocol.inference import SamplingParams, TokenLogprob

SETTINGS = BackendSettings(base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=8, context_max=4096)
OPEN = OpenEngine(backend="fake", settings=SETTINGS, prefill_tokens_max=512, adapter_cache_bytes=1 << 20)
PROMPT = (*b"the sea ", ByteTokenizer.end_id, *b" the harbour...")
SAMPLING = SamplingParams(max_tokens=6, seed=1, temperature=0, logprobs=2)
PLAIN = Submit(sequence_id="s", prompt_ids=PROMPT, sampling=SAMPLING, adapter=None)
SCORED = replace(PLAIN, scores_prompt=True)


class Server(FakeBackend):
    """The fake, as a backend whose server draws the tokens."""

    @property
    def profile(self) -> Profile:
        return replace(super().profile, schedules_itself=True)


def answers_of(command: Submit, backend: FakeBackend) -> tuple[list[EngineChunk], Finished | Refused]:
    """Everything that the daemon gets for one command."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    decoder, chunks = frames.frame_decoder(), []
    with theirs, ours:
        thread = threading.Thread(target=work, args=(theirs, backend))
        thread.start()
        ours.sendall(frames.encode(command))
        last: Finished | Refused | None = None
        while last is None:
            for event in events_in(decoder, ours.recv(1 << 16)):
                if isinstance(event, EngineChunk):
                    chunks.append(event)
                elif isinstance(event, Finished | Refused):
                    last = event
        ours.shutdown(socket.SHUT_RDWR)
        thread.join(20)
    return chunks, last


def work(connection: socket.socket, backend: FakeBackend) -> None:
    with contextlib.suppress(EOFError, OSError):  # the daemon has left
        Worker(Link(connection), backend, OPEN).run()


def logprobs_of(chunks: list[EngineChunk]) -> list[TokenLogprob]:
    return [each for chunk in chunks for each in chunk.logprobs]


def test_the_first_chunk_brings_the_probabilities_of_the_prompt() -> None:
    chunks, last = answers_of(SCORED, FakeBackend(SETTINGS))
    plain, _ = answers_of(PLAIN, FakeBackend(SETTINGS))
    assert last == Finished(sequence_id="s", reason="length")
    assert [each.id for each in logprobs_of(chunks)][: len(PROMPT) - 1] == list(PROMPT[1:])
    assert all(len(each.top) == 2 and each.logprob < 0 for each in logprobs_of(chunks))
    assert [(chunk.text, chunk.ids) for chunk in chunks] == [(chunk.text, chunk.ids) for chunk in plain]
    assert logprobs_of(chunks)[len(PROMPT) - 1 :] == logprobs_of(plain)


def test_a_resumed_answer_has_been_scored() -> None:
    whole, _ = answers_of(SCORED, FakeBackend(SETTINGS))
    ids = tuple(each for chunk in whole for each in chunk.ids)
    rest, _ = answers_of(replace(SCORED, resumed_ids=ids[:2]), FakeBackend(SETTINGS))
    assert [each.id for each in logprobs_of(rest)] == list(ids[2:])


def test_a_prompt_of_one_token_has_nothing_to_score() -> None:
    chunks, _ = answers_of(replace(SCORED, prompt_ids=PROMPT[:1]), FakeBackend(SETTINGS))
    assert all(len(chunk.logprobs) == 1 for chunk in chunks)


def test_a_backend_whose_server_draws_refuses_by_name() -> None:
    _, last = answers_of(SCORED, Server(SETTINGS))
    assert isinstance(last, Refused)
    assert last.code == "malformed"
    assert 'set [inference] backend to "torch_lora"' in last.message
