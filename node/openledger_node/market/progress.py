"""A request on its way: what has been delivered, by whom, what it has cost, and who failed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.constants import PRICE_TOKENS
from openledger_protocol.errors import PaymentRequiredError, ProtocolError, RequestTooLongError, UnavailableError
from openledger_protocol.inference import FinishReason
from openledger_protocol.primitives import UINT128_MAX, ZERO_WEI, Wei
from openledger_protocol.wire.market import Call

from ..engine.tokenizer import Tokenizer
from ..p2p.transport import PeerId
from .attempt import Attempt
from .request import AdapterEntry, AnswerPart, NetworkRequest, RemoteAnswer


@dataclass(slots=True, kw_only=True)
class RequestProgress:
    """One request."""

    wanted: NetworkRequest
    entry: AdapterEntry
    tokenizer: Tokenizer
    tokens_in: int  # of the prompt
    budget_wei: Wei
    parts: list[AnswerPart] = field(default_factory=list)
    spent_wei: Wei = ZERO_WEI
    tried: set[PeerId] = field(default_factory=set)
    reasons: dict[PeerId, ProtocolError] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Delivered so far."""
        return "".join(part.text for part in self.parts)

    @property
    def left_wei(self) -> Wei:
        """What it may still cost."""
        return Wei(max(0, self.budget_wei - self.spent_wei))

    @property
    def tokens_before(self) -> int:
        """Of the prompt, and of what has been delivered: what the next node begins with."""
        return self.tokens_in + self._num_delivered

    def tokens_left(self, context_max: int | None = None) -> int:
        """Tokens of the answer that are still wanted, and have room in a context."""
        left = self.wanted.request.sampling.max_tokens - self._num_delivered
        return left if context_max is None else min(left, context_max - self.tokens_before)

    def call(self, ads: Sequence[Advertisement], *, deadline_ms: int) -> Call:
        """The call for what is left of the answer, as far as some node's context reaches.

        Raises:
            RequestTooLongError: nobody's does.
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
            id=self.wanted.request.request_id,
            base=self.wanted.base,
            adapter=self.wanted.adapter,
            tokens_in=tokens_in,
            tokens_max=tokens_max,
            price_in_max=_per_thousand(self.left_wei, tokens_in),
            price_out_max=_per_thousand(self.left_wei, 1),
            deadline_ms=deadline_ms,
        )

    def add(self, attempt: Attempt) -> None:
        """Note what a node has given, and what for."""
        peer_id = attempt.heard.peer_id
        self.spent_wei = Wei(self.spent_wei + attempt.spent_wei)
        if attempt.why:
            self.blame(peer_id, attempt.error or UnavailableError(attempt.why))
        if attempt.bought or attempt.texts:
            part = AnswerPart(
                peer_id=peer_id,
                node=attempt.heard.message.wallet,
                text=attempt.text,
                bought=attempt.bought,
                why=attempt.why,
            )
            self.parts.append(part)

    def blame(self, peer_id: PeerId, error: Exception) -> None:
        """Note why a node does not do; it is not asked again."""
        self.tried.add(peer_id)
        self.reasons[peer_id] = error if isinstance(error, ProtocolError) else UnavailableError(str(error))

    def answered(self, finish_reason: FinishReason, why_cut: ProtocolError | None = None) -> RemoteAnswer:
        """The answer, as it is."""
        return RemoteAnswer(
            text=self.text,
            tokens_in=self.tokens_in,
            tokens_out=self._num_delivered,
            finish_reason=finish_reason,
            parts=tuple(self.parts),
            why_cut=why_cut,
        )

    def end_at_limit(self, error: PaymentRequiredError) -> RemoteAnswer:
        """End where the buyer's own means do.

        Raises:
            PaymentRequiredError: that is before the beginning.
        """
        if not self.text:
            raise error
        return self.answered("length", error)

    def failure(self) -> ProtocolError:
        """Why there is no answer: one reason if all nodes have the same, else all of them."""
        told = "; ".join(f"{peer_id}: {error.message}" for peer_id, error in self.reasons.items())
        model, kinds = self.wanted.request.model, {type(error) for error in self.reasons.values()}
        if kinds == {PaymentRequiredError}:
            return PaymentRequiredError(
                f"nobody answers {model!r} for what this request may cost, {self.left_wei} wei: {told}"
            )
        if kinds == {RequestTooLongError}:
            return RequestTooLongError(f"the request is too long for all who offer {model!r}: {told}")
        done = f", after {len(self.text)} characters of the answer" if self.text else ""
        return UnavailableError(
            f"nobody could answer {model!r}{done}: {told or 'none but this node offers it'}", parts=tuple(self.parts)
        )

    @property
    def _num_delivered(self) -> int:
        return len(self.tokenizer.encode(self.text)) if self.parts else 0


def _per_thousand(budget: Wei, num_tokens: int) -> Wei:
    """The highest price of 1,000 tokens at which so many are within the budget."""
    return Wei(min(budget * PRICE_TOKENS // max(1, num_tokens), UINT128_MAX))
