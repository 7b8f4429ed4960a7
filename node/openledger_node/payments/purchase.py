"""What is bought, and what a receipt for it must say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from openledger_protocol.attribution import Share
from openledger_protocol.constants import FLAG_AUDITABLE, PRICE_TOKENS
from openledger_protocol.errors import ProtocolError, ReceiptRefusedError
from openledger_protocol.inference import Message, SamplingParams
from openledger_protocol.opening import Opening, work_of
from openledger_protocol.payments import ChannelConfig, Receipt, nonce_commit
from openledger_protocol.primitives import AdapterId, Address, DatanetId, Digest, Nonce, RequestId, Wei
from openledger_protocol.receipts import Delivery
from openledger_protocol.wire.inference import Award, Chunk, Salts

from ..engine.tokenizer import Tokenizer
from .payer_channels import PayerChannel

SEQ_AHEAD_NS = 3600 * 10**9
"""A node's clock may be ahead of ours by an hour; what is further ahead would hold up every later receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What is bought, from whom, and for how much at most."""

    request_id: RequestId
    award: Award
    adapter_id: AdapterId
    index_root: Digest
    datanet_ids: tuple[DatanetId, ...]
    profile_hash: Digest
    algo_id: int
    messages: tuple[Message, ...] | str
    sampling: SamplingParams
    channel_config: ChannelConfig
    signer: Address  # the node's key that signs receipts
    salts: Salts
    nonce: Nonce
    auditable: bool
    chunk_tokens: int  # paid ahead
    cost_max_wei: Wei
    prefix: str = ""  # of the answer, delivered by a node that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """An answer and the receipt for it."""

    text: str
    ids: tuple[int, ...]
    receipt: Receipt
    digest: Digest
    shares: tuple[Share, ...]
    why_cut: ProtocolError | None = None  # the answer ended early


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedAnswer:
    """What came of an answer, by our own counts."""

    tokens_in: int
    text: str
    ids: tuple[int, ...]


def within_means(purchase: Purchase, tokens_in: int) -> Purchase:
    """Agree on no more tokens than the buyer will pay for, so that the node itself ends the answer there.

    One at least: whoever can't pay for that is told so when it comes to paying.
    """
    award = purchase.award
    left = (purchase.cost_max_wei + 1) * PRICE_TOKENS - 1 - tokens_in * award.terms.price_in_wei
    if award.terms.price_out_wei == 0:
        return purchase
    tokens_max = min(award.tokens_max, max(1, left // award.terms.price_out_wei))
    return replace(purchase, award=replace(award, tokens_max=tokens_max))


def expected(purchase: Purchase, given: CountedAnswer, channel: PayerChannel, tokenizer: Tokenizer) -> Delivery:
    """Everything that the node's receipt must agree with."""
    exchange = Opening(
        messages=purchase.messages,
        sampling=purchase.sampling,
        prefix=purchase.prefix,
        text=given.text,
        ids=given.ids,
        salts=purchase.salts,
    )
    return Delivery(
        signer=purchase.signer,
        channel_id=channel.channel_id,
        seq_last=channel.seq_last,
        charged_wei=channel.tab.charged_wei,
        ceiling_wei=channel.tab.ceiling_wei,
        terms=purchase.award.terms,
        adapter_id=purchase.adapter_id,
        datanet_ids=purchase.datanet_ids,
        algo_id=purchase.algo_id,
        flags=FLAG_AUDITABLE if purchase.auditable else 0,
        nonce_commit=nonce_commit(purchase.nonce),
        work=work_of(
            exchange,
            request_id=purchase.request_id,
            adapter_id=purchase.adapter_id,
            profile_hash=purchase.profile_hash,
            index_root=purchase.index_root,
            tokens_in=given.tokens_in,
            canonical_ids=tokenizer.encode(given.text),
        ),
    )


def check_counts(chunk: Chunk, purchase: Purchase, num_ids: int) -> None:
    """Require that a node counts what it has sent, and sends no more than was agreed.

    Raises:
        ReceiptRefusedError: it does not.
    """
    if chunk.tokens != num_ids:
        raise ReceiptRefusedError(f"the node counts {chunk.tokens} tokens, and has sent {num_ids}")
    if num_ids > purchase.award.tokens_max:
        raise ReceiptRefusedError(
            f"the node has sent {num_ids} tokens, and {purchase.award.tokens_max} were agreed on"
        )


def check_owed(chunk: Chunk, channel: PayerChannel, price: Wei, *, is_alone: bool) -> None:
    """Require that a node asks for what it gave, as far as that can be told beside other streams.

    Raises:
        ReceiptRefusedError: it asks for something else.
    """
    tab = channel.tab
    lowest, highest = 0, int(tab.ceiling_wei)
    if is_alone:  # others would have run on in the meantime
        lowest = tab.charged_wei + price
        highest = min(highest, tab.charged_wei + tab.lost_wei + price)
    if chunk.cumulative > highest:
        raise ReceiptRefusedError(f"the node says {chunk.cumulative} wei are owed, and {highest} is the most")
    if chunk.cumulative < lowest:
        raise ReceiptRefusedError(f"the node says {chunk.cumulative} wei are owed, and {lowest} is the least")


def check_seq(seq: int, now_ns: int) -> None:
    """Require that a receipt's time has come.

    Raises:
        ReceiptRefusedError: it has not.
    """
    if seq > now_ns + SEQ_AHEAD_NS:
        raise ReceiptRefusedError(f"the receipt's seq {seq} is a time that has not come yet")


# ---- Whether a text is what its token ids say: nothing is shown, or gone on from, that the node did not generate.


class Spelling:
    """Reads an answer's ids along with its text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = tokenizer.decoder()
        self._piece = ""  # that the last id has completed
        self._rest = ""  # that the ids say, and the text does not yet

    def take(self, text: str, ids: Sequence[int]) -> None:
        """Take a piece of both; the text may lag behind, up to where a stop string cuts it.

        Raises:
            ReceiptRefusedError: the text is something else.
        """
        for token_id in ids:
            self._piece = self._decoder.push(token_id)
            self._rest += self._piece
        if not self._rest.startswith(text):
            raise ReceiptRefusedError("the text that the node has sent is not what its token ids say")
        self._rest = self._rest[len(text) :]

    def has_ended(self, stop: Sequence[str]) -> bool:
        """Whether the answer ends here by itself: at a token without a text, or before a stop string."""
        return not self._piece or any(self._rest.startswith(cut) for cut in stop)


def has_ended(text: str, ids: Sequence[int], stop: Sequence[str], tokenizer: Tokenizer) -> bool:
    """Whether a whole answer, as it was checked piece by piece, ends by itself."""
    spelling = Spelling(tokenizer)
    spelling.take(text, ids)
    return spelling.has_ended(stop)
