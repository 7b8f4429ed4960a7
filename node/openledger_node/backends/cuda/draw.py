"""Draw a step's tokens: the device narrows each row to a few candidates, and the host decides among them in float64.

    drawer = Drawer(device, vocab_size=…, rows_max=…)
    drawer.launch(rows, logits)  # after the forward pass was queued: waits for nothing
    tokens = drawer.finish()     # waits for the device: the one synchronisation of a step

Each token is the one that `sampler.draw` draws from the same logits, by the sampler's own functions. Where the
candidates are not enough to tell, the row is read whole and given to the sampler. That happens to rows with log
probabilities, where two tokens are too close for the device's float32, and where more than HEAD_SIZE tokens are kept
by two of top_k, min_p and top_p, or with penalties.

Penalties are applied here, not on the device: the row's mask rules out the tokens whose logits they change, and the
device copies their logits beside the candidates. A step reads 4 · rows · vocabulary bytes of logits once, or twice
for rows of the kind NUCLEUS, and copies about 4 KiB a row to the host.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from openledger_node.engine.backend import BatchRow, Drawn
from openledger_node.engine.sampler import (
    TEMPERATURE_MIN,
    draw,
)

from .decide import decide
from .kernels import draw_layout as layout
from .kernels.draw import Buffers, narrow, scratch_for
from .kernels.draw_layout import RECORD
from .questions import Question, question, read_whole

LISTED_MAX: Final = 1 << 16
"""Room for the penalised tokens of a step, 1.3 MB on the device. A row that finds none left is read whole."""


class Mirror:
    """A tensor on the device and its copy on the host, which is pinned if there is a card."""

    def __init__(self, dtype: torch.dtype, device: torch.device, *shape: int) -> None:
        self._pinned = torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")
        self.host = self._pinned.numpy()
        self.device = torch.zeros(shape, dtype=dtype, device=device)

    def send(self, count: int) -> None:
        """Queue a copy of the first `count` rows to the device."""
        self.device[:count].copy_(self._pinned[:count], non_blocking=True)

    def receive(self, count: int) -> None:
        """Queue a copy of the first `count` rows to the host."""
        self._pinned[:count].copy_(self.device[:count], non_blocking=True)


class Drawer:
    """Owns the buffers of narrowed draws on one device; `launch` and `finish` take turns.

    `rows_drawn` counts the rows that were drawn for, and `rows_read` those of them that were read whole.
    """

    def __init__(self, device: torch.device, *, vocab_size: int, rows_max: int) -> None:
        self._vocab_size = vocab_size
        self._table = Mirror(torch.int64, device, rows_max, layout.FIELDS)
        self._masks = Mirror(torch.int32, device, rows_max, -(-vocab_size // 32))
        self._listed_ids = Mirror(torch.int32, device, LISTED_MAX)
        self._records = Mirror(torch.int64, device, rows_max, RECORD)
        self._listed = Mirror(torch.int64, device, LISTED_MAX, 2)
        self._buffers = Buffers(
            table=self._table.device,
            masks=self._masks.device,
            listed_ids=self._listed_ids.device,
            records=self._records.device,
            listed=self._listed.device,
            **scratch_for(vocab_size, rows_max, device),
        )
        self._event: Any = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._asked: list[Question] = []
        self._logits = torch.empty(0, vocab_size)
        self.rows_drawn = 0
        self.rows_read = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the buffers on the device."""
        tensors = (getattr(self._buffers, each.name) for each in fields(Buffers))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def launch(self, rows: Sequence[BatchRow], logits: Tensor) -> None:
        """Queue the narrowing of logits (≥ len(rows), vocabulary) in float32; those of row i are for `rows[i]`.

        The logits must stay as they are until `finish`. Grammar masks are computed here, while the device still runs
        the forward pass that was queued before.
        """
        self._asked, self._logits = self._fitting([question(row, self._vocab_size) for row in rows]), logits
        if not rows:
            return
        num_masks, num_listed = self._fill()
        self._table.send(len(rows))
        self._masks.send(num_masks)
        self._listed_ids.send(num_listed)
        narrow(logits, self._buffers, rows=len(rows), kind_max=max(each.kind for each in self._asked))
        self._records.receive(len(rows))
        self._listed.receive(num_listed)
        if self._event:
            self._event.record()

    def finish(self) -> dict[str, Drawn]:
        """Wait for the device and draw, by sequence id; no token for a row with a logit that is not finite."""
        if self._event and self._asked:
            self._event.synchronize()
        tokens = {}
        for number, asked in enumerate(self._asked):
            if self._records.host[number][layout.IS_FINITE]:
                tokens[asked.row.sequence_id] = self._drawn(number, asked)
        return tokens

    def _drawn(self, number: int, asked: Question) -> Drawn:
        self.rows_drawn += 1
        if not asked.is_read:
            first, end = self._table.host[number, layout.LISTED_AT : layout.LISTED_END + 1]
            token = decide(asked, self._records.host[number], self._listed.host[first:end])
            if token is not None:
                return Drawn(token=token)
        self.rows_read += 1
        return draw(self._logits[number].cpu().numpy(), asked.how)

    def _fitting(self, questions: list[Question]) -> list[Question]:
        """The questions, where rows whose penalised tokens find no room are read whole."""
        room, fitting = len(self._listed_ids.host), []
        for each in questions:
            fits = len(each.listed) <= room
            room -= len(each.listed) if fits else 0
            fitting.append(each if fits else read_whole(each.row))
        return fitting

    def _fill(self) -> tuple[int, int]:
        """Write the host's copies of table, masks and listed ids; returns how many of the last two are used."""
        num_masks = num_listed = 0
        words_per_mask = self._masks.host.shape[1]
        for number, asked in enumerate(self._asked):
            params, end = asked.how.sampling, num_listed + len(asked.listed)
            mask_at = -1
            if asked.words is not None:
                self._masks.host[num_masks] = asked.words[:words_per_mask].view(np.int32)
                mask_at, num_masks = num_masks * words_per_mask, num_masks + 1
            self._listed_ids.host[num_listed:end] = asked.listed
            seed = params.seed - (params.seed >> 63 << 64)  # the same 64 bits with a sign
            inverse = _bits(1 / max(params.temperature, TEMPERATURE_MIN))
            self._table.host[number] = (
                asked.kind, seed, asked.how.position, inverse, mask_at, num_listed, end,
            )  # fmt: skip
            num_listed = end
        return num_masks, num_listed


def _bits(number: float) -> int:
    """The bits of a float32."""
    return int(np.float32(number).view(np.int32))
