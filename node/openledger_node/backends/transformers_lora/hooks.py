"""Adapters on the linear maps of any transformers model, by hooks on its modules."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from openledger_node.backends.lora_files import SiteNumbers, dora_scale, narrowed
from openledger_node.models.adapter_files.layout import LoraLayout
from openledger_protocol.errors import AdapterRefusedError

Hook = Callable[[nn.Module, tuple[Tensor], Tensor], Tensor | None]
"""Receives a module's input and output, and may return another output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookedSite:
    """One changed linear map: x a b is added to its output; the scaling is folded into `b`."""

    a: Tensor  # (d_in, rank)
    b: Tensor  # (rank, d_out)
    scale_less_one: Tensor | None  # (d_out,) of DoRA

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""
        parts = (self.a, self.b, *([] if self.scale_less_one is None else [self.scale_less_one]))
        return sum(part.numel() * part.itemsize for part in parts)

    def to(self, device: torch.device) -> "HookedSite":
        """A copy on another device."""
        scale = None if self.scale_less_one is None else self.scale_less_one.to(device)
        return HookedSite(a=self.a.to(device), b=self.b.to(device), scale_less_one=scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookedAdapter:
    """One adapter, by the paths of the modules that it changes."""

    sites: dict[str, HookedSite]

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""
        return sum(site.size_bytes for site in self.sites.values())


class LoraHooks:
    """Hooks on all linear maps of a model; they add the changes of the adapter in `active`, if any."""

    def __init__(self, model: nn.Module) -> None:
        self.active: HookedAdapter | None = None
        modules = model.named_modules()
        self._maps = {path: module for path, module in modules if isinstance(module, nn.Linear | Conv1D)}
        for path, module in self._maps.items():
            module.register_forward_hook(self._hook(path))

    def check_fits(self, layout: LoraLayout) -> None:
        """Compare the linear maps that an adapter changes with the model's.

        Raises:
            AdapterRefusedError: names the first place where they differ.
        """
        for site in layout.sites:
            if (module := self._maps.get(site.path)) is None:
                raise AdapterRefusedError(f"{site.path} is not served: the base has no such linear map")
            d_out, d_in = weight_of(module).shape
            if (site.d_in, site.d_out) != (d_in, d_out):
                raise AdapterRefusedError(
                    f"{site.path} maps {site.d_in} to {site.d_out}; in the base it maps {d_in} to {d_out}"
                )

    @torch.inference_mode()
    def adapter_from(self, numbers: list[SiteNumbers], dtype: torch.dtype) -> HookedAdapter:
        """Arrange an adapter's numbers for the hooks."""
        return HookedAdapter(sites={each.site.path: self._site(each, dtype) for each in numbers})

    def _site(self, numbers: SiteNumbers, dtype: torch.dtype) -> HookedSite:
        scale = dora_scale(numbers, weight_of(self._maps[numbers.site.path]).float().cpu())
        b = numbers.b.T if scale is None else numbers.b.T * scale
        path = numbers.site.path
        return HookedSite(
            a=narrowed(numbers.a.T.contiguous(), dtype, path),
            b=narrowed(b.contiguous(), dtype, path),
            scale_less_one=None if scale is None else narrowed(scale - 1, dtype, path),
        )

    def _hook(self, path: str) -> Hook:
        def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
            if self.active is None or (site := self.active.sites.get(path)) is None:
                return None
            if site.scale_less_one is not None:
                plain = output - module.bias if isinstance(module.bias, Tensor) else output
                output = output + plain * site.scale_less_one
            return output + inputs[0] @ site.a @ site.b

        return add


def weight_of(module: nn.Module) -> Tensor:
    """A linear map's matrix as (d_out, d_in); GPT-2 stores it transposed."""
    weight = module.weight
    assert isinstance(weight, Tensor), "a linear map has a matrix"
    return weight.T if isinstance(module, Conv1D) else weight
