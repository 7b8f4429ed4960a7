"""The router: requests for models on this machine are answered here, and all others are bought on the network."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import trio

from openledger_protocol.errors import OverloadedError, ProtocolError, UnavailableError, UnknownModelError
from openledger_protocol.inference import Completion, InferenceRequest, ServedModel, TokenChunk
from openledger_protocol.primitives import BASE_ONLY, RequestId, Wei

from ..contained import log_failure, refusal_of
from ..errors import LedgerError
from ..ledger.jobs import Job
from ..ledger.ledger import Ledger
from ..models.sampling_defaults import SamplingDefaults
from ..serving.admission import Admitted, check_for_sale, prompt_ids_of
from ..serving.answer_parts import AnswerFormat, answer_format
from ..serving.idle_count import IdleCount
from ..serving.measures import Served
from ..serving.service import Failure, Outcome, Serving
from .attempt import Show
from .request import NetworkRequest, RemoteAnswer

REMOTE_MAX = 64
"""Requests that the network may answer for this node at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRequest:
    """A request that was admitted for the network."""

    request: InferenceRequest
    requested: NetworkRequest


class NetworkMarket(Protocol):
    """The router's view of the network.

    The one implementation is `network.buying.Buying`, which stands above this folder in the import order.
    """

    def models(self) -> list[ServedModel]:
        """Models that other nodes advertise."""

    async def look_for(self, name: str) -> None:
        """Look for sellers of a model that nobody is known to offer; it may take some seconds."""

    def find_model(self, name: str) -> ServedModel:
        """Find one of them by any name that a request may use.

        Raises:
            UnknownModelError: no node offers it.
        """

    def resolve(self, request: InferenceRequest) -> NetworkRequest:
        """Resolve a request's model among the models that other nodes advertise.

        Raises:
            UnknownModelError: no node offers it.
        """

    async def answer(self, requested: NetworkRequest, show: Show) -> RemoteAnswer:
        """Have the request answered by the network.

        Raises:
            ProtocolError: no node could answer it.
        """


