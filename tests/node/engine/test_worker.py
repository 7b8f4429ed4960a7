"""The worker over a socket pair and a backend in this process: what a failing step costs, and whom."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

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
from openledger_node.engine.worker import RECEIVE_BYTES, Link, Worker
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.errors import AdapterRefusedError, MalformedError, UnavailableError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

TIMEOUT_S = 20.0
SETTINGS = BackendSettings(base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=8, context_max=4096)
OPEN = OpenEngine(
    backend="fake",
    settings=SETTINGS,
    prefill_tokens_max=512,
    adapter_cache_bytes=1 << 20,
    adapter_ram_bytes=1 << 20,
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
        self.num_tokens: Counter[str] = Counter()  # that `read_last` has seen

    def send(self, *commands: Submit | Allow | Unload) -> None:
        self._connection.sendall(b"".join(map(frames.encode, commands)))

    def read_tokens(self, count: int) -> list[int]:
        """Wait for so many tokens, of a sequence that is then parked."""
        ids: list[int] = []
        while len(ids) < count:
            for event in events_in(self._decoder, self._connection.recv(1 << 16)):
                assert not isinstance(event, Finished | Refused)
                ids += event.ids if isinstance(event, EngineChunk) else ()
        return ids

    def read_last(self, count: int) -> dict[str, Finished | Refused]:
        """Wait for the last words on so many sequences."""
        last: dict[str, Finished | Refused] = {}
        while len(last) < count:
            for event in events_in(self._decoder, self._connection.recv(1 << 16)):
                if isinstance(event, Finished | Refused):
                    assert event.sequence_id not in last
                    last[event.sequence_id] = event
                elif isinstance(event, EngineChunk):
                    assert event.sequence_id not in last
                    self.num_tokens[event.sequence_id] += len(event.ids)
        return last


class Process(threading.Thread):
    """A worker's main, and what it ended with."""

    def __init__(self, connection: socket.socket, backend: FakeBackend) -> None:
        super().__init__()
        self._connection, self._backend = connection, backend
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.worker = Worker(Link(self._connection), self._backend, OPEN)
            self.worker.run()
        except BaseException as error:
            self.error = error

    def wait(self) -> BaseException | None:
        self.join(TIMEOUT_S)
        assert not self.is_alive()
        return self.error


@contextmanager
def working(backend: FakeBackend) -> Iterator[tuple[Daemon, Process]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_S)
    process = Process(theirs, backend)
    process.start()
    with theirs, ours:
        yield Daemon(ours), process
        ours.shutdown(socket.SHUT_RDWR)
        process.wait()


def submit(name: str, *, max_tokens: int = 5, json_schema: str | None = None) -> Submit:
    sampling = SamplingParams(max_tokens=max_tokens, seed=1, temperature=0, json_schema=json_schema)
    return Submit(
        sequence_id=name, prompt_ids=tuple(ENDLESS + name.encode()), resumed_ids=(), sampling=sampling, adapter=None
    )


def test_a_step_that_memory_is_too_small_for_costs_who_joined_last_and_nobody_else() -> None:
    def step(rows: tuple[BatchRow, ...], run: Run) -> dict[str, Drawn]:
        if len(rows) > 2:
            raise MemoryError
        return run(rows)

    with working(Odd(step)) as (daemon, _):
        daemon.send(*map(submit, "abcd"))
        last = daemon.read_last(4)
    assert [name for name in "abcd" if isinstance(last[name], Finished)] == ["a", "b"]
    assert {word.code for word in last.values() if isinstance(word, Refused)} == {UnavailableError.code}


def test_an_engine_that_has_no_memory_at_all_ends_rather_than_refuse_everybody() -> None:
    def step(rows: tuple[BatchRow, ...], run: Run) -> dict[str, Drawn]:
        raise MemoryError

    with working(Odd(step)) as (daemon, process):
        daemon.send(*(submit(f"s{number}") for number in range(OUT_OF_MEMORY_MAX + 2)))
        assert len(daemon.read_last(OUT_OF_MEMORY_MAX)) == OUT_OF_MEMORY_MAX
        assert isinstance(process.wait(), MemoryError)


def test_a_sequence_whose_adapter_finds_no_memory_beside_others_is_refused_alone() -> None:
    class Small(FakeBackend):
        def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
            if sequence_id == "large":
                raise MemoryError
            super().join(sequence_id, adapter_id)

    with working(Small(SETTINGS)) as (daemon, _):
        daemon.send(*map(submit, ("a", "large", "b")))
        last = daemon.read_last(3)
    assert isinstance(last["a"], Finished)
    assert isinstance(last["b"], Finished)
    assert isinstance(last["large"], Refused)
    assert last["large"].code == UnavailableError.code


def test_a_removed_adapter_stays_while_a_parked_sequence_needs_it(make_adapter_folder: Callable[..., Path]) -> None:
    source = AdapterSource(id=AdapterId("0x" + "a" * 64), folder=str(make_adapter_folder()))
    unloaded: list[AdapterId] = []

    class Watched(FakeBackend):
        def unload_adapter(self, adapter_id: AdapterId) -> None:
            unloaded.append(adapter_id)
            super().unload_adapter(adapter_id)

    with working(Watched(SETTINGS)) as (daemon, _):
        daemon.send(replace(submit("parked"), adapter=source, num_allowed=2))
        assert len(daemon.read_tokens(2)) == 2
        daemon.send(Unload(adapter_id=source.id), submit("a"))
        daemon.read_last(1)
        assert unloaded == []
        daemon.send(Allow(sequence_id="parked", num_tokens=5))
        assert isinstance(daemon.read_last(1)["parked"], Finished)
        daemon.send(submit("b"))
        daemon.read_last(1)
    assert unloaded == [source.id]


