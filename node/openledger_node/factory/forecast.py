"""Preview and estimate of a training: its rows as the model sees them, and its needs of memory and time."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from ..config import Config, LimitsConfig
from ..errors import ModelError
from ..home import Home
from ..machine import Machine, look_at_machine
from ..models.decoder_config import DecoderConfig, read_config
from .base_format import BaseFormat, Needs, check_format, choose_format, config_of
from .estimate import RowTokens, answer_seconds, memory, seconds, seconds_at, steps_of
from .evaluation import ANSWER_TOKENS_MAX
from .job import Quantisation, TrainingJob
from .order import Gathered, TrainingOrder, check_sites, gather, job_of
from .preview import Measured, RowReader, Tell, row_tokens
from .runs import Runs

ROWS_SHOWN: Final = 3
MATRIX_SIDE: Final = 768
MATRICES: Final = 6
FORECASTS_MAX: Final = 2
"""A Datanet of 100,000 rows takes about 100 MB."""

Stamp = tuple[int, ...]
"""Size and times of the files of an order."""


class TrainingRoom:
    """Memory and speed that this machine has for a training beside serving."""

    def __init__(
        self,
        limits: Callable[[], LimitsConfig],
        *,
        device: str = "auto",
        serving_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self._limits = limits
        self._device = device
        self._products_per_s: float | None = None
        self.serving_bytes = serving_bytes  # memory of the engine on the device that would train

    @cached_property
    def machine(self) -> Machine:
        """The machine as it was at the first call."""
        return look_at_machine()

    @property
    def is_on_gpu(self) -> bool:
        """True if a GPU would train."""
        card = self.machine.usable_card
        return self._device != "cpu" and card is not None and card.vendor != "apple"

    @property
    def cap_bytes(self) -> int:
        """The owner's limit, or all memory of the device."""
        limits = self._limits()
        if self.is_on_gpu:
            return limits.vram_bytes or self.machine.gpu_bytes
        return limits.ram_bytes or self.machine.ram_bytes

    @property
    def products_per_s(self) -> float | None:
        """Floating-point operations per second of the CPU on one large matrix, measured once; None with a GPU."""
        if self._products_per_s is None and not self.is_on_gpu:
            matrix = np.ones((MATRIX_SIDE, MATRIX_SIDE), dtype=np.float32)
            fastest_s = min(_seconds_of_product(matrix) for _ in range(MATRICES))
            self._products_per_s = 2 * MATRIX_SIDE**3 / fastest_s
        return self._products_per_s

    @cached_property
    def multiplies(self) -> str:
        """The fastest number format that the processor has instructions for."""
        try:
            flags = Path("/proc/cpuinfo").read_text()
        except OSError:
            return "float32"
        return "bfloat16" if "avx512_bf16" in flags else "float32"

    @property
    def weight_bytes(self) -> int:
        """Bytes of one weight of a frozen base: two if the hardware multiplies bfloat16, else four."""
        return 2 if self.is_on_gpu or self.multiplies != "float32" else 4


def _seconds_of_product(matrix: NDArray[np.float32]) -> float:
    started_s = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - started_s


