"""From logits to tokens: greedy rows by one argmax on the device, other rows by the sampler on the host."""

import numpy as np
import torch
from torch import Tensor

from openledger_node.engine.backend import BatchRow, Drawn
from openledger_node.engine.sampler import draw


def draw_rows(rows: tuple[BatchRow, ...], logits: Tensor) -> dict[str, Drawn]:
    """Draw each row's next token from (rows, vocabulary) in float32.

    A row with a logit that is not finite draws no token: its adapter overflows, and other rows are unaffected.
    """
    if not rows:
        return {}
    for row in rows:
        if row.draw and row.draw.allowed:
            row.draw.allowed.words()  # now, because a GPU still computes the logits, and reading them waits for it
    likeliest, is_finite = _likeliest(logits)
    return {
        row.sequence_id: _drawn(row, likeliest[number], logits[number])
        for number, row in enumerate(rows)
        if is_finite[number]
    }


def in_order_of(rows: tuple[BatchRow, ...], drawn: tuple[BatchRow, ...], logits: Tensor) -> Tensor:
    """The logits (drawn, vocabulary) of a step in the order of its rows; `drawn`: the order that they have."""
    numbers = {row.sequence_id: number for number, row in enumerate(drawn)}
    return logits[[numbers[row.sequence_id] for row in rows if row.draw]]


def _likeliest(logits: Tensor) -> tuple[list[int], list[bool]]:
    """Each row's likeliest token, the lowest of equals, and a flag that all its logits are finite.

    The minimum and the maximum are finite only if all logits are. On the CPU, numpy takes a tenth of torch's time for
    both, which was 3 ms of 60 ms for a step of 32 rows on two cores.
    """
    if logits.device.type == "cpu":
        host = logits.numpy()
        is_finite = np.isfinite(host.min(axis=1)) & np.isfinite(host.max(axis=1))
        return host.argmax(axis=1).tolist(), is_finite.tolist()
    low, high = torch.aminmax(logits, dim=1)
    return logits.argmax(dim=1).tolist(), (low.isfinite() & high.isfinite()).tolist()


def _drawn(row: BatchRow, likeliest: int, logits: Tensor) -> Drawn:
    assert row.draw, "only rows to draw for are drawn"
    return Drawn(token=likeliest) if row.draw.is_argmax else draw(logits.cpu().numpy(), row.draw)
