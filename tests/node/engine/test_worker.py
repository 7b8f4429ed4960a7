"""The worker over a socket pair and a backend in this process: what a failing step costs, and whom."""

import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.engine_events import events_in

from openledger_node.backends.fake import ENDLESS, FakeBackend
from openledger_node.engine import frames
from openledger_node.engine.backend import LATER, BackendSettings, BatchRow, Drawn
from openledger_node.engine.fit import is_out_of_memory
from openledger_node.engine.frames import (
    Allow,
    EngineChunk,
    Finished,
    Joined,
    OpenEngine,
    Refused,
    StepTokens,
    Submit,
    Unload,
)
from openledger_node.engine.grammar import Grammar
from openledger_node.engine.stepper import OUT_OF_MEMORY_MAX
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.engine.worker import POSTED_MAX, RECEIVE_BYTES, Link, Worker
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.errors import AdapterRefusedError, MalformedError, UnavailableError
from openledger_protocol.inference import SamplingParams, TokenLogprob
from openledger_protocol.primitives import AdapterId

TIMEOUT_S = 20.0
SETTINGS = BackendSettings(base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=8, context_max=4096)
OPEN = OpenEngine(
    backend="fake", settings=SETTINGS, prefill_tokens_max=512, adapter_cache_bytes=1 << 20, adapter_ram_bytes=1 << 20
)

Run = Callable[[tuple[BatchRow, ...]], dict[str, Drawn]]


class Odd(FakeBackend):
    """The fake, with a step that does as it is told."""

    def __init__(self, step: Callable[[tuple[BatchRow, ...], Run], dict[str, Drawn]]) -> None:
        super().__init__(SETTINGS)
        self._odd_step = step

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        return self._odd_step(rows, super().step)


