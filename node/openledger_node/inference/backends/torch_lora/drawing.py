"""From logits to tokens: greedy rows by one argmax on the device, others by the sampler on the host."""

import numpy as np
import torch
from torch import Tensor

from openledger_node.inference.backend import Drawn, Row
from openledger_node.inference.sampler import draw


def draw_rows(rows: tuple[Row, ...], logits: Tensor) -> dict[str, Drawn]:
    """Draw each row's next token from (rows, vocabulary) in float32.

    A row with a logit that is no number draws none: its adapter overflows, and that is nobody else's trouble.
    """
    if not rows:
        return {}
    likeliest, is_finite = _likeliest(logits)
    return {
        row.sequence_id: _drawn(row, likeliest[number], logits[number])
        for number, row in enumerate(rows)
        if is_finite[number]
    }


def _likeliest(logits: Tensor) -> tuple[list[int], list[bool]]:
    """Each row's likeliest token, the lowest of equals, and whether all its logits are numbers.

    The extremes are no numbers where any logit is none. On the CPU numpy takes a tenth of torch's time for both: 3 ms
    of the 60 that a step of 32 rows took on two cores.
    """
    if logits.device.type == "cpu":
        host = logits.numpy()
        is_finite = np.isfinite(host.min(axis=1)) & np.isfinite(host.max(axis=1))
        return host.argmax(axis=1).tolist(), is_finite.tolist()
    low, high = torch.aminmax(logits, dim=1)
    return logits.argmax(dim=1).tolist(), (low.isfinite() & high.isfinite()).tolist()


def _drawn(row: Row, likeliest: int, logits: Tensor) -> Drawn:
    assert row.draw, "only rows to draw for are drawn"
    return Drawn(token=likeliest) if row.draw.is_argmax else draw(logits.cpu().numpy(), row.draw)
