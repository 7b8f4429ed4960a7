"""Batch-aligned stacks: the adapters of joined sequences are stored side by side, to be multiplied at once.

Adapters of one shape share a stack, at their exact ranks. An adapter is copied to its place once, when the first
sequence that uses it joins. It stays there after the last one has left, until another adapter needs the place.
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
from .tapping import residual_flags

_numbers = count()


class MapStack(NamedTuple):
    """One linear map's part of a group's stack."""

    columns: slice  # of the fused map's output
    ranks: slice  # of the group's A
    b: Tensor  # (places, rank, d_out); the scaling is folded in
    scale_less_one: Tensor | None  # (places, 1, d_out) of DoRA


class GroupStack(NamedTuple):
    """A stack's part for one fused linear map."""

    a: Tensor  # (places, d_in, Σ rank)
    maps: tuple[MapStack, ...]


class Stack:
    """The adapters of one shape that sequences use; place p of every tensor belongs to the same adapter."""

    def __init__(self, shape: Shape, config: DecoderConfig, placement: Placement) -> None:
        self.number = next(_numbers)  # rows are sorted by it
        self.shape = shape
        self._parts = tuple(parts_of(shape, config))
        self.is_residual = residual_flags(self._parts)  # (Σ rank of all maps,) for taps
        self._config = config
        self._placement = placement
        self._tensors: list[Tensor] = []
        self._ids: list[AdapterId | None] = []  # the adapter in each place, used or not
        self._users: list[int] = []
        self.groups: dict[tuple[int, str], GroupStack] = {}

    @property
    def is_used(self) -> bool:
        """True if any sequence uses an adapter of this stack."""
        return self.num_used > 0

    @property
    def num_used(self) -> int:
        """The number of places whose adapters sequences use."""
        return sum(users > 0 for users in self._users)

    @property
    def num_places(self) -> int:
        """The number of places with memory."""
        return len(self._tensors[0]) if self._tensors else 0

    def has_room_for(self, adapter_id: AdapterId) -> bool:
        """Return True if an adapter has a place, or can get one without more memory."""
        return adapter_id in self._ids or self.num_used < self.num_places

    def shrink(self) -> dict[int, int]:
        """Free unused places, and return the new place of each of the others."""
        kept = [place for place, users in enumerate(self._users) if users]
        self._tensors = [tensor[kept] for tensor in self._tensors]
        self._ids = [self._ids[place] for place in kept]
        self._users = [self._users[place] for place in kept]
        self.groups = dict(_groups(self._parts, self._tensors, self._config))
        return {old: new for new, old in enumerate(kept)}

    def put(self, adapter_id: AdapterId, parts: list[Tensor]) -> int:
        """Return an adapter's place for one more user; copy the adapter there if necessary."""
        if adapter_id in self._ids:
            place = self._ids.index(adapter_id)
        else:
            place = self._users.index(0) if 0 in self._users else self._add_place()
            torch._foreach_copy_([tensor[place] for tensor in self._tensors], parts)
            self._ids[place] = adapter_id
        self._users[place] += 1
        return place

    def drop(self, place: int) -> None:
        """Remove one user of a place."""
        self._users[place] -= 1

    def forget(self, adapter_id: AdapterId) -> None:
        """Forget an adapter's numbers, because its id may return with others."""
        if adapter_id in self._ids:
            self._ids[self._ids.index(adapter_id)] = None

    def _add_place(self) -> int:
        """Add a place, and double the memory if none is left; on the CPU untouched pages cost nothing."""
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
