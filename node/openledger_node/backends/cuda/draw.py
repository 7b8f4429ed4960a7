"""Draw a step's tokens: the device narrows each row to a few candidates, and the host decides among them in float64.

    drawer = Drawer(device, vocab_size=…, rows_max=…)
    drawer.launch(rows, logits)  # after the forward pass was queued: waits for nothing
    tokens = drawer.finish()     # waits for the device: the one synchronisation of a step

Each token is the one that `sampler.draw` draws from the same logits, by the sampler's own functions. Where the
candidates are not enough to tell, the row is read whole and given to the sampler. That happens to rows with log
probabilities, where two tokens are too close for the device's float32, and where more than HEAD_SIZE tokens are kept
by two of top_k, min_p and top_p, or with penalties.

Penalties are applied here, not on the device: the row's mask rules out the tokens whose logits they change, and the
device copies their logits beside the candidates. A step reads 4 · rows · vocabulary bytes of logits once, or twice
for rows of the kind NUCLEUS, and copies about 4 KiB a row to the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openledger_node.engine.backend import BatchRow, Draw, Drawn, has_penalties
from openledger_node.engine.sampler import (
    SCORE_MARGIN,
    TEMPERATURE_MIN,
    Ids,
    Logits,
    Raw,
    draw,
    exact_scores,
    nucleus_of_head,
    penalised_ids,
    penalised_values,
    relative_weights,
)
from openledger_protocol.inference import SamplingParams

from .kernels import draw as kernel
from .kernels.draw import HEAD_SIZE, RECORD, Buffers, narrow, scratch_for

LISTED_MAX: Final = 1 << 16
"""Room for the penalised tokens of a step, 1.3 MB on the device. A row that finds none left is read whole."""

TAIL_TOLERANCE: Final = 2e-5
"""The device sums weights beyond the head in float32, and so errs by less than this part of their sum."""

SUM_TOLERANCE: Final = 1e-9
"""Exceeds float64's error in a sum of weights, in whatever order they are added."""

MAGNITUDE_MAX: Final = 1e9
"""Of a logit over temperature. Far above it float64 rounds the noise away, and then the sampler's margins decide."""