class Daemon:
    """Our end of the pair."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = frames.frame_decoder()
        self.chunks: defaultdict[str, list[EngineChunk]] = defaultdict(list)

    def send(self, *commands: Submit | Allow | Unload) -> None:
        self._connection.sendall(b"".join(map(frames.encode, commands)))

    def read_tokens(self, name: str, count: int) -> None:
        """Wait for so many tokens of a sequence that is then parked."""
        while len(self.chunks[name]) < count:
            assert not self._receive()

    def read_last(self, count: int) -> dict[str, Finished | Refused]:
        """Wait for the last words on so many sequences."""
        last: dict[str, Finished | Refused] = {}
        while len(last) < count:
            last |= self._receive()
        return last

    def _receive(self) -> dict[str, Finished | Refused]:
        last: dict[str, Finished | Refused] = {}
        for event in events_in(self._decoder, self._connection.recv(1 << 16)):
            if isinstance(event, EngineChunk | Finished | Refused):
                assert event.sequence_id not in last
            if isinstance(event, Finished | Refused):
                last[event.sequence_id] = event
            elif isinstance(event, EngineChunk):
                self.chunks[event.sequence_id].append(event)
        return last


@contextmanager
def working(backend: FakeBackend) -> Iterator[tuple[Daemon, Worker, "Future[None]"]]:
    """A worker in a thread of its own; the future has what it ended with."""
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_S)
    worker = Worker(Link(theirs), backend, OPEN)
    with ThreadPoolExecutor(1) as pool, theirs, ours:
        run = pool.submit(worker.run)
        yield Daemon(ours), worker, run
        ours.shutdown(socket.SHUT_RDWR)
        run.exception(TIMEOUT_S)


def submit(name: str, *, max_tokens: int = 5, json_schema: str | None = None) -> Submit:
    sampling = SamplingParams(max_tokens=max_tokens, seed=1, temperature=0, json_schema=json_schema)
    return Submit(
        sequence_id=name, prompt_ids=tuple(ENDLESS + name.encode()), resumed_ids=(), sampling=sampling, adapter=None
    )


def ends(last: dict[str, Finished | Refused]) -> dict[str, str]:
    """Why each sequence finished, or the code of its refusal."""
    return {name: word.code if isinstance(word, Refused) else word.reason for name, word in last.items()}


@pytest.fixture
def source(make_adapter_folder: Callable[..., Path]) -> AdapterSource:
    return AdapterSource(id=AdapterId("0x" + "a" * 64), folder=str(make_adapter_folder()))


def test_a_step_that_memory_is_too_small_for_costs_who_joined_last_and_nobody_else() -> None:
    def step(rows: tuple[BatchRow, ...], run: Run) -> dict[str, Drawn]:
        if len(rows) > 2:
            raise MemoryError
        return run(rows)

    with working(Odd(step)) as (daemon, *_):
        daemon.send(*map(submit, "abcd"))
        assert ends(daemon.read_last(4)) == {"a": "length", "b": "length", "c": "unavailable", "d": "unavailable"}


@pytest.mark.parametrize(
    ("error", "num_sent", "num_refused"),
    [(MemoryError(), OUT_OF_MEMORY_MAX + 2, OUT_OF_MEMORY_MAX), (ZeroDivisionError(), 1, 0)],
)
def test_an_engine_that_has_no_memory_at_all_or_fails_otherwise_ends_rather_than_refuse_everybody(
    error: Exception, num_sent: int, num_refused: int
) -> None:
    def step(rows: tuple[BatchRow, ...], run: Run) -> dict[str, Drawn]:
        raise error

    with working(Odd(step)) as (daemon, _, run):
        daemon.send(*(submit(f"s{number}") for number in range(num_sent)))
        assert len(daemon.read_last(num_refused)) == num_refused
        assert run.exception(TIMEOUT_S) is error


def test_a_sequence_whose_numbers_overflow_or_whose_adapter_finds_no_memory_is_refused_alone(
    source: AdapterSource,
) -> None:
    class Small(Odd):
        def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
            if sequence_id == "large":
                raise MemoryError
            super().join(sequence_id, adapter_id)

    def step(rows: tuple[BatchRow, ...], run: Run) -> dict[str, Drawn]:
        return {name: drawn for name, drawn in run(rows).items() if "bad" not in name}

    with working(Small(step)) as (daemon, *_):
        daemon.send(*map(submit, ("bad base", "large", "good")), replace(submit("bad adapter"), adapter=source))
        last = daemon.read_last(4)
    unavailable, refused = UnavailableError.code, AdapterRefusedError.code
    expected = {"bad base": unavailable, "large": unavailable, "good": "length", "bad adapter": refused}
    assert ends(last) == expected
    assert "its adapter is not usable here" in last["bad adapter"].message  # type: ignore[union-attr]
    assert "adapter" not in last["bad base"].message  # type: ignore[union-attr]


def test_a_removed_adapter_stays_while_a_parked_sequence_needs_it(source: AdapterSource) -> None:
    unloaded: list[AdapterId] = []

    class Watched(FakeBackend):
        def unload_adapter(self, adapter_id: AdapterId) -> None:
            unloaded.append(adapter_id)
            super().unload_adapter(adapter_id)

    with working(Watched(SETTINGS)) as (daemon, *_):
        daemon.send(replace(submit("parked"), adapter=source, num_allowed=2))
        daemon.read_tokens("parked", 2)
        daemon.send(Unload(adapter_id=source.id), submit("a"))
        daemon.read_last(1)
        assert unloaded == []
        daemon.send(Allow(sequence_id="parked", num_tokens=5))
        assert ends(daemon.read_last(1)) == {"parked": "length"}
        daemon.send(submit("b"))
        daemon.read_last(1)
    assert unloaded == [source.id]


def test_a_schema_that_gets_stuck_ends_its_own_answer_and_the_token_of_that_step_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Grammar] = []
    allowed = Grammar.allowed

    def stuck_at_the_third(self: Grammar) -> NDArray[np.uint32] | None:
        asked.append(self)
        if len(asked) == 3:
            raise MalformedError("this answer can't continue within its schema")
        return allowed(self)

    monkeypatch.setattr(Grammar, "allowed", stuck_at_the_third)
    with working(FakeBackend(SETTINGS)) as (daemon, *_):
        daemon.send(submit("stuck", max_tokens=20, json_schema='{"enum": ["aye, aye"]}'), submit("good"))
        assert ends(daemon.read_last(2)) == {"good": "length", "stuck": "malformed"}
    assert {name: len(chunks) for name, chunks in daemon.chunks.items()} == {"stuck": 2, "good": 5}


@pytest.mark.parametrize(("device", "num_copies"), [("mps", 0), ("cuda", 1)])
def test_a_copy_in_ram_is_kept_only_beside_a_device_with_memory_of_its_own(
    source: AdapterSource, device: str, num_copies: int
) -> None:
    backend = FakeBackend(SETTINGS)
    backend._profile = replace(backend.profile, device=device)
    with working(backend) as (daemon, worker, _):
        daemon.send(replace(submit("a"), adapter=source))
        assert ends(daemon.read_last(1)) == {"a": "length"}
        assert len(worker._residency._copies) == num_copies


class Slow(FakeBackend):
    """The fake as a backend that schedules itself, and draws nothing for `slow` until it is told to."""

    def __init__(self) -> None:
        super().__init__(SETTINGS)
        self._profile = replace(self.profile, schedules_itself=True)
        self.may_go_on = threading.Event()
        self.lengths: dict[str, int] = {}

    def poll(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        now = tuple(row for row in rows if row.sequence_id != "slow" or self.may_go_on.is_set())
        for row in rows:
            self.lengths.setdefault(row.sequence_id, len(row.token_ids))
        late = {row.sequence_id: LATER for row in rows if row not in now}
        self.may_go_on.wait(0.001)
        return {**(self.step(now) if now else {}), **late}


def test_a_backend_that_schedules_itself_gets_prompts_whole_and_a_late_one_holds_up_nobody() -> None:
    backend = Slow()
    with working(backend) as (daemon, *_):
        daemon.send(replace(submit("slow"), prompt_ids=tuple(ENDLESS * 300)), submit("a"))
        assert ends(daemon.read_last(1)) == {"a": "length"}
        daemon.send(submit("b"))  # arrives while only the late one runs
        assert ends(daemon.read_last(1)) == {"b": "length"}
        backend.may_go_on.set()
        assert ends(daemon.read_last(1)) == {"slow": "length"}
    assert backend.lengths["slow"] == 300 * len(ENDLESS) > OPEN.prefill_tokens_max


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Link]]:
    daemon, engine = socket.socketpair()
    daemon.settimeout(TIMEOUT_S)
    daemon.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * RECEIVE_BYTES)
    with daemon, engine:
        yield daemon, Link(engine)


def test_an_event_is_sent_after_those_whose_texts_another_thread_still_makes(
    pair: tuple[socket.socket, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, link = pair
    is_waited_for, settle = threading.Event(), link._settle

    def slow_step(number: int) -> StepTokens:
        assert is_waited_for.wait(TIMEOUT_S)
        return StepTokens(sequence_ids=(f"t{number}",), texts=("",), ids=(number,), reasons=(None,))

    for number in range(POSTED_MAX):
        link.post(partial(slow_step, number))
    monkeypatch.setattr(link, "_settle", lambda num_left: is_waited_for.set() or settle(num_left))
    link.send(Joined(sequence_ids=("last",)))
    decoder, names = frames.frame_decoder(), []
    while "last" not in names:
        for event in map(frames.decode, decoder.feed(daemon.recv(1 << 16))):
            names += event.sequence_ids
    assert names == [*(f"t{number}" for number in range(POSTED_MAX)), "last"]


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (ValueError("an adapter called out of memory"), False),
    ],
    ids=repr,
)
def test_want_of_memory_is_told_by_the_errors_name(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def frame(name: str, num_tokens: int) -> bytes:
    return frames.encode(replace(submit(name), prompt_ids=tuple([70_000] * num_tokens)))


def test_all_prompts_that_have_arrived_are_read_before_the_next_step(pair: tuple[socket.socket, Link]) -> None:
    daemon, link = pair
    names = [f"s{number}" for number in range(8)]
    prompts = b"".join(frame(name, 4_000) for name in names)
    assert len(prompts) > 2 * RECEIVE_BYTES
    daemon.sendall(prompts)
    assert [command.sequence_id for command in link.receive(wait=True) if isinstance(command, Submit)] == names
    assert list(link.receive(wait=False)) == []


def test_what_came_before_the_end_is_obeyed_before_the_end_is_told(pair: tuple[socket.socket, Link]) -> None:
    daemon, link = pair
    daemon.send(frame("last", 3))
    daemon.close()
    assert len(list(link.receive(wait=True))) == 1
    with pytest.raises(EOFError):
        list(link.receive(wait=True))


# ---- probabilities of a prompt's own tokens, which the worker draws unseen by the daemon

PROMPT = (*b"the sea ", ByteTokenizer.end_id, *b" the harbour...")


def scored(name: str, **changes: Any) -> Submit:
    sampling = SamplingParams(max_tokens=6, seed=1, temperature=0, logprobs=2)
    return replace(submit(name), **{"prompt_ids": PROMPT, "sampling": sampling, "scores_prompt": True, **changes})


def logprobs_of(chunks: list[EngineChunk]) -> list[TokenLogprob]:
    return [each for chunk in chunks for each in chunk.logprobs]


def test_the_first_chunk_brings_the_probabilities_of_the_prompt_and_a_resumed_answer_has_had_them() -> None:
    with working(FakeBackend(SETTINGS)) as (daemon, *_):
        daemon.send(scored("scored"), scored("plain", scores_prompt=False), scored("one", prompt_ids=PROMPT[:1]))
        assert ends(daemon.read_last(3))["scored"] == "length"
        chunks, plain = daemon.chunks["scored"], daemon.chunks["plain"]
        ids = tuple(each for chunk in chunks for each in chunk.ids)
        daemon.send(scored("resumed", resumed_ids=ids[:2]))
        daemon.read_last(1)
    found = logprobs_of(chunks)
    assert [each.id for each in found][: len(PROMPT) - 1] == list(PROMPT[1:])
    assert all(len(each.top) == 2 and each.logprob < 0 for each in found)
    assert [(chunk.text, chunk.ids) for chunk in chunks] == [(chunk.text, chunk.ids) for chunk in plain]
    assert found[len(PROMPT) - 1 :] == logprobs_of(plain)
    assert [each.id for each in logprobs_of(daemon.chunks["resumed"])] == list(ids[2:])
    assert all(len(chunk.logprobs) == 1 for chunk in daemon.chunks["one"]), "one token has nothing to score"


def test_a_backend_whose_server_draws_refuses_to_score_by_name() -> None:
    with working(Slow()) as (daemon, *_):
        daemon.send(scored("scored"))
        last = daemon.read_last(1)["scored"]
    assert last.code == "malformed"
    assert 'set [inference] backend to "torch_lora"' in last.message
