"""The engine's own process: schedule → step → postprocess, one thread, no lock.

`python -m openledger_node.inference.worker FD` talks frames over the inherited socket FD. It ends when the other
end closes, however the daemon went, so that nothing is left running and no memory stays taken.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from openledger_protocol.errors import AdapterRefusedError

from ..errors import NodeError
from ..plugs import load_plug
from . import frames
from .adapter_cache import AdapterCache
from .answer import Answer
from .backend import Backend
from .frames import Beat, Cancel, Chunk, Command, Event, Fatal, Finished, Joined, Open, Ready, Refused, Submit
from .scheduler import Scheduler
from .sequence import AdapterSource, Sequence
from .tokenizer import Tokenizer, open_tokenizer

RECEIVE_BYTES = 1 << 16
BEAT_INTERVAL_S = 0.5


class Link:
    """Our end of the socket pair: blocking while there is nothing to do, peeking while there is."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = frames.frame_decoder()

    def receive(self, *, wait: bool) -> Iterator[Command]:
        """Yield the commands that have arrived.

        Raises:
            EOFError: the daemon is gone.
        """
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            received = self._connection.recv(RECEIVE_BYTES, flags)
        except BlockingIOError:
            return
        if not received:
            raise EOFError
        for fields in self._decoder.feed(received):
            yield frames.decode(fields)  # type: ignore[misc]  # the daemon sends commands only

    def send(self, event: Event) -> None:
        """Send one event."""
        self._connection.sendall(frames.encode(event))