Records = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Tokens of a row with their logits after penalties and their draws of the generator."""

    ids: NDArray[np.int32]
    values: Logits
    raw: Raw

    def take(self, chosen: Ids | slice) -> "Candidates":
        """Those at the places `chosen`, in that order."""
        return Candidates(ids=self.ids[chosen], values=self.values[chosen], raw=self.raw[chosen])

    def plus(self, other: "Candidates") -> "Candidates":
        """All of both."""
        return Candidates(
            ids=np.concatenate([self.ids, other.ids]),
            values=np.concatenate([self.values, other.values]),
            raw=np.concatenate([self.raw, other.raw]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The tokens of a row with the best scores, without those whose logits penalties change."""

    tokens: Candidates
    num_above: NDArray[np.int32]  # tokens that are likelier than each
    above: Logits  # their summed weight, relative to the likeliest token
    top: float  # the likeliest logit
    bound: float  # of all other tokens' scores, relative to `top`

    @staticmethod
    def of(record: Records) -> "Best":
        """Those of a record of the kinds WINNER and NUCLEUS."""
        first, second, third = kernel.BESTS, kernel.BESTS + kernel.NUM_BEST, kernel.ABOVE
        num = int(np.count_nonzero(record[second:third] != -1))
        above = record[third : third + num].copy().view(np.int32).reshape(-1, 2).T.copy()
        return Best(
            tokens=_entries(record[first : first + num], record[second : second + num]),
            num_above=above[0],
            above=above[1].view(np.float32),
            top=float(_likeliest(int(record[kernel.TOP])).values.max(initial=-np.inf)),
            bound=_number(record, kernel.BOUND),
        )

    def is_clear(self, score: float, temperature: float) -> bool:
        """True if no token that is not among these has such a score."""
        return score - self.top / temperature > self.bound + SCORE_MARGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A row to draw for, and what the device is asked about it."""

    row: BatchRow
    how: Draw
    kind: int
    is_read: bool  # whole, because candidates can't answer it
    words: NDArray[np.uint32] | None = None  # tokens that take part on the device; None: all
    listed: Ids = field(default_factory=lambda: np.arange(0))  # allowed tokens whose logits penalties change
    counts: Ids = field(default_factory=lambda: np.arange(0))  # of each in the answer


# ---- What to ask.


def question(row: BatchRow, vocab_size: int) -> Question:
    """Decide what the device has to find for a row with `draw`; computes its mask, while the device is busy."""
    assert row.draw, "only rows to draw for are drawn"
    how = row.draw
    if how.sampling.logprobs is not None:
        return read_whole(row)
    kind = kind_of(how.sampling)
    words = how.allowed.words() if how.allowed else None
    if not has_penalties(how.sampling):
        return Question(row=row, how=how, kind=kind, is_read=False, words=words)
    ids, counts = penalised_ids(how)
    if words is None:
        words = np.full(-(-vocab_size // 32), 2**32 - 1, dtype=np.uint32)
    are_allowed = (words[ids >> 5] >> (ids & 31).astype(np.uint32)) & 1 == 1
    return Question(
        row=row,
        how=how,
        kind=kind,
        is_read=False,
        words=without(words, ids),
        listed=ids[are_allowed],
        counts=counts[are_allowed],
    )


def read_whole(row: BatchRow) -> Question:
    """Ask only if all logits are finite, because the host reads them all."""
    assert row.draw, "only rows to draw for are drawn"
    return Question(row=row, how=row.draw, kind=kernel.LIKELIEST, is_read=True)


def kind_of(params: SamplingParams) -> int:
    """The kind of row for the kernels: LIKELIEST, WINNER, HEAD or NUCLEUS."""
    if params.temperature < TEMPERATURE_MIN:
        return kernel.LIKELIEST
    if params.top_k == 0 and params.min_p == 0 and params.top_p == 1:
        return kernel.WINNER
    return kernel.HEAD if 0 < params.top_k <= HEAD_SIZE else kernel.NUCLEUS


def without(words: NDArray[np.uint32], ids: Ids) -> NDArray[np.uint32]:
    """A mask that rules out `ids` too."""
    rest = words.copy()
    np.bitwise_and.at(rest, ids >> 5, ~(np.uint32(1) << (ids & 31).astype(np.uint32)))
    return rest


# ---- What follows from the answer. Each returns None if the candidates can't tell, and the row is to be read.


def decide(asked: Question, record: Records, listed: Records) -> int | None:
    """The token of a row by its record and the entries (listed, 2) of its listed tokens."""
    params = asked.how.sampling
    changed = None
    if len(listed):
        changed = _entries(listed[:, 0], listed[:, 1])
        changed = replace(changed, values=penalised_values(changed.values, asked.counts, params))
    if asked.kind == kernel.LIKELIEST:
        found = _likeliest(int(record[kernel.TOP]))
        return _winner(found.plus(changed) if changed else found, params)
    if asked.kind == kernel.WINNER:
        return _of_best(Best.of(record), changed, params)
    return _of_head(record, changed, params)


def _entries(raw: Records, pairs: Records) -> Candidates:
    halves = pairs.copy().view(np.int32).reshape(-1, 2).T.copy()  # the id is the lower half
    return Candidates(ids=halves[0], values=halves[1].view(np.float32), raw=raw.copy().view(np.uint64))


def _number(record: Records, at: int) -> float:
    """A float32 of a record."""
    return float(record[at : at + 1].view(np.float32)[0])


def _likeliest(token: int) -> Candidates:
    """The device's likeliest token; none if the row's mask rules out all."""
    key = token >> 32
    num = int(key > kernel.NO_KEY)
    return Candidates(
        ids=np.full(num, kernel.ID_MAX - (token & 0xFFFFFFFF), dtype=np.int32),
        values=np.full(num, key ^ (key >> 31 & 0x7FFFFFFF), dtype=np.int32).view(np.float32),
        raw=np.zeros(num, dtype=np.uint64),
    )


def _winner(found: Candidates, params: SamplingParams) -> int | None:
    """The candidate that is drawn; of equals the one with the lowest id."""
    if not len(found.ids):
        return None
    if params.temperature < TEMPERATURE_MIN:
        top = found.values.max()
        return int(found.ids[found.values == top].min()) if np.isfinite(top) else None
    if len(found.ids) == 1:
        return int(found.ids[0])
    scores = exact_scores(found.values, found.raw, params.temperature)
    return int(found.ids[scores == scores.max()].min())


def _of_best(best: Best, changed: Candidates | None, params: SamplingParams) -> int | None:
    """Draw where all tokens are kept."""
    found = best.tokens.plus(changed) if changed else best.tokens
    if not len(best.tokens.ids) or not _is_moderate(found.values, params):
        return None
    scores = exact_scores(found.values, found.raw, params.temperature)
    if not best.is_clear(scores.max(), params.temperature):
        return None
    return int(found.ids[scores == scores.max()].min())


def _of_head(record: Records, changed: Candidates | None, params: SamplingParams) -> int | None:
    """Draw among the likeliest tokens, or the best by score, if these hold what top_k, min_p and top_p keep."""
    first, second, count = kernel.ENTRIES, kernel.ENTRIES + HEAD_SIZE, int(record[kernel.NUM_ENTRIES])
    head = _entries(record[first : first + count], record[second : second + count])
    tail = _number(record, kernel.TAIL)
    is_whole = count < HEAD_SIZE  # no token is beyond the head
    if changed:
        head, tail = _joined(head, changed, tail, is_whole=is_whole, temperature=params.temperature)
    if not len(head.ids) or not _is_moderate(head.values, params):
        return None
    size = kept_size(head.values, tail, params, is_whole=is_whole)
    if size is not None:
        return _winner(head.take(slice(size)), params)
    return None if changed or 0 < params.top_k <= HEAD_SIZE else _of_wide(Best.of(record), head.values, tail, params)


def _of_wide(best: Best, head: Logits, tail: float, params: SamplingParams) -> int | None:
    """Draw where more tokens than the head are kept: the first of the best by score that is kept."""
    scores = exact_scores(best.tokens.values, best.tokens.raw, params.temperature)
    weights = relative_weights(best.tokens.values, params.temperature, head[0])
    total = float(relative_weights(head, params.temperature, head[0]).sum()) + tail
    for place in np.lexsort((best.tokens.ids, -scores)):
        if not best.is_clear(scores[place], params.temperature):
            return None
        share = float(best.above[place]) / total
        is_kept = is_in_wide(float(weights[place]), int(best.num_above[place]), share, params)
        if is_kept is not False:
            return int(best.tokens.ids[place]) if is_kept else None
    return None


def is_in_wide(weight: float, num_above: int, share_above: float, params: SamplingParams) -> bool | None:
    """Whether a token is kept, by its weight and by the number and share of likelier tokens; None if unclear."""
    if (params.top_k > 0) + (params.min_p > 0) + (params.top_p < 1) > 1:
        return None
    if params.top_k:
        return num_above < params.top_k
    if params.min_p > 0:
        return weight >= params.min_p
    return None if abs(share_above - params.top_p) < 2 * TAIL_TOLERANCE else share_above < params.top_p


def _is_moderate(values: Logits, params: SamplingParams) -> bool:
    """True if float64 holds the largest logit over temperature and a noise."""
    return abs(float(values.max())) < MAGNITUDE_MAX * params.temperature


def _joined(
    head: Candidates, changed: Candidates, tail: float, *, is_whole: bool, temperature: float
) -> tuple[Candidates, float]:
    """Head and tail with the listed tokens; those after the head's last token belong to the tail."""
    both = head.plus(changed)
    order = np.lexsort((both.ids, -both.values))
    size = len(order) if is_whole else int(np.flatnonzero(order == len(head.ids) - 1)[0]) + 1
    joined, beyond = both.take(order[:size]), both.values[order[size:]]
    if is_whole:
        return joined, 0.0
    top = joined.values[0]
    scale = float(relative_weights(head.values[:1], temperature, top)[0])
    return joined, tail * scale + float(relative_weights(beyond, temperature, top).sum())


