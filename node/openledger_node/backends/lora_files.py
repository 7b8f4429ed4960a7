"""The numbers of an adapter or a weighted set of adapters, read from PEFT's files in float32."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from openledger_node.models.adapter_files.layout import RANK_MAX, WEIGHTS_FILE, LoraLayout, LoraSite, read_layout
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.errors import AdapterRefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteNumbers:
    """One changed linear map: W + b a replaces W, and DoRA then scales each row to the length in `magnitude`."""

    site: LoraSite
    a: Tensor  # (rank, d_in)
    b: Tensor  # (d_out, rank); the scaling and the weight in a set are folded in
    magnitude: Tensor | None  # (d_out,)


def read_numbers(source: AdapterSource, check: Callable[[LoraLayout], None]) -> list[SiteNumbers]:
    """Read every site of an adapter; the ranks of a set's parts are concatenated.

    Raises:
        AdapterRefusedError: `check` refuses a part, a number is not finite, or a set contains DoRA.
    """
    by_path: dict[str, list[SiteNumbers]] = defaultdict(list)
    for part in source.parts:
        layout = read_layout(Path(part.folder))
        check(layout)
        if layout.is_dora and (len(source.parts) > 1 or part.weight != 1):
            raise AdapterRefusedError(
                f"{Path(part.folder).name} is a DoRA adapter: it sets the length of each row of a weight, so it does "
                "not add up with others and takes no weight; ask for it alone"
            )
        for numbers in _read_part(Path(part.folder), layout, part.weight):
            by_path[numbers.site.path].append(numbers)
    return [_side_by_side(numbers) for numbers in by_path.values()]


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


def _read_part(folder: Path, layout: LoraLayout, weight: float) -> list[SiteNumbers]:
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            return [_read_site(file, site, weight) for site in layout.sites]
    except (SafetensorError, OSError) as error:
        raise AdapterRefusedError(f"{folder / WEIGHTS_FILE}: {error}") from error


def _read_site(file: safe_open, site: LoraSite, weight: float) -> SiteNumbers:
    def read(key: str) -> Tensor:
        tensor: Tensor = file.get_tensor(key)  # type: ignore[no-untyped-call]
        return narrowed(tensor, torch.float32, site.path)

    return SiteNumbers(
        site=site,
        a=read(site.key_a),
        b=read(site.key_b) * (site.scaling * weight),
        magnitude=read(site.key_magnitude) if site.key_magnitude else None,
    )


def _side_by_side(parts: list[SiteNumbers]) -> SiteNumbers:
    if len(parts) == 1:
        return parts[0]
    rank = sum(part.site.rank for part in parts)
    if rank > RANK_MAX:
        raise AdapterRefusedError(f"{parts[0].site.path}: the ranks of this set add up to {rank}, over {RANK_MAX}")
    return SiteNumbers(
        site=replace(parts[0].site, rank=rank, scaling=1.0),
        a=torch.cat([part.a for part in parts]),
        b=torch.cat([part.b for part in parts], dim=1),
        magnitude=None,
    )
