"""One node's attempt at an answer: its part, the time limit of its silence, and its outcome. It has no clock."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from openledger_protocol.errors import (
    OldChannelError,
    OverloadedError,
    PaymentRequiredError,
    ProtocolError,
    UnavailableError,
    VoucherRefusedError,
)
from openledger_protocol.payments import price_wei
from openledger_protocol.primitives import ZERO_WEI, Wei

from ..engine.tokenizer import Tokenizer
from ..errors import NetworkError
from ..ledger.sellers import AnswerSpeed, Outcome
from ..payments.purchase import Bought, CalledMalformedError, has_ended
from .calls import ReceivedBid

REFUSALS = (
    CalledMalformedError,
    OldChannelError,
    OverloadedError,
    PaymentRequiredError,
    UnavailableError,
    VoucherRefusedError,
)
"""Errors before the first chunk after which a node, by its own word, is owed nothing."""

TTFT_S_MAX = 60.0
"""The requester waits for the first token as long as the bid promised, up to this limit, plus the stall timeout."""

MOVE_ON_S = 5.0
"""While another bid is at hand, the first text may come so long after `FAILED_FACTOR` times what its bid promised.

The answer would count as a failure then in any case, and a seller that never answers would hold the request for three
times as long.
"""

LATE_FACTOR = 2
"""An answer that takes this many times longer than its bid promised is late."""

FAILED_FACTOR = 4
"""An answer that takes this many times longer counts as a failure."""

LATE_SLACK_S = 1.0
"""Opening the stream, the network and the payer's own checks take time that no bid can promise."""

RECEIPT_S = 5.0
"""After its last text a node computes the answer's shares, which no bid promises. The payer also waits for receipts
of parallel answers before it takes this one."""