def test_any_other_error_of_a_step_ends_the_engine() -> None:
    def step(rows: tuple[BatchRow, ...], run: Run) -> dict[str, Drawn]:
        raise ZeroDivisionError

    with working(Odd(step)) as (daemon, process):
        daemon.send(submit("a"))
        assert isinstance(process.wait(), ZeroDivisionError)


def test_an_answer_whose_numbers_overflow_is_refused_alone() -> None:
    def step(rows: tuple[BatchRow, ...], run: Run) -> dict[str, Drawn]:
        return {name: drawn for name, drawn in run(rows).items() if name != "bad"}

    with working(Odd(step)) as (daemon, _):
        daemon.send(submit("bad"), submit("good"))
        last = daemon.read_last(2)
    assert isinstance(last["good"], Finished)
    assert isinstance(last["bad"], Refused)
    assert last["bad"].code == UnavailableError.code
    assert "adapter" not in last["bad"].message, "the base has none"


def test_an_overflow_is_blamed_on_the_adapter_that_ran(make_adapter_folder: Callable[..., Path]) -> None:
    source = AdapterSource(id=AdapterId("0x" + "a" * 64), folder=str(make_adapter_folder()))

    def step(rows: tuple[BatchRow, ...], run: Run) -> dict[str, Drawn]:
        return {name: drawn for name, drawn in run(rows).items() if name != "bad"}

    with working(Odd(step)) as (daemon, _):
        daemon.send(replace(submit("bad"), adapter=source))
        last = daemon.read_last(1)["bad"]
    assert isinstance(last, Refused)
    assert last.code == AdapterRefusedError.code
    assert "its adapter is not usable here" in last.message


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
    with working(FakeBackend(SETTINGS)) as (daemon, _):
        daemon.send(submit("stuck", max_tokens=20, json_schema='{"enum": ["aye, aye"]}'), submit("good"))
        last = daemon.read_last(2)
    assert last["good"] == Finished(sequence_id="good", reason="length")
    assert isinstance(last["stuck"], Refused)
    assert last["stuck"].code == MalformedError.code
    assert daemon.num_tokens == {"stuck": 2, "good": 5}


@pytest.mark.parametrize(("device", "num_copies"), [("cpu", 0), ("mps", 0), ("cuda", 1)])
def test_a_copy_in_ram_is_kept_only_beside_a_device_with_memory_of_its_own(
    make_adapter_folder: Callable[..., Path], device: str, num_copies: int
) -> None:
    source = AdapterSource(id=AdapterId("0x" + "a" * 64), folder=str(make_adapter_folder()))
    backend = FakeBackend(SETTINGS)
    backend._profile = replace(backend.profile, device=device)
    with working(backend) as (daemon, process):
        daemon.send(replace(submit("a"), adapter=source))
        assert isinstance(daemon.read_last(1)["a"], Finished)
        assert len(process.worker._residency._copies) == num_copies


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
    with working(backend) as (daemon, _):
        daemon.send(replace(submit("slow"), prompt_ids=tuple(ENDLESS * 300)), submit("a"))
        assert daemon.read_last(1) == {"a": Finished(sequence_id="a", reason="length")}
        daemon.send(submit("b"))  # arrives while only the late one runs
        assert daemon.read_last(1) == {"b": Finished(sequence_id="b", reason="length")}
        backend.may_go_on.set()
        assert daemon.read_last(1) == {"slow": Finished(sequence_id="slow", reason="length")}
    assert backend.lengths["slow"] == 300 * len(ENDLESS) > OPEN.prefill_tokens_max


def test_events_keep_their_order_though_texts_are_made_in_another_thread() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_S)
    with ours, theirs:
        link = Link(theirs)
        for number in range(20):
            link.post(partial(a_step, number, delay_s=0.001 * (number % 3)))
            if number % 5 == 0:
                link.send(Joined(sequence_ids=(str(number),)))
        link.send(Joined(sequence_ids=("last",)))
        decoder, names = frames.frame_decoder(), []
        while "last" not in names:
            for fields in decoder.feed(ours.recv(1 << 16)):
                event = frames.decode(fields)
                assert isinstance(event, Joined | StepTokens)
                names += event.sequence_ids
    expected = [name for n in range(20) for name in ([f"t{n}", str(n)] if n % 5 == 0 else [f"t{n}"])]
    assert names == [*expected, "last"]


def a_step(number: int, *, delay_s: float) -> StepTokens:
    time.sleep(delay_s)
    return StepTokens(sequence_ids=(f"t{number}",), texts=("",), ids=(number,), reasons=(None,))


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("HIP error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB, other allocations: 1 MB)"), True),
        (RuntimeError("shapes do not match"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (ValueError("an adapter called out of memory"), False),
    ],
    ids=repr,
)
def test_want_of_memory_is_told_by_the_errors_name(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Link]]:
    daemon, engine = socket.socketpair()
    daemon.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * RECEIVE_BYTES)
    with daemon, engine:
        yield daemon, Link(engine)


def frame(name: str, num_tokens: int) -> bytes:
    sampling = SamplingParams(max_tokens=1, seed=1)
    return frames.encode(
        Submit(sequence_id=name, prompt_ids=tuple([70_000] * num_tokens), sampling=sampling, adapter=None)
    )


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
