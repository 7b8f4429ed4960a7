"""Rows on a backend whose tokens a server draws, and the starts of the server's own program."""

import json
from pathlib import Path
from typing import Any

from openledger_node.engine.backend import Backend, BatchRow, Draw, Drawn
from openledger_protocol.inference import SamplingParams

GREEDY = SamplingParams(max_tokens=100, seed=1, temperature=0)
EVERY = SamplingParams(
    max_tokens=9, seed=2**64 - 1, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, repetition_penalty=1.2, logprobs=2
)
PROMPT = (5, 6, 7)


def row(name: str, ids: tuple[int, ...], position: int = 0, *, payer: str = "", **how: Any) -> BatchRow:
    draw = Draw(sampling=how.pop("sampling", GREEDY), position=position + len(ids), **how)
    return BatchRow(sequence_id=name, token_ids=ids, position=position, draw=draw, payer=payer)


def run(backend: Backend, ids: tuple[int, ...] = PROMPT, position: int = 0, **how: Any) -> Drawn:
    """The next token of the sequence `s`."""
    return backend.step((row("s", ids, position, **how),))["s"]


def decode(backend: Backend, count: int, **how: Any) -> list[int]:
    ids, position, drawn = PROMPT, 0, []
    for _ in range(count):
        drawn.append(run(backend, ids, position, **how).token)
        ids, position = (drawn[-1],), position + len(ids)
    return drawn


def starts_in(note: Path) -> list[tuple[int, list[str]]]:
    """The process and the arguments of every start so far."""
    return [(number, words) for number, words in map(json.loads, note.read_text().splitlines())]


def has_ended(process_id: int) -> bool:
    """True of a process that is gone, or that nobody has waited for yet."""
    state = Path(f"/proc/{process_id}/stat")
    return not state.exists() or state.read_text().rpartition(") ")[2][0] == "Z"
