"""Grouped LoRA on the interpreter against the torch backend's products in float32."""

from dataclasses import replace
from itertools import groupby, pairwise

import pytest
import torch
from torch import Tensor

from openledger_node.backends.cuda.arena import RANKS_MAX, Arena
from openledger_node.backends.cuda.kernels import lora
from openledger_node.backends.cuda.step import SEGMENT_ROWS
from openledger_node.backends.torch_lora.adapter_blob import AdapterBlob, Shape, Site, num_numbers, views_of
from openledger_node.backends.torch_lora.lora import LoraStacks, by_place, plan_prompts
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.selfcheck import CONFIG
from openledger_node.engine.backend import BatchRow
from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.primitives import AdapterId

CPU = torch.device("cpu")
FORMATS = {torch.float32: 2e-6, torch.float16: 6e-4, torch.bfloat16: 4e-3}
"""The largest error by format, as a share of the largest number: rounding, or a sum in another order."""

BASE = replace(CONFIG, d_model=80, d_mlp=1040, num_heads=2, head_dim=24, num_kv_heads=1)

MIXED: dict[str, Shape] = {
    "one": (Site(0, "q_proj", 1, False), Site(0, "v_proj", 1, False)),
    "wide": (Site(0, "q_proj", 256, False), Site(0, "v_proj", 64, True)),
    "odd": (Site(0, "k_proj", 5, True), Site(0, "v_proj", 33, False), Site(1, "q_proj", 2, False)),
    "dora": (Site(0, "q_proj", 16, True), Site(0, "k_proj", 8, True), Site(0, "v_proj", 3, True)),
    "elsewhere": (Site(0, "down_proj", 7, True), Site(1, "q_proj", 4, False)),
}
COUNTS = {"one": 1, "wide": 3, "odd": 18, "dora": 16, "elsewhere": 2, "": 4}
"""Rows in the batch by adapter; "" is the bare base."""


class Both:
    """One batch for the kernels and for the oracle, which gets the same rounded numbers in float32."""

    def __init__(
        self, shapes: dict[str, Shape], counts: dict[str, int], dtype: torch.dtype, config: DecoderConfig = BASE
    ) -> None:
        self.config, self.dtype = config, dtype
        numbers = sum(num_numbers(shape, config) for shape in shapes.values())
        self.arena = Arena(config, Placement(CPU, dtype), num_bytes=8 * numbers, num_slots=64)
        self.arena.memory.fill_(float("nan"))  # nothing but adapters may be read
        self.stacks = LoraStacks(config, Placement(CPU, torch.float32))
        for seed, (name, shape) in enumerate(shapes.items()):
            memory = torch.randn(num_numbers(shape, config), generator=torch.Generator().manual_seed(seed)) * 0.2
            blob = AdapterBlob(shape=shape, memory=memory.to(dtype))
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
                steps = range(row, end, SEGMENT_ROWS)
                found += [(first, min(first + SEGMENT_ROWS, end), slot) for first in steps]
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
    assert Both(MIXED, COUNTS, dtype).error(0, "qkv") < FORMATS[dtype]


LAYERS = {
    "one map": (BASE, "o", {"a": (Site(0, "o_proj", 16, False),), "b": (Site(0, "o_proj", 3, True),)}),
    "two maps": (BASE, "gate_up", {"a": (Site(0, "up_proj", 9, True),), "b": (Site(0, "gate_proj", 2, False),)}),
    "pieces of several steps": (BASE, "down", {"a": (Site(0, "down_proj", 40, False),)}),
    "a later layer": (BASE, "qkv", {"a": (Site(1, "k_proj", 4, False),)}),
    "maps that the base fused": (replace(BASE, is_fused=True), "qkv", {"a": (Site(0, "qkv_proj", 20, True),)}),
}


@pytest.mark.parametrize("case", LAYERS)
def test_every_fused_map_equals_the_oracle(case: str) -> None:
    config, group, shapes = LAYERS[case]
    both = Both(shapes, dict.fromkeys([*shapes, ""], 2), torch.float32, config)
    layer = max(site.layer for site in shapes["a"])
    assert both.error(layer, group, has_bias=case in ("one map", "two maps")) < 1e-6


def test_rows_without_an_adapter_here_keep_every_bit() -> None:
    both = Both(MIXED, {"one": 1, "elsewhere": 2, "": 4}, torch.bfloat16)
    x, y, bias = both.inputs("o")  # no adapter changes it
    assert torch.equal(both.found(x, y, bias, 0, "o"), y)
    x, y, bias = both.inputs("qkv")
    is_same = (both.found(x, y, bias, 0, "qkv") == y).all(dim=1)
    names = [each.sequence_id for each in both.rows for _ in each.token_ids]
    assert is_same.tolist() == [name != "one" for name in names]


def test_a_row_has_the_same_bits_alone_as_in_a_batch() -> None:
    many, one = Both(MIXED, COUNTS, torch.float16), Both(MIXED, {"odd": 1}, torch.float16)
    x, y, bias = many.inputs("qkv")
    found = many.found(x, y, bias, 0, "qkv")
    row = next(first for first, _, slot in many.segments.tolist() if slot == many.arena.slot_of(AdapterId("odd")))
    for at in (row, row + 17):  # in the first segment, and in the second
        alone = one.found(x[at : at + 1], y[at : at + 1], bias, 0, "qkv")
        assert torch.equal(found[at], alone[0])


def test_pieces_have_the_same_sum_in_a_loop_as_in_programs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both({"a": (Site(0, "down_proj", 5, False),)}, {"a": 3}, torch.float32)
    x, y, _ = both.inputs("down")
    apart = both.found(x, y, None, 0, "down")
    monkeypatch.setattr(lora, "SPLIT_TOKENS_MAX", 2)
    assert torch.equal(both.found(x, y, None, 0, "down"), apart)


def test_the_low_rank_products_of_a_site_can_be_read() -> None:
    shape = (Site(0, "k_proj", 3, False), Site(0, "v_proj", 5, False))
    both = Both({"a": shape}, {"": 2, "a": 3}, torch.float32)
    x, _, _ = both.inputs("qkv")
    s = torch.empty(lora.scratch_numbers(len(x)))
    lora.shrink(x, both.arena, both.segments, s, 0, "qkv")
    a = views_of(both.stacks.blob(AdapterId("a")).memory, shape, BASE)[0]  # (d_in, Σ rank)
    at = torch.tensor([4, 2], dtype=torch.int32)
    found = torch.empty(len(at), RANKS_MAX)
    lora.products(s, x, at, found)
    assert torch.allclose(found[:, :8], x[at] @ a, atol=1e-5)