class Forecaster:
    """Previews and estimates of orders. The rows read last are cached while their files stay the same."""

    def __init__(self, home: Home, config: Config, room: TrainingRoom) -> None:
        self._home = home
        self._config = config
        self._room = room
        self._kept: dict[tuple[TrainingOrder, Stamp], Gathered] = {}
        self._reading = threading.Lock()

    def preview(self, order: TrainingOrder, offset: int, tell: Tell = lambda *_: None) -> dict[str, Any]:
        """Return three rows from `offset` on, and counts of all rows.

        Raises:
            NodeError: the order names no rows, or they can't be read.
        """
        gathered = self._read(order, tell)
        rows = gathered.measured
        first = offset % len(rows)
        shown = [rows[(first + n) % len(rows)] for n in range(min(ROWS_SHOWN, len(rows)))]
        people = Counter(each.row.contributor for each in rows)
        return {
            "rows": [_row_to_plain(each, gathered.reader) for each in shown],
            "next_offset": (first + len(shown)) % len(rows),
            "used": len(rows),
            "held_out": len(gathered.held_out),
            "dropped": len(gathered.dropped),
            "tokens_max": gathered.job.tokens_max,
            "tokens": _spread([each.num_tokens for each in rows]),
            "people": len(people),
            "largest_share_ppm": max(people.values()) * 1_000_000 // len(rows),
            "datanet": {"id": gathered.datanet.id, "version": gathered.datanet.version},
        }

    def estimate(self, order: TrainingOrder) -> dict[str, Any]:
        """Estimate memory by use against the limit, and seconds; None if no formula covers the base.

        Raises:
            NodeError: the order names no rows, or they can't be read.
        """
        job = job_of(order, device=self._config.inference.device)
        gathered = self._read(order)
        check_sites(job, gathered.base)
        trainer = order.trainer or self._config.factory.trainer
        check_format(order.quantisation, gathered.base, trainer)
        rows = row_tokens(gathered.measured)
        steps = steps_of(job, rows)
        chosen = self.choose_format(order.quantisation, replace(gathered, job=job, trainer=trainer))
        job = replace(job, quantisation=chosen.quantisation)
        found = {"steps": steps, "quantisation": chosen.quantisation, "why_quantisation": chosen.why}
        try:
            if gathered.base.folder is None:
                raise ModelError(f"base {gathered.base.name} has no weights")
            config = read_config(gathered.base.folder)
        except ModelError as error:
            return {**found, "memory": None, "time": None, "why": f"no estimate: {error}"}
        return {
            **found,
            "memory": self._memory(job, config, rows),
            "time": self._time(job, gathered, config, rows, order.evaluate),
            "why": None,
        }

    def choose_format(self, wanted: str | None, gathered: Gathered) -> BaseFormat:
        """Choose the form of the frozen base, by the estimate of memory if the order leaves it open."""
        config, needs = config_of(gathered.base), None
        if config is not None:
            rows, room = row_tokens(gathered.measured), self._room
            wide, narrow = (
                memory(replace(gathered.job, quantisation=form), config, rows, weight_bytes=room.weight_bytes)
                for form in get_args(Quantisation)
            )
            needs = Needs(wide=wide, narrow=narrow, free_bytes=max(0, room.cap_bytes - room.serving_bytes()))
        return choose_format(wanted, config, needs, gathered.trainer)

    def _memory(self, job: TrainingJob, config: DecoderConfig, rows: RowTokens) -> dict[str, Any]:
        room = self._room
        needed = memory(job, config, rows, weight_bytes=room.weight_bytes)
        cap, serving = room.cap_bytes, room.serving_bytes()
        return {
            "base_bytes": needed.base,
            "activations_bytes": needed.activations,
            "optimizer_bytes": needed.optimizer,
            "adapter_bytes": needed.adapter,
            "runtime_bytes": needed.runtime,
            "serving_bytes": serving,
            "needed_bytes": needed.total,
            "cap_bytes": cap,
            "fits": needed.total + serving <= cap,
            "how": "by formula",
        }

    def _time(
        self, job: TrainingJob, gathered: Gathered, config: DecoderConfig, rows: RowTokens, evaluate: int | None
    ) -> dict[str, Any] | None:
        products_per_s = self._room.products_per_s
        if found := self._speed_before(job, gathered):
            number, tokens_per_s = found
            learning_s = seconds_at(job, rows, tokens_per_s)
            how = f"at the {tokens_per_s:.0f} tokens/s of training {number}"
        elif products_per_s is not None:
            learning_s = seconds(job, config, rows, products_per_s=products_per_s, kind=self._room.multiplies)
            how = "by formula"
        else:
            return None
        answering_s = 0.0  # a GPU answers a few rows in seconds
        if products_per_s is not None:
            evaluated = min(gathered.evaluated_rows if evaluate is None else max(0, evaluate), len(gathered.held_out))
            answering_s = answer_seconds(
                config, num_rows=evaluated, tokens_max=ANSWER_TOKENS_MAX, products_per_s=products_per_s
            )
        return {
            "seconds": round(learning_s + answering_s, 1),
            "evaluation_seconds": round(answering_s, 1),
            "how": how,
        }

    def _speed_before(self, job: TrainingJob, gathered: Gathered) -> tuple[int, float] | None:
        """Return the speed of the newest training with the same base, layers and trainer."""
        for run in Runs(self._home).all():
            alike = (run.base, run.trainer, *_speed_key(run.job)) == (
                gathered.base.name,
                self._config.factory.trainer,
                *_speed_key(job),
            )
            if alike and run.state == "done" and run.progress and run.progress.tokens_per_s:
                return run.number, run.progress.tokens_per_s
        return None

    def _read(self, order: TrainingOrder, tell: Tell = lambda *_: None) -> Gathered:
        """Read the rows and count their tokens; results are cached if the rows can't have changed."""
        key = TrainingOrder(
            base=order.base,
            datanet=order.datanet,
            sample=order.sample,
            rows=order.rows,
            held_out=order.held_out,
            seed=order.seed,
            tokens_max=order.tokens_max,
            held_out_percent=order.held_out_percent,
        )
        can_change = order.datanet and "@" not in order.datanet
        with self._reading:
            stamp = _stamp(order)
            kept = None if can_change else self._kept.get((key, stamp))
            if kept is None:
                kept = gather(self._home, self._config, key, keep=False, tell=tell)
                newest = list(self._kept.items())[1 - FORECASTS_MAX :]
                self._kept = {**dict(newest), (key, stamp): kept}
        return kept


def _speed_key(job: TrainingJob) -> tuple[object, ...]:
    """The fields of a job that change its tokens per second by much."""
    return job.layers, job.sites, job.method == "dora", job.quantisation, job.gradient_checkpointing


def _stamp(order: TrainingOrder) -> Stamp:
    """The stamp of an order's files, without those that can't be read: reading them says why."""
    stamp: list[int] = []
    for file in (order.rows, order.held_out):
        with suppress(OSError):
            found = Path(file).stat() if file else None
            stamp += [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns] if found else []
    return tuple(stamp)


def _row_to_plain(each: Measured, reader: RowReader) -> dict[str, Any]:
    pieces = [{"kind": piece.kind, "text": piece.text} for piece in reader.pieces(each.row)]
    return {"contributor": each.row.contributor, "tokens": each.num_tokens, "pieces": pieces}


def _spread(counts: Sequence[int]) -> dict[str, int]:
    ordered = sorted(counts)
    return {
        "total": sum(ordered),
        "median": ordered[len(ordered) // 2],
        "p95": ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)],
        "longest": ordered[-1],
    }
