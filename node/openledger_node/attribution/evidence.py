"""Evidence for shares: the rows that an answer resembles most, and the runs of tokens that both contain."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openledger_protocol.primitives import Address, DatanetId, Digest

from ..engine.tokenizer import Tokenizer
from .attributor import Attributor, Exchange
from .owners import OwnedDatanet
from .service import best_rows, share_out

RUN_TOKENS_MIN = 2
"""Single tokens occur everywhere and prove nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRun:
    """A run of the answer's tokens that a row contains, too."""

    begin: int  # in the answer's tokens
    length: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEvidence:
    """One of the rows that an answer resembles most."""

    datanet_id: DatanetId
    datanet: str  # its name
    row: Digest
    text: str  # its prompt and completion, one after the other
    cluster: int
    account: Address
    score: int
    share_ppm: int  # of the account, for all its rows in this Datanet
    runs: tuple[EvidenceRun, ...]


def evidence(
    attributor: Attributor,
    datanets: Sequence[OwnedDatanet],
    exchange: Exchange,
    tokenizer: Tokenizer,
    *,
    rows_max: int = 10,
) -> tuple[RowEvidence, ...]:
    """Show each Datanet's best rows, one for each cluster, the best first."""
    return tuple(
        found
        for datanet in sorted(datanets, key=lambda datanet: datanet.id)
        for found in _of_datanet(attributor, datanet, exchange, tokenizer, rows_max)
    )


def _of_datanet(
    attributor: Attributor, datanet: OwnedDatanet, exchange: Exchange, tokenizer: Tokenizer, rows_max: int
) -> Iterator[RowEvidence]:
    scores = attributor.score(exchange, datanet.index)
    ppm_of = {share.account: share.ppm for share in share_out(attributor, datanet, scores)}
    for row in best_rows(scores, datanet.clusters, rows_max):
        tokens = datanet.index.row_tokens(row)
        yield RowEvidence(
            datanet_id=datanet.id,
            datanet=datanet.index.id,
            row=datanet.index.row_digests[row],
            text=_decode(tokens, tokenizer),
            cluster=datanet.clusters[row],
            account=datanet.accounts[row],
            score=int(scores[row]),
            share_ppm=ppm_of.get(datanet.accounts[row], 0),
            runs=tuple(_runs(exchange.answer, tokens, tokenizer)),
        )


def _runs(answer: Sequence[int], row: Sequence[int], tokenizer: Tokenizer) -> Iterator[EvidenceRun]:
    """Cut the answer into the longest runs that the row contains, from left to right."""
    begin = 0
    while begin < len(answer):
        length = _longest_run(answer, begin, row)
        if length >= RUN_TOKENS_MIN:
            yield EvidenceRun(begin=begin, length=length, text=_decode(answer[begin : begin + length], tokenizer))
        begin += max(length, 1)


def _longest_run(answer: Sequence[int], begin: int, row: Sequence[int]) -> int:
    longest = 0
    for place in range(len(row)):
        length = 0
        while begin + length < len(answer) and place + length < len(row):
            if answer[begin + length] != row[place + length]:
                break
            length += 1
        longest = max(longest, length)
    return longest


def _decode(tokens: Sequence[int], tokenizer: Tokenizer) -> str:
    decoder = tokenizer.decoder()
    return "".join(decoder.push(token) for token in tokens)
