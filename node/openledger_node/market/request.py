"""A request to the network, and its answer."""

from dataclasses import dataclass, field

from openledger_protocol.errors import ProtocolError
from openledger_protocol.inference import FinishReason, InferenceRequest
from openledger_protocol.primitives import AdapterId, Address, Digest, Wei

from ..p2p.transport import PeerId
from ..payments.purchase import Bought


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """A request, with the base and adapter that its model's name resolved to."""

    request: InferenceRequest
    base: Digest
    adapter: AdapterId


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPart:
    """One node's part of an answer."""

    peer_id: PeerId
    node: Address
    text: str
    bought: Bought | None  # None: no receipt came, or only a wrong one
    why: str | None  # why it delivered no more


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAnswer:
    """An answer, whose parts may come from several nodes."""

    text: str
    tokens_in: int  # of the prompt alone
    tokens_out: int  # canonical tokenisation of the text
    finish_reason: FinishReason
    parts: tuple[AnswerPart, ...] = field(default=())
    why_cut: ProtocolError | None = None  # the buyer's own limit, if it ended the answer

    @property
    def paid_wei(self) -> Wei:
        """The sum of its receipts."""
        return Wei(sum(part.bought.receipt.amount_wei for part in self.parts if part.bought))