class Worker:
    """Runs sequences over one open backend."""

    def __init__(self, link: Link, backend: Backend, tokenizer: Tokenizer, opening: Open) -> None:
        self._link = link
        self._backend = backend
        self._tokenizer = tokenizer
        self._scheduler = Scheduler(
            batch_max=opening.settings.batch_max, prefill_tokens_max=opening.prefill_tokens_max
        )
        self._adapters = AdapterCache(budget_bytes=opening.adapter_cache_bytes)
        self._answers: dict[str, Answer] = {}
        self._beat_at_s = 0.0

    def run(self) -> None:
        """Work until the daemon is gone."""
        while True:
            for command in self._link.receive(wait=not self._answers):
                self._obey(command)
            if self._answers:
                self._step()
            self._beat()

    def _obey(self, command: Command) -> None:
        match command:
            case Submit():
                self._submit(command)
            case Cancel():
                if command.sequence_id in self._answers:
                    self._drop(command.sequence_id)
                    self._link.send(Finished(sequence_id=command.sequence_id, reason="cancelled"))
            case Open():
                raise AssertionError("the engine is open")

    def _submit(self, command: Submit) -> None:
        assert command.sequence_id not in self._answers, "the daemon submits a sequence once to each engine"
        if max(command.prompt_ids) >= self._backend.profile.vocab_size:
            message = "the prompt has a token that the base does not: its tokenizer belongs to another base"
            self._link.send(Refused(sequence_id=command.sequence_id, message=message))
            return
        sequence = Sequence(
            sequence_id=command.sequence_id,
            prompt_ids=command.prompt_ids,
            sampling=command.sampling,
            adapter=command.adapter,
            output_ids=list(command.resumed_ids),
        )
        answer = Answer(
            decoder=self._tokenizer.decoder(),
            stop=command.sampling.stop,
            end_ids=self._backend.profile.end_ids,
            max_tokens=command.sampling.max_tokens,
        )
        for token_id in command.resumed_ids:
            answer.push(token_id)  # its text is out already
        if answer.finish_reason:  # the engine before this one died on the last token
            self._link.send(Finished(sequence_id=command.sequence_id, reason=answer.finish_reason))
            return
        self._answers[command.sequence_id] = answer
        self._scheduler.add(sequence)

    def _step(self) -> None:
        if joined := self._scheduler.admit(self._can_join):
            self._link.send(Joined(sequence_ids=tuple(sequence.sequence_id for sequence in joined)))
        for sequence in joined:
            self._backend.join(sequence.sequence_id, sequence.adapter_id)
        if rows := self._scheduler.schedule():
            tokens = self._backend.step(rows)
            for sequence in self._scheduler.advance(rows, tokens):
                self._postprocess(sequence)
            for row in rows:
                if row.sampling and row.sequence_id not in tokens:
                    self._refuse(row.sequence_id, "the numbers of this answer overflowed: its adapter is not usable")

    def _postprocess(self, sequence: Sequence) -> None:
        answer = self._answers[sequence.sequence_id]
        token_id = sequence.output_ids[-1]
        text = answer.push(token_id)
        self._link.send(Chunk(sequence_id=sequence.sequence_id, text=text, ids=(token_id,)))
        if answer.finish_reason:
            self._drop(sequence.sequence_id)
            self._link.send(Finished(sequence_id=sequence.sequence_id, reason=answer.finish_reason))

    def _drop(self, sequence_id: str) -> None:
        del self._answers[sequence_id]
        is_joined = any(sequence.sequence_id == sequence_id for sequence in self._scheduler.running)
        self._scheduler.remove(sequence_id)
        if is_joined:
            self._backend.leave(sequence_id)

    def _refuse(self, sequence_id: str, message: str) -> None:
        self._drop(sequence_id)
        self._link.send(Refused(sequence_id=sequence_id, message=message))

    def _can_join(self, sequence: Sequence) -> bool:
        adapter = sequence.adapter
        if adapter is None:
            return True
        if adapter.id in self._adapters:
            self._adapters.touch(adapter.id)
            return True
        try:
            return self._load(adapter)
        except AdapterRefusedError as error:
            self._refuse(sequence.sequence_id, error.message)
            return False

    def _load(self, adapter: AdapterSource) -> bool:
        """Bring an adapter to the device if those in use leave room; False means: wait for one of them to end."""
        size_bytes = adapter.num_parameters * self._backend.profile.weight_bytes
        if size_bytes > self._adapters.budget_bytes:
            raise AdapterRefusedError(
                f"adapter needs {size_bytes >> 20} MiB but [inference] adapter_cache_bytes is "
                f"{self._adapters.budget_bytes >> 20} MiB: raise it"
            )
        in_use = {sequence.adapter_id for sequence in self._scheduler.running if sequence.adapter_id}
        leaving = self._adapters.plan(size_bytes, in_use)
        if leaving is None:
            return False
        for adapter_id in leaving:
            self._backend.unload_adapter(adapter_id)
            self._adapters.remove(adapter_id)
        self._backend.load_adapter(adapter.id, Path(adapter.folder))
        self._adapters.add(adapter.id, size_bytes)
        return True

    def _beat(self) -> None:
        now_s = time.monotonic()
        if now_s - self._beat_at_s < BEAT_INTERVAL_S and self._answers:
            return
        self._beat_at_s = now_s
        self._link.send(
            Beat(
                num_running=len(self._scheduler.running),
                num_waiting=self._scheduler.num_waiting,
                resident=self._adapters.resident,
                adapter_bytes=self._adapters.used_bytes,
            )
        )


def main() -> None:
    """Open the backend that the first command names, then work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's: it drains first
    descriptor = int(sys.argv[1])
    threading.Thread(target=_end_with_daemon, args=(descriptor,), name="lifeline", daemon=True).start()
    link = Link(socket.socket(fileno=descriptor))
    try:
        if (worker := _open(link, _opening(link))) is not None:
            worker.run()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass


def _opening(link: Link) -> Open:
    """Wait for the first command; the daemon sends no other before `Ready`."""
    while True:
        for command in link.receive(wait=True):
            assert isinstance(command, Open)
            return command


def _open(link: Link, opening: Open) -> Worker | None:
    try:
        backend: Backend = load_plug("backend", opening.backend)(opening.settings)
        folder = opening.settings.base_folder
        worker = Worker(link, backend, open_tokenizer(Path(folder) if folder else None), opening)
    except NodeError as error:
        link.send(Fatal(message=str(error)))
        return None
    link.send(Ready(profile=backend.profile))
    return worker


def _end_with_daemon(descriptor: int) -> None:
    """Wait, in a thread of its own, for the other end to close, and end: also in the middle of a step or a load.

    Linux's PR_SET_PDEATHSIG would not do: it follows the *thread* that started us, and those come and go.
    """
    watch = select.poll()
    watch.register(descriptor, 0)  # a hang-up is reported unasked
    watch.poll()
    os._exit(0)


if __name__ == "__main__":
    main()