def kept_size(values: Logits, tail: float, params: SamplingParams, *, is_whole: bool) -> int | None:
    """The number of likeliest tokens that top_k, min_p and top_p keep, given the likeliest of all, in their order."""
    size = len(values)
    is_closed = is_whole or 0 < params.top_k <= size  # nothing beyond `values` is kept
    if params.top_k:
        size = min(size, params.top_k)
    weights = relative_weights(values[:size], params.temperature, values[0])
    if params.min_p > 0:
        num_passed = int(np.count_nonzero(weights >= params.min_p))
        is_closed, size = is_closed or num_passed < size, num_passed
        weights = weights[:size]
    if params.top_p == 1:
        return size if is_closed else None
    head = float(weights.sum())
    if is_closed:
        return nucleus_of_head(weights, head, params.top_p, SUM_TOLERANCE)
    if params.top_k or params.min_p > 0:
        return None
    return nucleus_of_head(weights, head + tail, params.top_p, SUM_TOLERANCE + TAIL_TOLERANCE * tail / (head + tail))


# ---- The step.


class Mirror:
    """A tensor on the device and its copy on the host, which is pinned if there is a card."""

    def __init__(self, dtype: torch.dtype, device: torch.device, *shape: int) -> None:
        self._pinned = torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")
        self.host = self._pinned.numpy()
        self.device = torch.zeros(shape, dtype=dtype, device=device)

    def send(self, count: int) -> None:
        """Queue a copy of the first `count` rows to the device."""
        self.device[:count].copy_(self._pinned[:count], non_blocking=True)

    def receive(self, count: int) -> None:
        """Queue a copy of the first `count` rows to the host."""
        self._pinned[:count].copy_(self.device[:count], non_blocking=True)


