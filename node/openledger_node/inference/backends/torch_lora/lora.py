"""Adapters on the device, and the stacks that let every row of a batch have its own.

An adapter is copied into its sequence's slot of the stacks once, when the sequence joins; a decode step then
multiplies the whole batch by two batched products a site, with no gather and no loop over adapters.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from openledger_node.inference.decoder_config import DecoderConfig, check_fits
from openledger_node.inference.peft_format import WEIGHTS_FILE, LoraSite, read_layout
from openledger_protocol.errors import AdapterRefusedError

from .placement import Placement

GROUPS: dict[str, tuple[str, ...]] = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "o": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}
"""Linear maps that read the same input share one product with their stacked A matrices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraPair:
    """One site's matrices; scaling is folded into `b`."""

    a: Tensor  # (rank, d_in)
    b: Tensor  # (d_out, rank)


Adapter = dict[tuple[int, str], LoraPair]
"""(layer, module) → its pair; a site that the adapter leaves alone is absent."""


def load_adapter(folder: Path, config: DecoderConfig, placement: Placement) -> Adapter:
    """Load a PEFT adapter at its exact ranks.

    Raises:
        AdapterRefusedError: it does not fit the base, or holds a number that is not finite.
    """
    layout = read_layout(folder)
    check_fits(layout, config)
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            return {(site.layer, site.module): _load_pair(file, site, placement) for site in layout.sites}
    except SafetensorError as error:
        raise AdapterRefusedError(f"{folder / WEIGHTS_FILE}: {error}") from error


def _load_pair(file: safe_open, site: LoraSite, placement: Placement) -> LoraPair:
    a, b = (file.get_tensor(key).float() for key in (site.key_a, site.key_b))  # type: ignore[no-untyped-call]
    pair = LoraPair(a=a.to(*placement), b=(b * site.scaling).to(*placement))
    if not (pair.a.isfinite().all() and pair.b.isfinite().all()):
        raise AdapterRefusedError(f"layers.{site.layer}.{site.module} holds a number that is not finite")
    return pair


class LoraStacks:
    """One slot a joined sequence; a slot without adapter, or a site it leaves alone, is zero and adds nothing."""

    def __init__(self, config: DecoderConfig, *, slots: int, placement: Placement) -> None:
        self._config = config
        self._slots = slots
        self._placement = placement
        self._rank = 0  # of every slot: the largest of those that are joined
        self._a: dict[tuple[int, str], Tensor] = {}  # (layer, group) → (slots, maps · rank, d_in)
        self._b: dict[tuple[int, str], Tensor] = {}  # (layer, module) → (slots, d_out, rank)
        self._is_zero = [True] * slots
        self.adapters: list[Adapter | None] = [None] * slots

    def put(self, slot: int, adapter: Adapter | None) -> None:
        """Copy an adapter into a slot; None leaves it to the bare base."""
        self.adapters[slot] = adapter
        rank = max(map(_rank_of, filter(None, self.adapters)), default=0)
        if rank > self._rank or rank * 2 <= self._rank:  # room for the larger, and no bill for one that has left
            self._resize(rank)
        else:
            self._fill(slot)

    def move(self, source: int, target: int) -> None:
        """Copy one slot over another and empty it."""
        if not (self._is_zero[source] and self._is_zero[target]):
            for stack in (*self._a.values(), *self._b.values()):
                stack[target] = stack[source]
        self.adapters[target], self._is_zero[target] = self.adapters[source], self._is_zero[source]
        self.put(source, None)

    def add_decoded(self, layer: int, group: str, inputs: Tensor, outputs: Tensor, slots: Tensor | slice) -> None:
        """Add to `outputs` (rows, Σ d_out) what each row's own adapter makes of its `inputs` (rows, d_in)."""
        shrunk = torch.bmm(self._a[layer, group][slots], inputs.unsqueeze(2))  # (rows, maps · rank, 1)
        first = 0
        for number, module in enumerate(GROUPS[group]):
            b = self._b[layer, module][slots]
            part = shrunk[:, number * self._rank : (number + 1) * self._rank]
            outputs[:, first : first + b.shape[1]] += torch.bmm(b, part).squeeze(2)
            first += b.shape[1]

    def add_prefilled(self, layer: int, group: str, inputs: Tensor, outputs: Tensor, slot: int) -> None:
        """Add the same for many tokens of one sequence, at its adapter's exact ranks."""
        adapter = self.adapters[slot] or {}
        first = 0
        for module in GROUPS[group]:
            d_out = self._config.site_dims[module][1]
            if pair := adapter.get((layer, module)):
                outputs[:, first : first + d_out] += (inputs @ pair.a.T) @ pair.b.T
            first += d_out

    def _place(self, module: str) -> tuple[str, int]:
        """The group of a module, and its first row in the group's stacked A."""
        group = next(name for name, modules in GROUPS.items() if module in modules)
        return group, GROUPS[group].index(module) * self._rank

    def _resize(self, rank: int) -> None:
        """Lay out all stacks for another rank and fill every slot again."""
        self._rank = rank
        self._a.clear()
        self._b.clear()
        self._is_zero = [True] * self._slots
        dims = self._config.site_dims
        for layer in range(self._config.num_layers if rank else 0):
            for group, modules in GROUPS.items():
                self._a[layer, group] = self._zeros(len(modules) * rank, dims[modules[0]][0])
                for module in modules:
                    self._b[layer, module] = self._zeros(dims[module][1], rank)
        for slot in range(self._slots):
            self._fill(slot)

    def _fill(self, slot: int) -> None:
        """Make a slot's part of the stacks what its adapter says."""
        if not self._is_zero[slot]:
            for stack in (*self._a.values(), *self._b.values()):
                stack[slot] = 0
        adapter = self.adapters[slot]
        self._is_zero[slot] = adapter is None
        for (layer, module), pair in (adapter or {}).items():
            group, start = self._place(module)
            rank = pair.a.shape[0]
            self._a[layer, group][slot, start : start + rank] = pair.a
            self._b[layer, module][slot, :, :rank] = pair.b

    def _zeros(self, rows: int, columns: int) -> Tensor:
        placement = self._placement
        return torch.zeros((self._slots, rows, columns), device=placement.device, dtype=placement.dtype)


def _rank_of(adapter: Adapter) -> int:
    return max(pair.a.shape[0] for pair in adapter.values())
