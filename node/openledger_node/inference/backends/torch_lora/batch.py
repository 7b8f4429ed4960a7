"""Rows become tensors: decoding tokens first, a segment a prompt behind them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from openledger_node.inference.backend import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One prompt's part of the step: rows [first, last) of the token matrix."""

    slot: int
    first: int
    last: int
    position: int  # of the first token in its sequence

    @property
    def end(self) -> int:
        """Tokens of the sequence that are in the cache after this step."""
        return self.position + self.last - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A ragged step; row i of every (tokens, …) tensor is the same token."""

    ids: Tensor  # (tokens,)
    slots: Tensor  # (tokens,)
    positions: Tensor  # (tokens,)
    num_decoded: int  # rows before the first segment
    decoded_slots: Tensor | slice  # a view of the caches where the slots are 0, 1, …, n − 1
    decoded_mask: Tensor  # (decoded, 1, 1, longest), True where a key may be seen
    longest: int  # most keys of a decoding row
    segments: tuple[Segment, ...]
    drawn: tuple[tuple[Row, int], ...]  # rows to draw a token for, and their last token's place in the matrix
    has_adapters: bool  # whether any decoding row has one


def build_batch(rows: tuple[Row, ...], slot_of: dict[str, int], adapted: set[int], device: torch.device) -> Batch:
    """Lay out a step; `adapted` are the slots that have an adapter."""
    decoding = sorted((row for row in rows if len(row.token_ids) == 1), key=lambda row: slot_of[row.sequence_id])
    prompts = [row for row in rows if len(row.token_ids) > 1]
    ordered = [*decoding, *prompts]
    slots = [slot_of[row.sequence_id] for row in ordered for _ in row.token_ids]
    positions = [row.position + offset for row in ordered for offset in range(len(row.token_ids))]
    decoded = slots[: len(decoding)]
    lengths = [row.position + 1 for row in decoding]
    is_dense = decoded == list(range(len(decoded)))
    longest = max(lengths, default=0)
    keys = torch.arange(longest, device=device)
    return Batch(
        ids=torch.tensor([token for row in ordered for token in row.token_ids], device=device),
        slots=torch.tensor(slots, device=device),
        positions=torch.tensor(positions, device=device),
        num_decoded=len(decoding),
        decoded_slots=slice(0, len(decoded)) if is_dense else torch.tensor(decoded, device=device),
        decoded_mask=(keys < torch.tensor(lengths, device=device)[:, None])[:, None, None, :],
        longest=longest,
        segments=_segments(prompts, slot_of, len(decoding)),
        drawn=_drawn(ordered),
        has_adapters=not adapted.isdisjoint(decoded),
    )


def _segments(prompts: list[Row], slot_of: dict[str, int], first: int) -> tuple[Segment, ...]:
    segments = []
    for row in prompts:
        last = first + len(row.token_ids)
        segments.append(Segment(slot=slot_of[row.sequence_id], first=first, last=last, position=row.position))
        first = last
    return tuple(segments)


def _drawn(ordered: list[Row]) -> tuple[tuple[Row, int], ...]:
    drawn, last = [], -1
    for row in ordered:
        last += len(row.token_ids)
        if row.sampling:
            drawn.append((row, last))
    return tuple(drawn)
