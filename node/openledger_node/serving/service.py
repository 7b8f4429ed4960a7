"""The serving service: admits requests, hands them to the engine, and records each outcome.

Every request is recorded, even if the requester leaves: it has received the beginning of its answer.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import trio

from openledger_protocol.errors import (
    EngineFailedError,
    ProtocolError,
    UnavailableError,
)
from openledger_protocol.inference import Completion, FinishReason, InferenceRequest, ServedModel, TokenChunk
from openledger_protocol.payments import billed_tokens

from ..engine.engine import Engine, SequenceLost
from ..engine.frames import EngineChunk, Finished, Reduced, Refused
from ..engine.tokenizer import Tokenizer
from ..errors import LedgerError
from ..home import Home
from ..ledger.jobs import DuplicateJobError, Job, JobState
from ..ledger.ledger import Ledger
from ..models.adapters import Adapter
from ..models.bases import Base
from ..models.library import AdapterLibrary, Catalogue
from ..models.recommended_sampling import recommended_sampling
from .admission import (
    Admitted,
    Capacity,
    check_place,
    check_tried_again,
    grant_tokens,
    loading_sentence,
    prepare,
    why_refused,
)
from .idle_count import IdleCount
from .measures import Measures, Served
from .recording import Write, insist, insist_or_leave, why_broken_off, why_not_begun
from .replaying import replay

NOTE_NS: Final = 2 * 10**9
"""Time between two notes. One write has all running answers, so that it costs nothing beside their tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The final message of a request that could not be answered."""

    error: ProtocolError


@dataclass(slots=True)
class AnswerProgress:
    """The tokens and text generated so far."""

    began_ns: int
    text: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    first_token_ns: int | None = None
    has_left: bool = False


WAITED_MAX = 64

Outcome = TokenChunk | Completion | Failure
"""The messages in a requester's channel: chunks, then exactly one of the other two."""


def open_channel(
    request: InferenceRequest,
) -> "tuple[trio.MemorySendChannel[Outcome], trio.MemoryReceiveChannel[Outcome]]":
    """A channel with room for the whole answer, one chunk per token, so that a slow reader blocks nobody."""
    return trio.open_memory_channel[Outcome](request.sampling.max_tokens + 1)


