"""What a requester wants of the network, and what it was given."""

from dataclasses import dataclass, field

from openledger_protocol.errors import ProtocolError
from openledger_protocol.inference import FinishReason, InferenceRequest
from openledger_protocol.primitives import ZERO_DIGEST, AdapterId, Address, DatanetId, Digest, Wei

from ..p2p.transport import PeerId
from ..payments.purchase import Bought


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """A request, and what its model's name was found to mean."""

    request: InferenceRequest
    base: Digest
    adapter: AdapterId
    auditable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterEntry:
    """An adapter as the chain has it registered: what its receipts must say. The base alone has no more than this."""

    index_root: Digest = ZERO_DIGEST
    datanet_ids: tuple[DatanetId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPart:
    """What one node gave of an answer."""

    peer_id: PeerId
    node: Address
    text: str
    bought: Bought | None  # None: no receipt came, or none that was right
    why: str | None  # it gave no more


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAnswer:
    """An answer, the parts of which may come from several nodes."""

    text: str
    tokens_in: int  # of the prompt alone
    tokens_out: int  # canonical tokenisation of the text
    finish_reason: FinishReason
    parts: tuple[AnswerPart, ...] = field(default=())
    why_cut: ProtocolError | None = None  # the buyer's own limit

    @property
    def paid_wei(self) -> Wei:
        """What receipts charge for it."""
        return Wei(sum(part.bought.receipt.amount_wei for part in self.parts if part.bought))
