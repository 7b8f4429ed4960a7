"""The memory of the largest step, measured on the card before the KV cache is sized."""

from dataclasses import replace

import torch

from openledger_node.backends.torch_lora.adapter_blob import AdapterBlob, Site, num_numbers
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.weights import Weights
from openledger_node.engine.backend import BLOCK_TOKENS, BackendSettings, BatchRow, Draw
from openledger_node.engine.memory_plan import CONTEXT_BYTES, GRAPHS_BYTES
from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

from .arena import Arena
from .decoder import empty_cache
from .forward import KNOWN_MAX, Forward
from .graph import plain
from .step import BUCKETS
from .tapping import read_taps

MARGIN_PERCENT = 110
"""Blocks of torch's allocator are not always where the next step can use them."""

GREEDY = SamplingParams(max_tokens=1, seed=0, temperature=0)

LOGIT_BYTES = 4
"""Of a logit in float32, which is what two graphs of a bucket do not share."""

NOBODYS = AdapterId("worst step")
"""An adapter of zeros, which every row has."""


def worst_step_bytes(
    settings: BackendSettings,
    config: DecoderConfig,
    weights: Weights,
    arena: Arena,
    placement: Placement,
    *,
    context_max: int,
) -> int:
    """Run the longest prompt piece beside a full batch or in a replay, and a full batch alone, which a graph keeps.

    All of these are tapped, which takes more, and a tapped batch has a graph of its own beside that of others.
    What a pass keeps for good counts too: rotary tables, and room to merge the splits of attention.
    This also compiles the kernels for the base's shapes, those of adapters too, so that no request waits for it.
    """
    cache = empty_cache(config, 1, placement)
    before = torch.cuda.memory_allocated(placement.device)
    forward = Forward(
        config.within(context_max),
        weights,
        arena,
        cache=cache,
        context_max=context_max,
        batch_max=settings.batch_max,
        capture=plain,
    )
    kept_bytes = torch.cuda.memory_allocated(placement.device) - before
    decoding, mixed = worst_rows(settings, context_max)
    shape = (Site(0, next(iter(config.site_dims)), 1, False),)
    arena.load(NOBODYS, AdapterBlob(shape=shape, memory=torch.zeros(num_numbers(shape, config))))
    for row in mixed:
        forward.join(row.sequence_id, NOBODYS)
    graphed = decoding[: BUCKETS[-1]]
    forward.run((replace(mixed[0], token_ids=(0, 0), position=context_max - 2),))  # attention has few tokens apart
    num_known = min(KNOWN_MAX, len(mixed[0].token_ids))
    largest = max(_peak_bytes(forward, arena, mixed), _peak_bytes(forward, arena, mixed[:1], num_known=num_known))
    step_bytes = largest + _peak_bytes(forward, arena, graphed) + len(graphed) * config.vocab_size * LOGIT_BYTES
    arena.unload(NOBODYS)
    return GRAPHS_BYTES + kept_bytes + step_bytes * MARGIN_PERCENT // 100


def worst_rows(settings: BackendSettings, context_max: int) -> tuple[tuple[BatchRow, ...], tuple[BatchRow, ...]]:
    """A full batch at the end of its context, and the same with one row that brings the longest prompt piece."""
    blocks = (0,) * -(-context_max // BLOCK_TOKENS)
    draw = Draw(sampling=GREEDY, position=context_max, is_tapped=True)

    def row(number: int, num_tokens: int) -> BatchRow:
        ids, position = (0,) * num_tokens, context_max - num_tokens
        return BatchRow(sequence_id=str(number), token_ids=ids, position=position, blocks=blocks, draw=draw)

    decoding = tuple(row(number, 1) for number in range(settings.batch_max))
    prompt = row(0, max(2, min(settings.prefill_tokens_max, context_max)))
    return decoding, (prompt, *decoding[1:])


def _peak_bytes(forward: Forward, arena: Arena, rows: tuple[BatchRow, ...], *, num_known: int = 1) -> int:
    """The most memory that a step takes besides what was there before it."""
    device = forward.decoder.device
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    read_taps(forward.run(rows, num_known=num_known), lambda _: arena.ranks_of(NOBODYS))
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def free_bytes(device: torch.device, cap_bytes: int) -> int:
    """The memory that this process may still take; `cap_bytes`: of the owner, 0 for none."""
    torch.cuda.empty_cache()  # else the memory that was freed counts as taken
    free = torch.cuda.mem_get_info(device)[0]
    if not cap_bytes:
        return free
    return min(free, cap_bytes - CONTEXT_BYTES - torch.cuda.memory_reserved(device))
