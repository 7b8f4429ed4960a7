"""A request in progress: parts delivered, cost so far, and nodes that failed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.errors import (
    MalformedError,
    PaymentRequiredError,
    ProtocolError,
    RequestTooLongError,
    UnavailableError,
)
from openledger_protocol.inference import FinishReason
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import ZERO_DIGEST, ZERO_WEI, Address, Digest, Wei
from openledger_protocol.registry import RegistryEntry
from openledger_protocol.wire.market import Call

from ..engine.backend import Profile
from ..engine.tokenizer import Tokenizer
from ..p2p.transport import PeerId
from ..payments.purchase import CalledMalformedError
from .attempt import Attempt
from .candidates import Wanted
from .request import AnswerPart, NetworkRequest, RemoteAnswer

MALFORMED_WALLETS: Final = 2
"""A request that so many wallets refuse as malformed is not sent to more of them."""


@dataclass(slots=True, kw_only=True)
class RequestProgress:
    """The progress of one request over several nodes."""

    requested: NetworkRequest
    entry: RegistryEntry | None  # the adapter's on the chain; None: the base alone answers
    rules: tuple[int, ...]  # attribution rules that the payer can check
    tokenizer: Tokenizer
    tokens_in: int  # of the prompt
    budget_wei: Wei
    replayed_by: Profile | None = None  # of the engine here that replays answers; None: nothing here does
    parts: list[AnswerPart] = field(default_factory=list)
    spent_wei: Wei = ZERO_WEI
    tried: set[PeerId] = field(default_factory=set)
    renewed: set[PeerId] = field(default_factory=set)  # called once more, since their ledger has a new generation
    defaulted: set[Address] = field(default_factory=set)  # wallets that did not finish what they were paid for
    called_malformed: set[Address] = field(default_factory=set)  # wallets that refused the request as malformed
    reasons: dict[PeerId, ProtocolError] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text delivered so far."""
        return "".join(part.text for part in self.parts)

    @property
    def index_root(self) -> Digest:
        """The root of the adapter's registered index; zero without one."""
        return self.entry.index_root if self.entry else ZERO_DIGEST

    @property
    def passed_over(self) -> set[Address]:
        """Wallets that are not called again for this request."""
        return self.defaulted | self.called_malformed

    @property
    def is_refused(self) -> bool:
        """True if enough wallets call the request malformed. One alone may lie, and so may all after a text."""
        return not self.text and len(self.called_malformed) >= MALFORMED_WALLETS

    @property
    def left_wei(self) -> Wei:
        """The money left for the rest of the answer."""
        return Wei(max(0, self.budget_wei - self.spent_wei))

    @property
    def tokens_before(self) -> int:
        """Tokens of prompt and delivered text together, which the next node starts from."""
        return self.tokens_in + self._num_delivered

    def tokens_left(self, context_max: int | None = None) -> int:
        """Tokens of the answer that are still requested and fit into a context."""
        left = self.requested.request.sampling.max_tokens - self._num_delivered
        return left if context_max is None else min(left, context_max - self.tokens_before)

    def wanted(self) -> Wanted:
        """The part of the next call that decides whom it goes to."""
        return Wanted(
            id=self.requested.request.request_id,
            adapter=self.requested.adapter,
            tokens_in=self.tokens_before,
            tokens_max=max(1, self.tokens_left()),
            is_wary=bool(self.defaulted),
        )

    def call(self, ads: Sequence[Advertisement], *, price_max: Terms, deadline_ms: int) -> Call:
        """Make the call for the rest of the answer, sized for the longest context on offer.

        `price_max` are the highest prices that it accepts. What the request may cost in all is nobody's business.

        Raises:
            RequestTooLongError: it fits into no node's context.
        """
        context_max = max(ad.context_max for ad in ads)
        tokens_in, tokens_max = self.tokens_before, self.tokens_left(context_max)
        if tokens_max < 1:
            raise RequestTooLongError(
                f"the prompt has {tokens_in} tokens; with its answer it may have {context_max} on the network",
                num_prompt_tokens=tokens_in,
                context_max=context_max,
            )
        return Call(
            id=self.requested.request.request_id,
            base=self.requested.base,
            adapter=self.requested.adapter,
            tokens_in=tokens_in,
            tokens_max=tokens_max,
            price_in_max=price_max.price_in_wei,
            price_out_max=price_max.price_out_wei,
            deadline_ms=deadline_ms,
        )

    def add(self, attempt: Attempt) -> None:
        """Record a node's part and its cost."""
        peer_id = attempt.received.peer_id
        self.spent_wei = Wei(self.spent_wei + attempt.spent_wei)
        if attempt.is_default:
            self.defaulted.add(attempt.received.message.wallet)
        if attempt.calls_malformed:
            self.called_malformed.add(attempt.received.message.wallet)
        if attempt.needs_new_channel and peer_id not in self.renewed:
            self.renewed.add(peer_id)
            self.tried.discard(peer_id)  # its next bid carries its new generation
        elif attempt.why:
            self.blame(peer_id, attempt.error or UnavailableError(attempt.why))
        if attempt.bought or attempt.texts:
            part = AnswerPart(
                peer_id=peer_id,
                node=attempt.received.message.wallet,
                text=attempt.text,
                bought=attempt.bought,
                why=attempt.why,
            )
            self.parts.append(part)

    def blame(self, peer_id: PeerId, error: Exception) -> None:
        """Record the reason for not using a node; it is not called again."""
        self.tried.add(peer_id)
        self.reasons[peer_id] = error if isinstance(error, ProtocolError) else UnavailableError(str(error))

    def answered(self, finish_reason: FinishReason, why_cut: ProtocolError | None = None) -> RemoteAnswer:
        """Make the answer from the parts delivered so far."""
        return RemoteAnswer(
            text=self.text,
            tokens_in=self.tokens_in,
            tokens_out=self._num_delivered,
            finish_reason=finish_reason,
            parts=tuple(self.parts),
            why_cut=why_cut,
        )

    def failure(self) -> ProtocolError:
        """The error if there is no answer: one reason if all nodes gave the same, otherwise all of them."""
        told = "; ".join(f"{peer_id}: {error.message}" for peer_id, error in self.reasons.items())
        model, kinds = self.requested.request.model, {type(error) for error in self.reasons.values()}
        if kinds == {PaymentRequiredError}:
            return PaymentRequiredError(
                f"nobody answers {model!r} at a price that this node accepts, with {self.left_wei} wei left for this "
                f"request: {told}"
            )
        if kinds == {RequestTooLongError}:
            return RequestTooLongError(f"the request is too long for all who offer {model!r}: {told}")
        if self.is_refused or (kinds == {CalledMalformedError} and not self.text):
            return MalformedError(
                next(one.message for one in self.reasons.values() if type(one) is CalledMalformedError)
            )
        done = f", after {len(self.text)} characters of the answer" if self.text else ""
        return UnavailableError(
            f"nobody could answer {model!r}{done}: {told or 'no other node offers it'}", parts=tuple(self.parts)
        )

    @property
    def _num_delivered(self) -> int:
        return len(self.tokenizer.encode(self.text)) if self.parts else 0
