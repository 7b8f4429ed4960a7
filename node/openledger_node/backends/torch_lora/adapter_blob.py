"""An adapter as one piece of memory: its concatenated matrices at their exact ranks, ready to multiply."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from openledger_node.models.adapter_files.layout import LoraSite
from openledger_node.models.decoder_config import DecoderConfig


class Site(NamedTuple):
    """One changed linear map of one layer."""

    layer: int
    module: str
    rank: int
    is_dora: bool


Shape = tuple[Site, ...]
"""The linear maps that an adapter changes, with their ranks; adapters of one shape are multiplied together."""


class Part(NamedTuple):
    """One tensor of a blob: A of a group (d_in, Σ rank), B of a map (rank, d_out), or DoRA's scale − 1 (d_out,)."""

    layer: int
    group: str
    module: str | None  # None: the group's A
    size: tuple[int, ...]

    @property
    def is_scale(self) -> bool:
        """True for DoRA's vector."""
        return len(self.size) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterBlob:
    """One adapter, on the host or on the device."""

    shape: Shape
    memory: Tensor  # (numbers,) all parts in the order of `parts_of`

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""
        return self.memory.numel() * self.memory.itemsize


def shape_of(sites: tuple[LoraSite, ...]) -> Shape:
    """The shape of an adapter that was checked against the base."""
    return tuple(
        sorted(Site(site.layer or 0, site.module, site.rank, site.key_magnitude is not None) for site in sites)
    )


def parts_of(shape: Shape, config: DecoderConfig) -> Iterator[Part]:
    """Yield every part of a blob in its order."""
    sites = {(site.layer, site.module): site for site in shape}
    dims = config.site_dims
    for layer in sorted({site.layer for site in shape}):
        for group, modules in config.groups.items():
            changed = [sites[layer, module] for module in modules if (layer, module) in sites]
            if changed:
                yield Part(layer, group, None, (dims[modules[0]][0], sum(site.rank for site in changed)))
            for site in changed:
                yield Part(layer, group, site.module, (site.rank, dims[site.module][1]))
                if site.is_dora:
                    yield Part(layer, group, site.module, (dims[site.module][1],))


def columns_of(module: str, config: DecoderConfig) -> slice:
    """The columns of a linear map's output within the output of its fused group."""
    modules = next(modules for modules in config.groups.values() if module in modules)
    widths = [config.site_dims[name][1] for name in modules]
    first = sum(widths[: modules.index(module)])
    return slice(first, first + widths[modules.index(module)])


def views_of(memory: Tensor, shape: Shape, config: DecoderConfig) -> list[Tensor]:
    """Views of a blob's memory, one tensor a part."""
    sizes = [part.size for part in parts_of(shape, config)]
    pieces = torch.split(memory, [prod(size) for size in sizes])
    return [piece.view(size) for piece, size in zip(pieces, sizes, strict=True)]


def num_numbers(shape: Shape, config: DecoderConfig) -> int:
    """The number of elements of a blob."""
    return sum(prod(part.size) for part in parts_of(shape, config))


def empty_blob(shape: Shape, config: DecoderConfig, dtype: torch.dtype) -> AdapterBlob:
    """A blob on the host with uninitialised numbers."""
    return AdapterBlob(shape=shape, memory=torch.empty(num_numbers(shape, config), dtype=dtype))
