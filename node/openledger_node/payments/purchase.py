"""A purchase, and what its receipt must say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from openledger_protocol.attribution import Share
from openledger_protocol.commitments import prompt_commit
from openledger_protocol.constants import PRICE_TOKENS
from openledger_protocol.errors import MalformedError, ProtocolError, ReceiptRefusedError
from openledger_protocol.inference import Message, SamplingParams, Tooling
from openledger_protocol.opening import Opening, work_of
from openledger_protocol.payments import ChannelConfig, Receipt, Terms, Work
from openledger_protocol.primitives import ZERO_DIGEST, AdapterId, Address, DatanetId, Digest, RequestId, Wei
from openledger_protocol.receipts import Delivery
from openledger_protocol.rules import SIGNALS_RULE
from openledger_protocol.signals import DatanetSignals
from openledger_protocol.wire.inference import Award, Chunk, ErrorMessage, Salts, error_from_message

from ..engine.tokenizer import Tokenizer
from .payer_lanes import PayerLane


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """The answer that is bought, its seller, and the most it may cost."""

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
    chunk_tokens: int  # tokens paid ahead
    cost_max_wei: Wei
    prefix: str = ""  # the part of the answer that an earlier node delivered
    tooling: Tooling | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """A bought answer and its receipt."""

    text: str
    ids: tuple[int, ...]
    receipt: Receipt
    digest: Digest
    shares: tuple[Share, ...]
    why_cut: ProtocolError | None = None  # the reason, if the answer ended early


class CalledMalformedError(MalformedError):
    """The seller refused the request as malformed. A plain `MalformedError` means one of its own messages."""


def told_by_seller(message: ErrorMessage) -> ProtocolError:
    """The error in a seller's message."""
    error = error_from_message(message)
    return CalledMalformedError(error.message) if isinstance(error, MalformedError) else error


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """The agreement on a purchase, without its texts: enough to check a receipt that comes after a crash."""

    adapter_id: AdapterId
    signer: Address
    terms: Terms
    tokens_in: int
    tokens_max: int
    index_root: Digest
    datanet_ids: tuple[DatanetId, ...]
    profile_hash: Digest
    algo_id: int
    prompt_commit: Digest
    opened_s: int
    work: Work | None = None  # of an answer that came whole, and whose receipt was refused
    is_forgone: bool = False  # the seller has said that it makes no receipt
    num_withheld: int = 0  # times that the seller was asked for the receipt, and did not show a right one

    @classmethod
    def of(cls, purchase: Purchase, tokens_in: int, *, now_s: int, work: Work | None = None) -> "Agreed":
        """The agreement on a purchase whose prompt has so many tokens."""
        return cls(
            adapter_id=purchase.adapter_id,
            signer=purchase.signer,
            terms=purchase.award.terms,
            tokens_in=tokens_in,
            tokens_max=purchase.award.tokens_max,
            index_root=purchase.index_root,
            datanet_ids=purchase.datanet_ids,
            profile_hash=purchase.profile_hash,
            algo_id=purchase.algo_id,
            prompt_commit=prompt_commit(
                purchase.salts.prompt, purchase.messages, purchase.sampling, purchase.tooling
            ),
            opened_s=now_s,
            work=work,
        )

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> "Agreed":
        """Read an agreement that was stored as JSON."""
        terms, work = Terms(**fields["terms"]), Work(**fields["work"]) if fields["work"] else None
        return cls(**{**fields, "terms": terms, "work": work, "datanet_ids": tuple(fields["datanet_ids"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedAnswer:
    """An answer by the payer's own counts."""

    tokens_in: int
    text: str
    ids: tuple[int, ...]
    signals: DatanetSignals = ()  # that came with its receipt


def within_means(purchase: Purchase, tokens_in: int) -> Purchase:
    """Limit the award to the tokens that the buyer can pay for, so that the node itself ends the answer there.

    At least one token: a buyer that can't afford even that gets a clear error when it signs the voucher.
    """
    award = purchase.award
    left = (purchase.cost_max_wei + 1) * PRICE_TOKENS - 1 - tokens_in * award.terms.price_in_wei
    if award.terms.price_out_wei == 0:
        return purchase
    tokens_max = min(award.tokens_max, max(1, left // award.terms.price_out_wei))
    return replace(purchase, award=replace(award, tokens_max=tokens_max))


def expected(
    purchase: Purchase, counted: CountedAnswer, lane: PayerLane, tokenizer: Tokenizer, *, now_s: int
) -> Delivery:
    """Everything that the node's receipt must agree with."""
    return Delivery(
        signer=purchase.signer,
        channel_id=lane.channel_id,
        seq_last=lane.seq_last,
        charged_wei=lane.tab.charged_wei,
        ceiling_wei=lane.tab.ceiling_wei,
        terms=purchase.award.terms,
        adapter_id=purchase.adapter_id,
        datanet_ids=purchase.datanet_ids,
        algo_id=purchase.algo_id,
        now_s=now_s,
        work=work_of(
            exchange_of(purchase, counted),
            request_id=purchase.request_id,
            adapter_id=purchase.adapter_id,
            profile_hash=purchase.profile_hash,
            index_root=purchase.index_root,
            tokens_in=counted.tokens_in,
            canonical_ids=tokenizer.encode(counted.text),
        ),
    )


def expected_late(agreed: Agreed, receipt: Receipt, lane: PayerLane, *, now_s: int) -> Delivery:
    """The facts that a receipt must agree with that comes after its stream.

    If the answer never came whole, its tokens and the commitments to them can't be checked any more. They may cost no
    more than was paid on the stream until it was lost. A later receipt may have shown already that it was charged.

    Raises:
        ReceiptRefusedError: it charges more than was paid for the answer.
    """
    is_charged = receipt.cumulative_wei <= lane.tab.charged_wei
    lane.check_late(receipt.work.request_id, receipt.amount_wei, is_charged=is_charged)
    return Delivery(
        signer=agreed.signer,
        channel_id=lane.channel_id,
        seq_last=receipt.seq - 1 if is_charged else lane.seq_last,
        charged_wei=Wei(receipt.cumulative_wei - receipt.amount_wei) if is_charged else lane.tab.charged_wei,
        ceiling_wei=lane.tab.ceiling_wei,
        terms=agreed.terms,
        adapter_id=agreed.adapter_id,
        datanet_ids=agreed.datanet_ids,
        algo_id=agreed.algo_id,
        now_s=min(max(receipt.issued_at_s, agreed.opened_s), now_s),
        work=_late_work(agreed, receipt),
    )


def _late_work(agreed: Agreed, receipt: Receipt) -> Work:
    """The work of a late receipt: as it was delivered if that is known, or as agreed on."""
    work = agreed.work or replace(
        receipt.work,
        profile_hash=agreed.profile_hash,
        index_root=agreed.index_root,
        tokens_in=agreed.tokens_in,
        prompt_commit=agreed.prompt_commit,
        retrieval_hash=ZERO_DIGEST,
    )
    # A late receipt comes without its signals, so that their commitment can't be compared.
    return replace(work, signals_hash=receipt.work.signals_hash if agreed.algo_id == SIGNALS_RULE else ZERO_DIGEST)


def exchange_of(purchase: Purchase, counted: CountedAnswer) -> Opening:
    """The exchange in plain text, with the salts of its commitments."""
    return Opening(
        messages=purchase.messages,
        sampling=purchase.sampling,
        prefix=purchase.prefix,
        text=counted.text,
        ids=counted.ids,
        salts=purchase.salts,
        tooling=purchase.tooling,
        signals=counted.signals,
    )


def check_signals(signals: DatanetSignals, purchase: Purchase) -> None:
    """Require an answer's signals beside each Datanet of its adapter if its rule needs them, and none otherwise.

    Raises:
        ReceiptRefusedError: some are missing, or of another Datanet.
    """
    wanted = tuple(sorted(purchase.datanet_ids)) if purchase.algo_id == SIGNALS_RULE else ()
    if (found := tuple(datanet_id for datanet_id, _ in signals)) != wanted:
        raise ReceiptRefusedError(
            f"the receipt came with signals of {len(found)} Datanets, and rule {purchase.algo_id} needs those of "
            f"{len(wanted)}: {', '.join(wanted) or 'none'}"
        )


def check_counts(chunk: Chunk, purchase: Purchase, num_ids: int) -> None:
    """Require that the node's count matches what it has sent, and does not exceed the award.

    Raises:
        ReceiptRefusedError: it does not.
    """
    if chunk.tokens != num_ids:
        raise ReceiptRefusedError(f"the node counts {chunk.tokens} tokens, and has sent {num_ids}")
    if num_ids > purchase.award.tokens_max:
        raise ReceiptRefusedError(
            f"the node has sent {num_ids} tokens, and {purchase.award.tokens_max} were agreed on"
        )


def check_owed(chunk: Chunk, lane: PayerLane, price: Wei, *, is_alone: bool) -> None:
    """Require that a node asks only for what it delivered, as far as parallel streams allow to tell.

    Raises:
        ReceiptRefusedError: it asks for another amount.
    """
    tab = lane.tab
    lowest, highest = 0, int(tab.ceiling_wei)
    if is_alone:  # with parallel streams, others would have charged in the meantime
        lowest = tab.charged_wei + price
        highest = min(highest, tab.charged_wei + tab.lost_wei + price)
    if chunk.cumulative > highest:
        raise ReceiptRefusedError(f"the node says {chunk.cumulative} wei are owed, and {highest} is the most")
    if chunk.cumulative < lowest:
        raise ReceiptRefusedError(f"the node says {chunk.cumulative} wei are owed, and {lowest} is the least")


def check_paid(num_ids: int, tokens_paid: int) -> None:
    """Require that a node delivers no more on a stream than was paid on it.

    Raises:
        ReceiptRefusedError: it spends what was paid for a parallel stream.
    """
    if num_ids > tokens_paid:
        raise ReceiptRefusedError(
            f"the node has sent {num_ids} tokens, and {tokens_paid} are paid for: the rest was paid for other answers"
        )


# ---- Checking that a text matches its token ids, so that only generated text is shown or resumed.


class Spelling:
    """Decodes an answer's ids and compares them with its text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = tokenizer.decoder()
        self._piece = ""  # the text that the last id has completed
        self._rest = ""  # decoded from ids, but not yet in the text

    def take(self, text: str, ids: Sequence[int]) -> None:
        """Add a piece of both; the text may lag behind, up to where a stop string cuts it.

        Raises:
            ReceiptRefusedError: the text differs from what the ids spell.
        """
        for token_id in ids:
            self._piece = self._decoder.push(token_id)
            self._rest += self._piece
        if not self._rest.startswith(text):
            raise ReceiptRefusedError("the text that the node has sent is not what its token ids say")
        self._rest = self._rest[len(text) :]

    def has_ended(self, stop: Sequence[str]) -> bool:
        """True if the answer ends here naturally: at a token without text, or before a stop string."""
        return not self._piece or any(self._rest.startswith(cut) for cut in stop)


def has_ended(text: str, ids: Sequence[int], stop: Sequence[str], tokenizer: Tokenizer) -> bool:
    """True if a complete answer ends naturally."""
    spelling = Spelling(tokenizer)
    spelling.take(text, ids)
    return spelling.has_ended(stop)
