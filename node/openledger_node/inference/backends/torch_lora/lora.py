"""Each row's own adapter, added to the output of a fused linear map by a few batched products."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from openledger_node.inference.decoder_config import DecoderConfig
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from .adapter_blob import AdapterBlob, Shape, views_of
from .placement import Placement
from .stacks import MapStack, Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraRows:
    """Rows [first, last) of the token matrix, whose adapters lie side by side: places [start, stop) of a stack."""

    stack: Stack
    first: int
    last: int
    start: int
    stop: int
    padded: Tensor | None = None  # (places · most,) a row for each, repeated where a place has fewer than another
    kept: Tensor | None = None  # (last − first,) where in `padded` each row stands; both None: all have as many

    def add(self, layer: int, group: str, inputs: Tensor, outputs: Tensor, bias: Tensor | None) -> None:
        """Add to `outputs` (tokens, Σ d_out) what the adapters make of `inputs` (tokens, d_in), in place."""
        if (stack := self.stack.groups.get((layer, group))) is None:
            return
        places = slice(self.start, self.stop)
        shrunk = torch.bmm(self._take(inputs), stack.a[places])  # (places, most, Σ rank)
        target = self._take(outputs)
        for one in stack.maps:
            _add_map(one, places, shrunk, target[:, :, one.columns], None if bias is None else bias[one.columns])
        if self.kept is not None:
            outputs[self.first : self.last] = target.flatten(0, 1)[self.kept]

    def _take(self, rows: Tensor) -> Tensor:
        """(tokens, width) to (places, most, width): a view where every place has as many rows."""
        rows = rows[self.first : self.last] if self.padded is None else rows[self.padded]
        return rows.view(self.stop - self.start, -1, rows.shape[1])


def _add_map(one: MapStack, places: slice, shrunk: Tensor, target: Tensor, bias: Tensor | None) -> None:
    """DoRA scales Wx and s B A x alike, but not the bias; its scale is folded into B."""
    if one.scale_less_one is not None:
        plain = target if bias is None else target - bias
        target += plain * one.scale_less_one[places]
    target.baddbmm_(shrunk[:, :, one.ranks], one.b[places])


class Joined(NamedTuple):
    """Where a joined sequence's adapter lies."""

    adapter_id: AdapterId
    stack: Stack
    place: int


class LoraStacks:
    """Adapters on the device, the stacks of those in use, and where each joined sequence's adapter lies."""

    def __init__(self, config: DecoderConfig, placement: Placement) -> None:
        self._config = config
        self._placement = placement
        self._adapters: dict[AdapterId, AdapterBlob] = {}
        self._stacks: dict[Shape, Stack] = {}
        self._joined: dict[str, Joined | None] = {}

    def load(self, adapter_id: AdapterId, blob: AdapterBlob) -> None:
        """Bring an adapter to the device."""
        self._adapters[adapter_id] = AdapterBlob(shape=blob.shape, memory=blob.memory.to(*self._placement))

    def unload(self, adapter_id: AdapterId) -> None:
        """Free an adapter."""
        blob = self._adapters.pop(adapter_id)
        if stack := self._stacks.get(blob.shape):
            stack.forget(adapter_id)

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Give a sequence's adapter a place.

        Raises:
            AdapterRefusedError: it is not loaded.
        """
        if adapter_id is None:
            self._joined[sequence_id] = None
            return
        if (blob := self._adapters.get(adapter_id)) is None:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        stack = self._stack_for(blob.shape)
        if not stack.has_room_for(adapter_id):
            self._shrink_others(stack)
        place = stack.put(adapter_id, views_of(blob.memory, blob.shape, self._config))
        self._joined[sequence_id] = Joined(adapter_id, stack, place)

    def leave(self, sequence_id: str) -> None:
        """Free a sequence's part of a place."""
        if joined := self._joined.pop(sequence_id):
            joined.stack.drop(joined.place)

    def joined(self, sequence_id: str) -> Joined | None:
        """Where a sequence's adapter lies; None for the bare base."""
        return self._joined[sequence_id]

    def blob(self, adapter_id: AdapterId) -> AdapterBlob:
        """An adapter on the device."""
        return self._adapters[adapter_id]

    def _stack_for(self, shape: Shape) -> Stack:
        """A shape's stack; one for a new shape takes the memory of those that nobody uses any more."""
        if shape not in self._stacks:
            self._stacks = {known: stack for known, stack in self._stacks.items() if stack.is_used}
            self._stacks[shape] = Stack(shape, self._config, self._placement)
        return self._stacks[shape]

    def _shrink_others(self, growing: Stack) -> None:
        """Take back what other stacks have left of busier times, so that none has more than twice what it uses."""
        for stack in self._stacks.values():
            if stack is not growing and stack.num_places > 2 * stack.num_used:
                moved = stack.shrink()
                for sequence_id, joined in self._joined.items():
                    if joined and joined.stack is stack:
                        self._joined[sequence_id] = joined._replace(place=moved[joined.place])
