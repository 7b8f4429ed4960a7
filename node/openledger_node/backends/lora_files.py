"""The numbers of an adapter, read from PEFT's files in float32."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from openledger_node.models.adapter_files.layout import WEIGHTS_FILE, LoraLayout, LoraSite, read_layout
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.errors import AdapterRefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteNumbers:
    """One changed linear map: W + b a replaces W, and DoRA then scales each row to the length in `magnitude`."""

    site: LoraSite
    a: Tensor  # (rank, d_in)
    b: Tensor  # (d_out, rank); the scaling is folded in
    magnitude: Tensor | None  # (d_out,)


def read_numbers(source: AdapterSource, check: Callable[[LoraLayout], None]) -> list[SiteNumbers]:
    """Read every site of an adapter.

    Raises:
        AdapterRefusedError: `check` refuses the adapter, or a number is not finite.
    """
    file = Path(source.folder) / WEIGHTS_FILE
    layout = read_layout(file.parent)
    check(layout)
    try:
        with safe_open(file, framework="pt") as tensors:
            return [_read_site(tensors, site) for site in layout.sites]
    except (SafetensorError, OSError) as error:
        raise AdapterRefusedError(f"{file}: {error}") from error


def narrowed(numbers: Tensor, dtype: torch.dtype, where: str) -> Tensor:
    """Convert numbers to the serving format.

    Raises:
        AdapterRefusedError: one of them is not finite, or overflows in that format.
    """
    served = numbers.to(dtype)
    if not served.isfinite().all():
        raise AdapterRefusedError(f"{where} holds a number that is not finite")
    return served


def dora_scale(numbers: SiteNumbers, weight: Tensor) -> Tensor | None:
    """DoRA's factor for each row of W + b a, (d_out,) in float32; None for plain LoRA.

    `weight` is W in float32, (d_out, d_in).
    """
    if numbers.magnitude is None:
        return None
    lengths: Tensor = torch.linalg.vector_norm(weight + numbers.b @ numbers.a, dim=1)
    return numbers.magnitude / lengths


def _read_site(file: safe_open, site: LoraSite) -> SiteNumbers:
    def read(key: str) -> Tensor:
        tensor: Tensor = file.get_tensor(key)  # type: ignore[no-untyped-call]
        return narrowed(tensor, torch.float32, site.path)

    return SiteNumbers(
        site=site,
        a=read(site.key_a),
        b=read(site.key_b) * site.scaling,
        magnitude=read(site.key_magnitude) if site.key_magnitude else None,
    )