class Router:
    """Answers requests with this machine's engine, or through the network."""

    def __init__(
        self, serving: Serving, ledger: Ledger, market: Callable[[], NetworkMarket | None], *, is_serving: bool
    ) -> None:
        self._serving = serving
        self._ledger = ledger
        self._market = market
        self._is_serving = is_serving
        self._live = IdleCount()
        self._scopes: set[trio.CancelScope] = set()

    @property
    def num_live(self) -> int:
        """Requests that the network answers now."""
        return self._live.num_live

    @property
    def is_ready(self) -> bool:
        """True if a request would be admitted now."""
        if self._is_serving:
            return self._serving.is_ready
        return self._market() is not None and not self._serving.is_draining

    @property
    def loading(self) -> str | None:
        """A sentence for requesters whose answers wait until this machine's engine is loaded; None if it is."""
        return self._serving.loading if self._is_serving else None

    async def models(self) -> Sequence[ServedModel]:
        """Models on this machine, and models that others offer."""
        here = {model.name: model for model in await self._serving.models()}
        market = self._market()
        others = {model.name: model for model in market.models()} if market else {}
        # A name keeps its place. A node that does not serve buys also what is on its disk.
        return list((here | others | here if self._is_serving else here | others).values())

    async def find_model(self, name: str) -> ServedModel:
        """Find a model by any name that a request may use.

        Raises:
            UnknownModelError: neither this machine nor the network has it.
        """
        try:
            return await self._serving.find_model(name)
        except UnknownModelError:
            if (market := self._market()) is None:
                raise
            await market.look_for(name)
            return market.find_model(name)

    async def admit(self, request: InferenceRequest) -> Admitted | RemoteRequest:
        """Admit a request: here if this machine has its model, or else for the network.

        Raises:
            ProtocolError: it is refused; nothing was recorded.
        """
        if self._is_serving:
            try:
                return await self._serving.admit(request)
            except UnknownModelError:
                if self._market() is None:
                    raise
        if market := self._market():
            await market.look_for(request.model)
        return self._admit_remote(request)

    async def handle(self, admitted: Admitted | RemoteRequest, send: "trio.MemorySendChannel[Outcome]") -> None:
        """Answer a request into `send`, which may be closed at any time, and record it."""
        if isinstance(admitted, Admitted):
            await self._serving.handle(admitted, send)
            return
        try:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                await self._buy(admitted, send)
            if scope.cancelled_caught:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    send.send_nowait(
                        Failure(error=UnavailableError("this node is shutting down and has cut the answer off"))
                    )
        finally:
            self._scopes.discard(scope)
            send.close()
            self._live.leave()

    def release(self, admitted: Admitted | RemoteRequest) -> None:
        """Free the place of an admitted request that will not be handled."""
        if isinstance(admitted, Admitted):
            self._serving.release()
        else:
            self._live.leave()

    def places_max(self, admitted: Admitted | RemoteRequest) -> int:
        """The most requests like this one that can be admitted at once."""
        return self._serving.queue_max if isinstance(admitted, Admitted) else REMOTE_MAX

    async def cost_of(self, request_id: RequestId) -> Wei:
        """The wei that a request costs, by the ledger."""
        return await trio.to_thread.run_sync(self._ledger.purchases.cost_of, request_id)

    @property
    def can_reason(self) -> bool:
        """True if the base can write its reasoning before its answer."""
        return self._serving.tokenizer.style.can_reason

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """Values for the fields that a request leaves out, also of one that is bought."""
        return self._serving.sampling_defaults

    def cut_off(self) -> None:
        """Cancel all answers from the network; parts already delivered are paid."""
        for scope in self._scopes:
            scope.cancel()

    async def wait_idle(self) -> None:
        """Wait until no request is with the network."""
        await self._live.wait_idle()

    def spell(self, token_id: int) -> tuple[str, bytes | None]:
        """The text of a token and its bytes; None: the token has no text."""
        return self._serving.tokenizer.spell(token_id)

    async def prompt_ids(self, request: InferenceRequest) -> tuple[int, ...]:
        """The token ids of a request's prompt.

        Raises:
            UnknownModelError: neither this machine nor the network has its model.
            MalformedError: the base's chat template refuses the conversation.
            RequestTooLongError: its bytes alone are too many for the model's context.
        """
        tokens_max = (await self.find_model(request.model)).context_max or 0
        return await trio.to_thread.run_sync(prompt_ids_of, self._serving.tokenizer, request, tokens_max)

    def answer_format(self, request: InferenceRequest) -> AnswerFormat:
        """The format of the answer to a request, whoever gives it, because every seller has the same base."""
        return answer_format(self._serving.tokenizer.style, request)

    def _admit_remote(self, request: InferenceRequest) -> RemoteRequest:
        if not self._serving.tokenizer.style.hears(request.thinking):
            request = replace(request, thinking=None)
        check_for_sale(request)
        if self._serving.is_draining:
            raise UnavailableError("this node is stopping and takes no new requests")
        if (market := self._market()) is None:
            raise UnavailableError(
                "this node has not reached the network yet, or is on none: run `openledger-node status`"
            )
        if self.num_live >= REMOTE_MAX:
            raise OverloadedError(f"{self.num_live} requests are with the network already: try again soon")
        requested = market.resolve(request)
        self._live.enter()
        return RemoteRequest(request=request, requested=requested)

    async def _buy(self, remote: RemoteRequest, send: "trio.MemorySendChannel[Outcome]") -> None:
        """Buy the answer, pass it on and record it. Parts delivered before the reader left are paid."""
        market, request = self._market(), remote.request
        assert market is not None, "it was there when the request was let in"
        jobs, began_ns, first_ns, has_left = self._ledger.jobs, time.time_ns(), None, False

        async def show(text: str) -> None:
            nonlocal first_ns, has_left
            first_ns = first_ns or time.time_ns()
            try:
                await send.send(TokenChunk(text=text, ids=()))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                has_left = True
                raise _LeftError from None

        last: Completion | Failure
        try:
            await trio.to_thread.run_sync(jobs.start, self._job(remote))
            last = _completion(request, self._serving.base.name, await market.answer(remote.requested, show))
        except _LeftError:
            last = Failure(error=UnavailableError("its reader left"))
        except ProtocolError as error:
            last = Failure(error=error)
        except Exception as error:  # its requester gets the reason, and the node goes on
            log_failure(error)
            last = Failure(error=refusal_of(error))
        self._serving.measures.note(_bought(last, began_ns, first_ns))
        try:
            await trio.to_thread.run_sync(self._close_job, request.request_id, last, first_ns)
        except LedgerError as error:  # the answer is paid and here; the next start closes its row
            log_failure(error)
        if not has_left:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await send.send(last)

    def _job(self, remote: RemoteRequest) -> Job:
        adapter = remote.requested.adapter
        return Job(
            request_id=remote.request.request_id,
            received_ns=time.time_ns(),
            base=self._serving.base.name,
            adapter_id=None if adapter == BASE_ONLY else adapter,
            adapter_name=None if adapter == BASE_ONLY else remote.request.model,
            state="running",
            tokens_in=0,
        )

    def _close_job(self, request_id: RequestId, last: Completion | Failure, first_ns: int | None) -> None:
        if isinstance(last, Completion):
            self._ledger.jobs.complete(last, first_token_ns=first_ns, ended_ns=time.time_ns())
        else:
            self._ledger.jobs.fail(request_id, error_code=last.error.code, ended_ns=time.time_ns())


class _LeftError(Exception):
    """The client closed its connection."""


def _completion(request: InferenceRequest, base: str, answered: RemoteAnswer) -> Completion:
    return Completion(
        request_id=request.request_id,
        base=base,
        adapter_id=None,
        text=answered.text,
        ids=(),
        finish_reason=answered.finish_reason,
        tokens_in=answered.tokens_in,
        tokens_out=answered.tokens_out,
    )


def _bought(last: Completion | Failure, began_ns: int, first_ns: int | None) -> Served:
    answered = last if isinstance(last, Completion) else None
    return Served(
        origin="bought",
        outcome=answered.finish_reason if answered else "failed",
        tokens_in=answered.tokens_in if answered else 0,
        tokens_out=answered.tokens_out if answered else 0,
        received_ns=began_ns,
        first_token_ns=first_ns,
        ended_ns=time.time_ns(),
    )
