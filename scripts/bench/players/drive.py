"""Our backend without scheduler, process or HTTP: chunked prompts, then one token of every row per step."""

import time
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from openledger_node.engine.backend import BLOCK_TOKENS, Backend, BatchRow, Draw, Drawn
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams

PREFILL_TOKENS_MAX = 512
"""Tokens of one step: the default of the node's scheduler."""


@dataclass(slots=True, kw_only=True)
class Run:
    """The result of a batch."""

    wall_s: float = 0.0
    first_s: list[float] = field(default_factory=list)  # of each row, from the start
    steps_s: list[float] = field(default_factory=list)  # that only decode
    drawn: list[list[Drawn]] = field(default_factory=list)  # each row's answer

    @property
    def tokens(self) -> int:
        """Tokens of all answers."""
        return sum(map(len, self.drawn))


@dataclass(slots=True, kw_only=True)
class Line:
    """One sequence, and its own blocks."""

    id: str
    prompt: tuple[int, ...]
    blocks: tuple[int, ...]
    sampling: SamplingParams
    drawn: list[Drawn] = field(default_factory=list)

    def row(self, position: int, token_ids: tuple[int, ...]) -> BatchRow:
        """Its part of a step; a token is drawn once the prompt is complete."""
        end = position + len(token_ids)
        output_ids = tuple(one.token for one in self.drawn)
        is_last = end == len(self.prompt) + len(output_ids)
        draw = Draw(sampling=self.sampling, position=end, output_ids=output_ids, prompt_ids=self.prompt)
        return BatchRow(
            sequence_id=self.id,
            token_ids=token_ids,
            position=position,
            blocks=self.blocks[: -(-end // BLOCK_TOKENS)],
            draw=draw if is_last else None,
        )


def run_batch(
    backend: Backend,
    prompts: Items[Items[int]],
    adapters: Items[AdapterSource | None],
    answer_tokens: int,
) -> Run:
    """Answer all prompts greedily, and ignore tokens that would end the text."""
    sampling = SamplingParams(max_tokens=answer_tokens, seed=0, temperature=0.0)
    count = -(-(max(map(len, prompts)) + answer_tokens) // BLOCK_TOKENS)
    lines = [
        Line(
            id=f"s{number}",
            prompt=tuple(prompt),
            blocks=tuple(range(number * count, (number + 1) * count)) if backend.profile.num_blocks else (),
            sampling=sampling,
        )
        for number, prompt in enumerate(prompts)
    ]
    run, began_s = Run(), time.perf_counter()
    for line, source in zip(lines, adapters, strict=True):
        backend.join(line.id, source.id if source else None)
    _prefill(backend, lines, run, began_s)
    for _ in range(answer_tokens - 1):
        _decode(backend, lines, run)
    run.wall_s = time.perf_counter() - began_s
    for line in lines:
        backend.leave(line.id)
    run.drawn = [line.drawn for line in lines]
    return run


def _prefill(backend: Backend, lines: list[Line], run: Run, began_s: float) -> None:
    left = [(line, 0) for line in lines]
    firsts = {}
    while left:
        rows, room, left = _pieces(left)
        assert room >= 0
        drawn = backend.step(tuple(rows))
        for line in lines:
            if line.id in drawn:
                line.drawn.append(drawn[line.id])
                firsts[line.id] = time.perf_counter() - began_s
    run.first_s = [firsts[line.id] for line in lines]


def _pieces(left: list[tuple[Line, int]]) -> tuple[list[BatchRow], int, list[tuple[Line, int]]]:
    """The prompt chunks of the next step, in order, and the tokens left after them."""
    rows, room, after = [], PREFILL_TOKENS_MAX, []
    for line, done in left:
        count = min(room, len(line.prompt) - done)
        if count:
            rows.append(line.row(done, line.prompt[done : done + count]))
            room -= count
        if done + count < len(line.prompt):
            after.append((line, done + count))
    return rows, room, after


def _decode(backend: Backend, lines: list[Line], run: Run) -> None:
    rows = tuple(
        line.row(len(line.prompt) + len(line.drawn) - 1, (line.drawn[-1].token,)) for line in lines if line.drawn
    )
    began_s = time.perf_counter()
    drawn = backend.step(rows)
    run.steps_s.append(time.perf_counter() - began_s)
    for line in lines:
        line.drawn.append(drawn[line.id])