class Serving:
    """Admission → engine → ledger, for this machine's own requests and for those of paying peers."""

    def __init__(
        self,
        *,
        home: Home,
        base: Base,
        engine: Engine,
        tokenizer: Tokenizer,
        ledger: Ledger,
        queue_max: int,
        now_ns: Callable[[], int],
    ) -> None:
        self.catalogue = Catalogue(AdapterLibrary(home), base)
        self.base = base
        self._engine = engine
        self.tokenizer = tokenizer
        self._ledger = ledger
        self.queue_max = queue_max
        self._now_ns = now_ns
        # SQLite blocks for as long as the disk syncs; a single thread makes it a single writer.
        self._ledger_thread = trio.CapacityLimiter(1)
        self._live = IdleCount()
        self._running = RunningAnswers(now_ns)
        self.sampling_defaults = recommended_sampling(base)  # for fields that a requester here leaves out
        self.measures = Measures()
        self.waited_for_load: deque[str] = deque(
            maxlen=WAITED_MAX
        )  # newest requests whose first token includes a load
        self.is_draining = self._has_given_up = False
        self.paused: str | None = None  # the reason, shown to this machine's user

    def adapters(self) -> list[Adapter]:
        """Adapters of this base that requests may name. The library is read again on each call."""
        return self.catalogue.adapters()

    async def models(self) -> list[ServedModel]:
        """The base and its adapters, each under a name that is unique on this node."""
        return await trio.to_thread.run_sync(self.catalogue.models, self._context_max)

    async def find_model(self, name: str) -> ServedModel:
        """Find a model by any name that a request may use.

        Raises:
            UnknownModelError: no model has this name.
        """
        return await trio.to_thread.run_sync(self.catalogue.model, name, self._context_max)

    async def admit(self, request: InferenceRequest) -> Admitted:
        """Check this machine's own request before any work is done on it, and take its place in the queue.

        Raises:
            ProtocolError: it is refused; nothing was recorded.
        """
        admitted = await self.examine(request)
        self.take_place(admitted)
        return admitted

    async def examine(
        self, request: InferenceRequest, *, payer: str = "", num_allowed: int | None = None
    ) -> Admitted:
        """Check a request that could be admitted now. It holds no place in the queue yet, and may lose it to another.

        `num_allowed`: tokens of its answer that are computed before `allow` raises the number; None: all.

        Raises:
            ProtocolError: it is refused; nothing was recorded.
        """
        tokens_max = self._capacity(payer).context_max  # a node that can't answer reads nothing first
        adapter = await trio.to_thread.run_sync(self.catalogue.resolve, request.model)
        prepared = await trio.to_thread.run_sync(prepare, self.tokenizer, self._engine.profile, request, tokens_max)
        max_tokens = grant_tokens(
            self._capacity(payer), num_prompt_tokens=len(prepared.prompt_ids), max_tokens=request.sampling.max_tokens
        )
        return Admitted(
            request=replace(request, sampling=replace(request.sampling, max_tokens=max_tokens)),
            prompt_ids=prepared.prompt_ids,
            num_prefix=prepared.num_prefix,
            grammar=prepared.grammar,
            adapter=adapter,
            payer=payer,
            num_allowed=num_allowed,
        )

    def take_place(self, admitted: Admitted) -> None:
        """Take an examined request's place in the queue; `handle` or `release` frees it.

        Raises:
            ProtocolError: there is none any more.
        """
        check_place(self._capacity(admitted.payer))
        self._live.enter()  # so that a request admitted meanwhile is counted against this one

    async def handle(self, admitted: Admitted, send: trio.MemorySendChannel[Outcome]) -> None:
        """Answer a request into `send`, which may be closed at any time, and record it.

        It sends to a channel instead of yielding: a requester that leaves must not stop the recording, or the
        answers of others.
        """
        progress = AnswerProgress(began_ns=self._now_ns())
        try:
            try:
                with trio.CancelScope(shield=True):
                    await self._in_ledger_thread(self._ledger.jobs.start, self._job(admitted))
            except (LedgerError, DuplicateJobError) as error:
                await _offer(send, Failure(error=why_not_begun(error)))
                return  # nothing was generated, so nothing is lost
            last = await self._generate(admitted, send, progress)
            with trio.CancelScope(shield=True):
                left = await self._record(admitted, last, progress)
            await _offer(send, last)
            if left:  # once there is room; the next start calls a row that stays open interrupted
                await insist_or_leave(left, until=lambda: self.is_draining)
        except Exception as error:
            await _offer(send, Failure(error=why_broken_off(error, for_payer=bool(admitted.payer))))
            raise  # its task logs it
        finally:
            send.close()
            self._live.leave()

    async def replay(self, admitted: Admitted, ids: tuple[int, ...]) -> Reduced:
        """Compute the signals of an answer that was cut, or whose engine died; see `replaying.replay`."""
        return await replay(self._engine, admitted.replay(ids))

    def allow(self, admitted: Admitted, num_tokens: int) -> None:
        """Let a running answer grow to `num_tokens`."""
        if self._running.is_running(admitted):
            self._engine.allow(admitted.request.request_id, num_tokens)

    def abandon(self, admitted: Admitted) -> None:
        """End an answer that nobody reads any more, if it is running; it is recorded as usual."""
        if self._running.is_running(admitted):
            self._engine.cancel(admitted.request.request_id)

    def release(self) -> None:
        """Free the queue place of an admitted request that will not be handled."""
        self._live.leave()

    @property
    def num_live(self) -> int:
        """Requests that are admitted and not yet recorded."""
        return self._live.num_live

    @property
    def is_ready(self) -> bool:
        """True if a request would be admitted now."""
        return self._engine.can_answer and not self.is_draining and not self.paused

    @property
    def loading(self) -> str | None:
        """A sentence for requesters whose answers wait until the engine is loaded; None if it is."""
        return None if self._engine.state == "ready" else loading_sentence(self._engine.ready_in_s())

    def drain(self) -> None:
        """Stop admitting requests."""
        self.is_draining = True

    def cut_off(self) -> None:
        """End every running answer now. Each still gets its final message and its record."""
        for request_id in self._running:
            self._engine.cancel(request_id)

    def give_up(self) -> None:
        """End the answers that are left after `cut_off` without the engine's last word.

        The engine may hang. It may also be so far ahead of its readers that its last word stands behind thousands of
        tokens; these are dropped.
        """
        self._has_given_up = True
        self._engine.rest()  # so that each answer that waits for the engine hears of it

    async def wait_idle(self) -> None:
        """Wait until no request is running or waiting."""
        await self._live.wait_idle()

    async def jobs(
        self, limit: int, *, state: JobState | None = None, model: str | None = None, since_ns: int = 0
    ) -> list[Job]:
        """The newest jobs, filtered by state, by model name and by time."""
        newest = partial(self._ledger.jobs.newest, limit=limit, state=state, model=model, since_ns=since_ns)
        return await trio.to_thread.run_sync(newest, limiter=self._ledger_thread)

    @property
    def _context_max(self) -> int | None:
        return self._engine.profile.context_max if self._engine.profile else None

    def _capacity(self, payer: str) -> Capacity:
        """The limits and the load as of now.

        Raises:
            UnavailableError: nothing can be answered now.
        """
        if self.paused:  # a peer need not learn why the owner paused the node
            raise UnavailableError("this node is paused: try again later" if payer else self.paused)
        profile = self._engine.profile
        if failure := self._engine.failure:
            check_tried_again(failure, self._engine.load, is_known=profile is not None, for_payer=bool(payer))
        if profile is None:
            raise UnavailableError("the engine is still loading: try again soon")
        return Capacity(
            context_max=profile.context_max,
            queue_max=self.queue_max,
            num_live=self.num_live,
            is_draining=self.is_draining,
        )

    async def _generate(
        self, admitted: Admitted, send: trio.MemorySendChannel[Outcome], progress: AnswerProgress
    ) -> Completion | Failure:
        request_id = admitted.request.request_id
        try:
            outcomes = self._engine.submit(admitted.order)
        except ProtocolError as error:
            return Failure(error=error)
        self._running.add(admitted, progress)
        if self._engine.state != "ready":
            self.waited_for_load.append(request_id)
        try:
            async for outcome in outcomes:
                match outcome:
                    case EngineChunk() if self._has_given_up:
                        return self._completion(admitted, progress, "cancelled")
                    case EngineChunk():
                        await self._pass_on(outcome, send, progress, request_id)
                    case Finished():
                        return self._completion(admitted, progress, outcome.reason, outcome.signals)
                    case Refused():
                        return Failure(error=why_refused(outcome, for_payer=bool(admitted.payer)))
                    case SequenceLost():
                        return Failure(error=EngineFailedError("the engine died during this request: try again"))
        except trio.Cancelled:
            self._engine.cancel(request_id)
            with trio.CancelScope(shield=True):
                await self._record(admitted, self._completion(admitted, progress, "cancelled"), progress)
            raise
        finally:
            self._running.remove(admitted)
        raise AssertionError("the engine ends each sequence with a last word")

    async def _pass_on(
        self, chunk: EngineChunk, send: trio.MemorySendChannel[Outcome], progress: AnswerProgress, request_id: str
    ) -> None:
        if progress.first_token_ns is None:
            progress.first_token_ns = self._now_ns()
        progress.text.append(chunk.text)
        progress.ids += chunk.ids
        piece = TokenChunk(text=chunk.text, ids=chunk.ids, logprobs=chunk.logprobs)
        if not progress.has_left and not await _offer(send, piece):
            progress.has_left = True
            self._engine.cancel(request_id)
        if lengths := self._running.lengths_to_note():
            await self._note_lengths(lengths)

    async def _note_lengths(self, lengths: dict[str, int]) -> None:
        """Write how long the running answers are, for the case of a crash; without room on the disk they are not."""
        with suppress(LedgerError):
            await self._in_ledger_thread(self._ledger.jobs.note_lengths, lengths)

    def _completion(
        self, admitted: Admitted, progress: AnswerProgress, reason: FinishReason, signals: Reduced = ()
    ) -> Completion:
        text = "".join(progress.text)
        return Completion(
            request_id=admitted.request.request_id,
            base=self.base.name,
            adapter_id=admitted.source.id if admitted.source else None,
            text=text,
            ids=tuple(progress.ids),
            finish_reason=reason,
            tokens_in=len(admitted.prompt_ids),
            tokens_out=billed_tokens(progress.ids, self.tokenizer.encode(text)),
            signals=signals,
        )

    async def _record(self, admitted: Admitted, last: Completion | Failure, progress: AnswerProgress) -> Write | None:
        """Complete the job's row; if the ledger can't be written for a while, return what is left to do."""
        now_ns = self._now_ns()
        answered = last if isinstance(last, Completion) else None
        self.measures.note(_served(admitted, answered, progress, now_ns))
        write = partial(self._in_ledger_thread, self._close_job, admitted, last, progress, now_ns)
        try:
            await insist(write, until=lambda: True)
        except LedgerError:
            return write
        return None

    def _close_job(
        self, admitted: Admitted, last: Completion | Failure, progress: AnswerProgress, now_ns: int
    ) -> None:
        if isinstance(last, Completion):
            self._ledger.jobs.complete(last, first_token_ns=progress.first_token_ns, ended_ns=now_ns)
        else:
            self._ledger.jobs.fail(admitted.request.request_id, error_code=last.error.code, ended_ns=now_ns)

    async def _in_ledger_thread(self, write: Callable[..., None], *values: object) -> None:
        await trio.to_thread.run_sync(write, *values, limiter=self._ledger_thread)

    def _job(self, admitted: Admitted) -> Job:
        adapter = admitted.adapter
        return Job(
            request_id=admitted.request.request_id,
            received_ns=self._now_ns(),
            base=self.base.name,
            adapter_id=adapter.id if adapter else None,
            adapter_name=adapter.name if adapter else None,
            state="running",
            tokens_in=len(admitted.prompt_ids),
        )