class Drawer:
    """Owns the buffers of narrowed draws on one device; `launch` and `finish` take turns.

    `rows_drawn` counts the rows that were drawn for, and `rows_read` those of them that were read whole.
    """

    def __init__(self, device: torch.device, *, vocab_size: int, rows_max: int) -> None:
        self._vocab_size = vocab_size
        self._table = Mirror(torch.int64, device, rows_max, kernel.FIELDS)
        self._masks = Mirror(torch.int32, device, rows_max, -(-vocab_size // 32))
        self._listed_ids = Mirror(torch.int32, device, LISTED_MAX)
        self._records = Mirror(torch.int64, device, rows_max, RECORD)
        self._listed = Mirror(torch.int64, device, LISTED_MAX, 2)
        self._buffers = Buffers(
            table=self._table.device,
            masks=self._masks.device,
            listed_ids=self._listed_ids.device,
            records=self._records.device,
            listed=self._listed.device,
            **scratch_for(vocab_size, rows_max, device),
        )
        self._event: Any = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._asked: list[Question] = []
        self._logits = torch.empty(0, vocab_size)
        self.rows_drawn = 0
        self.rows_read = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the buffers on the device."""
        tensors = (getattr(self._buffers, each.name) for each in fields(Buffers))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def launch(self, rows: Sequence[BatchRow], logits: Tensor) -> None:
        """Queue the narrowing of logits (≥ len(rows), vocabulary) in float32; those of row i are for `rows[i]`.

        The logits must stay as they are until `finish`. Grammar masks are computed here, while the device still runs
        the forward pass that was queued before.
        """
        self._asked, self._logits = self._fitting([question(row, self._vocab_size) for row in rows]), logits
        if not rows:
            return
        num_masks, num_listed = self._fill()
        self._table.send(len(rows))
        self._masks.send(num_masks)
        self._listed_ids.send(num_listed)
        narrow(logits, self._buffers, rows=len(rows), kind_max=max(each.kind for each in self._asked))
        self._records.receive(len(rows))
        self._listed.receive(num_listed)
        if self._event:
            self._event.record()

    def finish(self) -> dict[str, Drawn]:
        """Wait for the device and draw, by sequence id; no token for a row with a logit that is not finite."""
        if self._event and self._asked:
            self._event.synchronize()
        tokens = {}
        for number, asked in enumerate(self._asked):
            if self._records.host[number][kernel.IS_FINITE]:
                tokens[asked.row.sequence_id] = self._drawn(number, asked)
        return tokens

    def _drawn(self, number: int, asked: Question) -> Drawn:
        self.rows_drawn += 1
        if not asked.is_read:
            first, end = self._table.host[number, kernel.LISTED_AT : kernel.LISTED_END + 1]
            token = decide(asked, self._records.host[number], self._listed.host[first:end])
            if token is not None:
                return Drawn(token=token)
        self.rows_read += 1
        return draw(self._logits[number].cpu().numpy(), asked.how)

    def _fitting(self, questions: list[Question]) -> list[Question]:
        """The questions, where rows whose penalised tokens find no room are read whole."""
        room, fitting = len(self._listed_ids.host), []
        for each in questions:
            fits = len(each.listed) <= room
            room -= len(each.listed) if fits else 0
            fitting.append(each if fits else read_whole(each.row))
        return fitting

    def _fill(self) -> tuple[int, int]:
        """Write the host's copies of table, masks and listed ids; returns how many of the last two are used."""
        num_masks = num_listed = 0
        words_per_mask = self._masks.host.shape[1]
        for number, asked in enumerate(self._asked):
            params, end = asked.how.sampling, num_listed + len(asked.listed)
            mask_at = -1
            if asked.words is not None:
                self._masks.host[num_masks] = asked.words[:words_per_mask].view(np.int32)
                mask_at, num_masks = num_masks * words_per_mask, num_masks + 1
            self._listed_ids.host[num_listed:end] = asked.listed
            seed = params.seed - (params.seed >> 63 << 64)  # the same 64 bits with a sign
            inverse = _bits(1 / max(params.temperature, TEMPERATURE_MIN))
            self._table.host[number] = (
                asked.kind, seed, asked.how.position, inverse, mask_at, num_listed, end,
            )  # fmt: skip
            num_listed = end
        return num_masks, num_listed


def _bits(number: float) -> int:
    """The bits of a float32."""
    return int(np.float32(number).view(np.int32))
