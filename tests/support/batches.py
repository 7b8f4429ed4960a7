"""Batches that a backend answers as the engine would drive it: prompts in chunks, then a token of each a step."""

from collections.abc import Iterable
from pathlib import Path

from openledger_node.engine.backend import BLOCK_TOKENS, Backend, BatchRow, Draw
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

GREEDY = SamplingParams(max_tokens=100, seed=1, temperature=0)
TABLE_BLOCKS = 8  # for 128 tokens

Orders = dict[str, tuple[tuple[int, ...], AdapterId | None]]
Tables = dict[str, tuple[int, ...]]


def source_of(root: Path, adapter_id: AdapterId) -> AdapterSource:
    return AdapterSource(id=adapter_id, folder=str(root / adapter_id))


def load(backend: Backend, source: AdapterSource) -> None:
    backend.load_adapter(source.id, backend.read_adapter(source))


def drawing(row_end: int, sampling: SamplingParams = GREEDY) -> Draw:
    return Draw(sampling=sampling, position=row_end)


def separate_tables(names: Iterable[str]) -> Tables:
    """A block table of its own for each sequence."""
    firsts = {name: number * TABLE_BLOCKS for number, name in enumerate(names)}
    return {name: tuple(range(first, first + TABLE_BLOCKS)) for name, first in firsts.items()}


def generate(
    backend: Backend,
    orders: Orders,
    *,
    count: int = 8,
    chunk: int = 1000,
    sampling: SamplingParams = GREEDY,
    tables: Tables | None = None,
    seen: dict[str, int] | None = None,
) -> dict[str, list[int]]:
    """Run prompts together, in chunks, then decode `count` tokens of each; `seen` of a prompt is cached already."""
    tables = tables or separate_tables(orders)
    tokens = {name: list(prompt) for name, (prompt, _) in orders.items()}
    seen = {**dict.fromkeys(orders, 0), **(seen or {})}
    for name, (_, adapter_id) in orders.items():
        backend.join(name, adapter_id)
    drawn: dict[str, list[int]] = {name: [] for name in orders}
    while any(len(ids) < count for ids in drawn.values()):
        rows = []
        for name, ids in tokens.items():
            part = tuple(ids[seen[name] : seen[name] + chunk])
            end = seen[name] + len(part)
            blocks = tables[name][: -(-end // BLOCK_TOKENS)]
            draw = drawing(end, sampling) if end == len(ids) else None
            rows.append(BatchRow(sequence_id=name, token_ids=part, position=seen[name], blocks=blocks, draw=draw))
            seen[name] = end
        for name, found in backend.step(tuple(rows)).items():
            tokens[name].append(found.token)
            drawn[name].append(found.token)
    for name in orders:
        backend.leave(name)
    return {name: ids[:count] for name, ids in drawn.items()}
