"""Grouped LoRA on the interpreter against the torch backend's products in float32."""

from dataclasses import replace
from itertools import groupby, pairwise

import pytest
import torch
from torch import Tensor

from openledger_node.backends.cuda.arena import Arena
from openledger_node.backends.cuda.kernels import lora
from openledger_node.backends.torch_lora.adapter_blob import AdapterBlob, Shape, Site, num_numbers
from openledger_node.backends.torch_lora.lora import LoraStacks, by_place, plan_prompts
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.selfcheck import CONFIG
from openledger_node.engine.backend import BatchRow
from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.primitives import AdapterId

CPU = torch.device("cpu")
FORMATS = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""The largest error of a product by its format, as a share of the largest number: half a unit of its last place."""

BASE = replace(CONFIG, d_model=144, d_mlp=160, head_dim=24, num_kv_heads=2)

MIXED: dict[str, Shape] = {
    "one": (Site(0, "q_proj", 1, False), Site(0, "v_proj", 1, False)),
    "wide": tuple(Site(0, module, 256, False) for module in ("q_proj", "k_proj", "v_proj")),
    "odd": (Site(0, "k_proj", 5, True), Site(0, "v_proj", 33, False), Site(1, "q_proj", 2, False)),
    "dora": (Site(0, "q_proj", 16, True), Site(0, "k_proj", 8, True), Site(0, "v_proj", 3, True)),
    "elsewhere": (Site(1, "q_proj", 4, False), Site(0, "down_proj", 7, True)),
}
COUNTS = {"one": 1, "wide": 3, "odd": 33, "dora": 16, "elsewhere": 2, "": 4}
"""Rows in the batch by adapter; "" is the bare base."""


def random_blob(shape: Shape, config: DecoderConfig, seed: int) -> AdapterBlob:
    memory = torch.randn(num_numbers(shape, config), generator=torch.Generator().manual_seed(seed))
    return AdapterBlob(shape=shape, memory=memory * 0.2)


class Both:
    """One batch for the kernels and for the oracle, which gets the same rounded numbers in float32."""

    def __init__(
        self, shapes: dict[str, Shape], counts: dict[str, int], dtype: torch.dtype, config: DecoderConfig = BASE
    ) -> None:
        self.config, self.dtype = config, dtype
        numbers = sum(num_numbers(shape, config) for shape in shapes.values())
        self.arena = Arena(config, Placement(CPU, dtype), num_bytes=8 * numbers, num_slots=64)
        self.stacks = LoraStacks(config, Placement(CPU, torch.float32))
        for seed, (name, shape) in enumerate(shapes.items()):
            blob = random_blob(shape, config, seed)
            blob = AdapterBlob(shape=shape, memory=blob.memory.to(dtype))
            self.arena.load(AdapterId(name), blob)
            self.stacks.load(AdapterId(name), blob)
        for name in counts:
            self.stacks.join(name, AdapterId(name) if name else None)
        rows = (BatchRow(sequence_id=name, token_ids=(0,) * count, position=0) for name, count in counts.items())
        self.rows = by_place(rows, self.stacks)
        self.num_tokens = sum(counts.values())
        self.segments = self.segments_of(self.rows)

    def segments_of(self, rows: list[BatchRow]) -> Tensor:
        found, row = [], 0
        for name, members in groupby(rows, key=lambda each: each.sequence_id):
            end = row + sum(len(each.token_ids) for each in members)
            if name:
                slot = self.arena.slot_of(AdapterId(name))
                steps = range(row, end, lora.SEGMENT_ROWS)
                found += [(first, min(first + lora.SEGMENT_ROWS, end), slot) for first in steps]
            row = end
        return torch.tensor([*found, (0, 0, 0), (5, 3, 1)], dtype=torch.int32)  # a bucket has empty places

    def inputs(self, group: str, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """x (tokens, d_in), y (tokens, Σ d_out), bias (Σ d_out,)."""
        dims = [self.config.site_dims[module] for module in self.config.groups[group]]
        torch.manual_seed(seed)
        d_in, d_out = dims[0][0], sum(width for _, width in dims)
        sizes = ((self.num_tokens, d_in), (self.num_tokens, d_out), (d_out,))
        x, y, bias = (torch.randn(size).to(self.dtype) for size in sizes)
        return x, y, bias

    def columns(self, group: str) -> list[slice]:
        ends = [0]
        for module in self.config.groups[group]:
            ends.append(ends[-1] + self.config.site_dims[module][1])
        return [slice(*pair) for pair in pairwise(ends)]

    def found(self, x: Tensor, y: Tensor, bias: Tensor | None, layer: int, group: str) -> Tensor:
        y = y.clone()
        s = torch.full((lora.scratch_numbers(len(x)),), float("nan"))
        lora.shrink(x, self.arena, self.segments, s, layer, group)
        lora.expand(s, self.arena, self.segments, y, layer, group, columns=self.columns(group), bias=bias)
        return y

    def wanted(self, x: Tensor, y: Tensor, bias: Tensor | None, layer: int, group: str) -> Tensor:
        outputs = y.float().clone()
        for rows in plan_prompts(self.rows, 0, self.stacks):
            rows.add(layer, group, x.float(), outputs, None if bias is None else bias.float())
        return outputs

    def error(self, layer: int, group: str, *, has_bias: bool = True) -> float:
        x, y, bias = self.inputs(group)
        own = bias if has_bias else None
        wanted = self.wanted(x, y, own, layer, group)
        return float((self.found(x, y, own, layer, group).float() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_a_mix_of_ranks_maps_and_rows_equals_the_oracle(dtype: torch.dtype) -> None:
    both = Both(MIXED, COUNTS, dtype)
    error = both.error(0, "qkv")
    print(f"{dtype}: {error:.1e}")
    assert error < FORMATS[dtype]
