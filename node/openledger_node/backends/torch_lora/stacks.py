"""Batch-aligned stacks: the adapters of joined sequences lie side by side, to be multiplied all at once.

Adapters of one shape share a stack, at their exact ranks. An adapter is copied into its place once, when the first
sequence that uses it joins, and stays there after the last has left until somebody needs the place.
"""

from collections.abc import Iterator
from itertools import count, groupby
from typing import NamedTuple

import torch
from torch import Tensor

from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.primitives import AdapterId

from .adapter_blob import Part, Shape, columns_of, parts_of
from .placement import Placement

_numbers = count()


class MapStack(NamedTuple):
    """One linear map's part of a group's stack."""

    columns: slice  # of the fused map's output
    ranks: slice  # of the group's A
    b: Tensor  # (places, rank, d_out); scaling is folded in
    scale_less_one: Tensor | None  # (places, 1, d_out) of DoRA


class GroupStack(NamedTuple):
    """What a stack adds to one fused linear map."""

    a: Tensor  # (places, d_in, Σ rank)
    maps: tuple[MapStack, ...]


class Stack:
    """The adapters of one shape that sequences use; place p of every tensor is the same adapter."""

    def __init__(self, shape: Shape, config: DecoderConfig, placement: Placement) -> None:
        self.number = next(_numbers)  # rows are sorted by it
        self._parts = tuple(parts_of(shape, config))
        self._config = config
        self._placement = placement
        self._tensors: list[Tensor] = []
        self._ids: list[AdapterId | None] = []  # whose numbers lie in each place, used or not
        self._users: list[int] = []
        self.groups: dict[tuple[int, str], GroupStack] = {}

    @property
    def is_used(self) -> bool:
        """Whether any sequence's adapter is here."""
        return self.num_used > 0

    @property
    def num_used(self) -> int:
        """Places whose adapters sequences use."""
        return sum(users > 0 for users in self._users)

    @property
    def num_places(self) -> int:
        """Places that there is memory for."""
        return len(self._tensors[0]) if self._tensors else 0

    def has_room_for(self, adapter_id: AdapterId) -> bool:
        """Whether an adapter has a place, or finds one without more memory."""
        return adapter_id in self._ids or self.num_used < self.num_places

    def shrink(self) -> dict[int, int]:
        """Give back the places that nobody uses, and say where each of the others has gone."""
        kept = [place for place, users in enumerate(self._users) if users]
        self._tensors = [tensor[kept] for tensor in self._tensors]
        self._ids = [self._ids[place] for place in kept]
        self._users = [self._users[place] for place in kept]
        self.groups = dict(_groups(self._parts, self._tensors, self._config))
        return {old: new for new, old in enumerate(kept)}

    def put(self, adapter_id: AdapterId, parts: list[Tensor]) -> int:
        """Return an adapter's place for one more user; copy the adapter there if it is not."""
        if adapter_id in self._ids:
            place = self._ids.index(adapter_id)
        else:
            place = self._users.index(0) if 0 in self._users else self._add_place()
            torch._foreach_copy_([tensor[place] for tensor in self._tensors], parts)
            self._ids[place] = adapter_id
        self._users[place] += 1
        return place

    def drop(self, place: int) -> None:
        """Take one user away."""
        self._users[place] -= 1

    def forget(self, adapter_id: AdapterId) -> None:
        """Let nobody find an adapter here again: its id may come back with other numbers."""
        if adapter_id in self._ids:
            self._ids[self._ids.index(adapter_id)] = None

    def _add_place(self) -> int:
        """Twice the memory where there is no place left: untouched pages cost nothing on the CPU."""
        place = len(self._ids)
        if place == self.num_places:
            self._lay_out(max(1, 2 * place))
        self._ids.append(None)
        self._users.append(0)
        return place

    def _lay_out(self, num_places: int) -> None:
        device, dtype = self._placement
        before = self._tensors
        self._tensors = [torch.empty((num_places, *part.size), device=device, dtype=dtype) for part in self._parts]
        for tensor, old in zip(self._tensors, before, strict=False):
            tensor[: len(old)] = old
        self.groups = dict(_groups(self._parts, self._tensors, self._config))


def _groups(
    parts: tuple[Part, ...], tensors: list[Tensor], config: DecoderConfig
) -> Iterator[tuple[tuple[int, str], GroupStack]]:
    pairs = zip(parts, tensors, strict=True)
    for place, members in groupby(pairs, key=lambda pair: (pair[0].layer, pair[0].group)):
        (_, a), *rest = members
        scales = {part.module: tensor.unsqueeze(1) for part, tensor in rest if part.is_scale}
        maps, rank = [], 0
        for part, b in rest:
            if part.module and not part.is_scale:
                ranks = slice(rank, rank + b.shape[1])
                maps.append(MapStack(columns_of(part.module, config), ranks, b, scales.get(part.module)))
                rank = ranks.stop
        yield place, GroupStack(a, tuple(maps))