async def _offer(send: trio.MemorySendChannel[Outcome], outcome: Outcome) -> bool:
    """Send a message to the requester; False if nobody receives it."""
    try:
        await send.send(outcome)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True


class RunningAnswers:
    """The requests in the engine, by id."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._running: dict[str, tuple[Admitted, AnswerProgress]] = {}
        self._noted_ns = 0

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._running))

    def add(self, admitted: Admitted, progress: AnswerProgress) -> None:
        """Add a request that the engine has accepted."""
        if not self._running:
            self._noted_ns = self._now_ns()  # so that short answers cost no write
        self._running[admitted.request.request_id] = admitted, progress

    def remove(self, admitted: Admitted) -> None:
        """Remove a request whose answer has ended."""
        del self._running[admitted.request.request_id]

    def is_running(self, admitted: Admitted) -> bool:
        """False too for a request that used the id of a running one, and is refused for that."""
        found = self._running.get(admitted.request.request_id)
        return found is not None and found[0] is admitted

    def lengths_to_note(self) -> dict[str, int]:
        """The tokens of each running answer that has any; empty unless the last note is `NOTE_NS` old."""
        now_ns = self._now_ns()
        if now_ns < self._noted_ns + NOTE_NS:
            return {}
        self._noted_ns = now_ns
        return {name: len(progress.ids) for name, (_, progress) in self._running.items() if progress.ids}


def _served(admitted: Admitted, answered: Completion | None, progress: AnswerProgress, now_ns: int) -> Served:
    """The measure of a request that has ended; `answered` is None if it failed."""
    return Served(
        origin="sold" if admitted.payer else "local",
        outcome=answered.finish_reason if answered else "failed",
        tokens_in=len(admitted.prompt_ids),
        tokens_out=answered.tokens_out if answered else 0,
        received_ns=progress.began_ns,
        first_token_ns=progress.first_token_ns,
        ended_ns=now_ns,
    )