Show = Callable[[str], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One node's part of an answer."""

    received: ReceivedBid
    tokens_in: int  # of prompt and prefix
    tokens_max: int  # of the part
    granted_wei: Wei  # the most that it may cost
    stop: tuple[str, ...]
    tokenizer: Tokenizer
    started_s: float
    silence_s: float  # the longest silence now
    deadline_s: float  # silence up to this time ends the attempt
    texts: list[str] = field(default_factory=list)
    bought: Bought | None = None
    error: ProtocolError | NetworkError | None = None
    paid_wei: Wei = ZERO_WEI  # what its vouchers allow the node to charge, without a receipt
    opened_s: float | None = None  # time at which its stream was open, on which the first voucher goes
    is_asked: bool = False  # the first voucher was signed, and the request left with it
    is_own_line: bool = False  # it failed while this node heard nobody at all
    first_s: float = 0.0  # until the first text came
    took_s: float = 0.0  # without the time that this node and the reader took
    came_s: float = 0.0  # time of the last text
    resumed_s: float = 0.0  # time at which its reader had taken the last text
    paused_s: float = 0.0  # the time that this node took before it asked, and the reader for the texts

    @classmethod
    def begin(
        cls, received: ReceivedBid, *, at_s: float, stall_timeout_s: float, has_others: bool, **terms: Any
    ) -> "Attempt":
        """Begin an attempt; the first text may take as long as the bid promised, or less if there are other bids."""
        silence_s = stall_timeout_s + min(received.message.ttft_ms / 1_000, TTFT_S_MAX)
        if has_others:
            silence_s = min(silence_s, MOVE_ON_S + FAILED_FACTOR * _promised_ttft_ms(received) / 1_000)
        return cls(received=received, started_s=at_s, silence_s=silence_s, deadline_s=at_s + silence_s, **terms)

    def open(self, at_s: float) -> None:
        """Note the open stream. This node now stores and signs the first voucher, and waits for nobody meanwhile."""
        self.opened_s, self.deadline_s = at_s, inf

    def pay(self, paid_wei: Wei, at_s: float) -> None:
        """Note what its vouchers allow. The time until the first one was signed is not the node's."""
        self.paid_wei = paid_wei
        if self.is_asked or self.opened_s is None:
            return
        self.is_asked = True
        self.paused_s = at_s - self.opened_s
        self.deadline_s = self.started_s + self.silence_s + self.paused_s

    def receive(self, text: str, at_s: float) -> None:
        """Take a piece of text. A slow reader of it is not the node's fault."""
        if not self.texts:
            self.first_s = at_s - self.started_s - self.paused_s
        self.texts.append(text)
        self.came_s, self.deadline_s = at_s, inf

    def resume(self, at_s: float, stall_timeout_s: float) -> None:
        """Wait for the next piece, once the reader has taken the last one."""
        self.paused_s += at_s - self.came_s
        self.resumed_s = at_s
        self.silence_s, self.deadline_s = stall_timeout_s, at_s + stall_timeout_s

    def end(self, at_s: float, *, bought: Bought | None = None, error: ProtocolError | NetworkError | None) -> None:
        """End the attempt by its receipt or an error."""
        self.bought, self.error = bought, error
        self.took_s = at_s - self.started_s - self.paused_s
        if bought and self.texts:
            self.took_s -= min(at_s - self.resumed_s, RECEIPT_S)

    @property
    def text(self) -> str:
        """The text that this node delivered."""
        return "".join(self.texts)

    @property
    def why(self) -> str | None:
        """The reason why it delivered no more, or got no countersignature."""
        error = self.error or (self.bought.why_cut if self.bought else None)
        return str(error) if error else None

    @property
    def is_whole(self) -> bool:
        """True if the answer is complete with this node's part, whether its receipt was right or not."""
        ids = self._ids
        if ids is None or self.is_full:
            return ids is not None
        if self.bought and self.bought.why_cut:
            return False
        return has_ended(self.text, ids, self.stop, self.tokenizer)

    @property
    def is_full(self) -> bool:
        """True if it delivered all tokens that were requested, or that the buyer can pay for."""
        return self.is_spent or len(self._ids or ()) >= self.tokens_max

    @property
    def is_spent(self) -> bool:
        """True if one more token would cost more than the buyer may pay."""
        if not (self.bought and isinstance(self.bought.why_cut, PaymentRequiredError)):
            return False
        more = price_wei(self.tokens_in, len(self.bought.ids) + 1, self.received.message.terms)
        return more > self.granted_wei

    @property
    def spent_wei(self) -> Wei:
        """The cost: the receipt's amount or, without a receipt, all that was paid for on the stream.

        The node may have spent that on text which never came, and its receipt may still come.
        """
        return self.bought.receipt.amount_wei if self.bought else self.paid_wei

    @property
    def lost_wei(self) -> Wei:
        """The part of its cost that no receipt has shown yet."""
        return ZERO_WEI if self.bought else self.paid_wei

    def outcome(self) -> Outcome | None:
        """The node's outcome for its reliability; None if the failure was not its fault."""
        if self.is_own_line:
            return None
        if self.bought and self.is_whole:
            return self._timeliness(len(self.bought.ids))
        if self.bought or (self.texts and isinstance(self.error, NetworkError | UnavailableError)):
            return "aborted"
        if not self.texts and isinstance(self.error, OldChannelError | PaymentRequiredError | VoucherRefusedError):
            return None  # our own channel does not cover it, or its ledger was restored
        if self.calls_malformed:
            return None  # it may be right
        if self.opened_s is not None and not self.is_asked:
            return None  # this node did not get as far as asking it
        return "failures"

    @property
    def needs_new_channel(self) -> bool:
        """True if the node refused our channel, since its ledger is of another generation now."""
        return not self.texts and isinstance(self.error, OldChannelError)

    @property
    def calls_malformed(self) -> bool:
        """True if the node refused the request as malformed."""
        return not self.texts and isinstance(self.error, CalledMalformedError)

    @property
    def is_default(self) -> bool:
        """True if the node broke off, and what it delivered is worth less than the first voucher that it took.

        One that took the request and delivered nothing has defaulted at any price, or else a seller that answers
        nothing for nothing would win every call.
        """
        if self.is_own_line or self.is_whole or not self.is_asked:
            return False
        if not self.texts and isinstance(self.error, REFUSALS):
            return False
        if not self._num_tokens:
            return True
        terms = self.received.message.terms
        taken_wei = price_wei(self.tokens_in, self.received.message.chunk_tokens, terms)
        return price_wei(0, self._num_tokens, terms) < taken_wei

    def sample(self) -> AnswerSpeed | None:
        """The measured speed, if there was a text."""
        if not self.texts:
            return None
        stream_ms = round(1_000 * max(0.0, self.took_s - self.first_s))
        return AnswerSpeed(ttft_ms=round(1_000 * self.first_s), num_tokens=self._num_tokens, stream_ms=stream_ms)

    @property
    def _num_tokens(self) -> int:
        return len(self.bought.ids) if self.bought else len(self.tokenizer.encode(self.text))

    def _timeliness(self, num_tokens: int) -> Outcome:
        message = self.received.message
        promised_s = _promised_ttft_ms(self.received) / 1_000 + num_tokens / message.tokens_per_s
        took_s = self.took_s - LATE_SLACK_S
        if took_s > FAILED_FACTOR * promised_s:
            return "failures"
        return "late" if took_s > LATE_FACTOR * promised_s else "successes"

    @property
    def _ids(self) -> tuple[int, ...] | None:
        """All ids that it generated, if it reached the end."""
        if self.bought:
            return self.bought.ids
        ids = self.error.values.get("ids") if isinstance(self.error, ProtocolError) else None
        return ids if isinstance(ids, tuple) else None


def _promised_ttft_ms(received: ReceivedBid) -> int:
    """The promised time to the first token, and at least two round trips.

    A bid can't know how far away its reader is: over a relay the way alone may take longer than the promise.
    """
    return max(received.message.ttft_ms, 2 * received.round_trip_ms)
