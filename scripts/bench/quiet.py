"""Detection of disturbed samples, by the processor time that other processes used meanwhile."""

import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OTHERS_MAX_CORES = 0.12
"""A sample is dropped above this, since spinning threads lose several times as much as a neighbour takes."""

TRIES = 3
"""Additional rounds per requested sample to replace dropped samples."""

TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Samples:
    """Samples of one case, and the number of dropped ones."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    others_cores: list[float] = field(default_factory=list)
    dropped: int = 0
    error: str = ""

    def median(self, value: Callable[[dict[str, Any]], float]) -> float | None:
        """The median of a figure over the samples; None without samples."""
        return statistics.median(map(value, self.kept)) if self.kept else None


Case = Callable[[], dict[str, Any]]


def gather(
    cases: dict[str, Case], wanted: int, *, others_max: float, say: Callable[[str], None]
) -> dict[str, Samples]:
    """Sample all cases in turn, round by round, until each has enough samples or was tried too often."""
    found = {name: Samples() for name in cases}
    for _ in range(wanted * (1 + TRIES)):
        missing = [name for name, samples in found.items() if len(samples.kept) < wanted and not samples.error]
        for name in missing:
            take(found[name], cases[name], others_max)
            dropped = f", {found[name].dropped} dropped" if found[name].dropped else ""
            say(f"{name}: {len(found[name].kept)} of {wanted}{dropped}")
        if not missing:
            break
    return found


def take(samples: Samples, case: Case, others_max: float) -> None:
    """Take one sample and keep or drop it; a case that fails is not tried again."""
    cores = OthersMeter()
    try:
        sample = case()
    except PlayerError as error:
        samples.error = str(error)
        return
    used = cores.read()
    samples.others_cores.append(round(used, 3))
    if used <= others_max:
        samples.kept.append(sample)
    else:
        samples.dropped += 1


class PlayerError(Exception):
    """A timed process failed; the message says how."""


class OthersMeter:
    """Processor time that processes outside our own tree have used since its creation."""

    def __init__(self) -> None:
        self._began_s, self._machine_s, self._ours_s = time.monotonic(), machine_cpu_s(), tree_cpu_s(os.getpid())

    def read(self) -> float:
        """The average number of cores."""
        took_s = max(time.monotonic() - self._began_s, 1e-3)
        machine_s, ours_s = machine_cpu_s() - self._machine_s, tree_cpu_s(os.getpid()) - self._ours_s
        return max(0.0, (machine_s - ours_s) / took_s)


def machine_cpu_s() -> float:
    """Busy time of all cores since boot, including time that a hypervisor stole."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS_S


def tree_cpu_s(root: int) -> float:
    """Processor time of a process and its descendants, including those that have ended and were waited for."""
    stats = dict(_stats())
    children: dict[int, list[int]] = {}
    for process_id, (parent_id, _) in stats.items():
        children.setdefault(parent_id, []).append(process_id)
    total, waiting = 0.0, [root]
    while waiting:
        process_id = waiting.pop()
        total += stats.get(process_id, (0, 0.0))[1]
        waiting += children.get(process_id, [])
    return total


def _stats() -> Iterable[tuple[int, tuple[int, float]]]:
    """Process → its parent, and its CPU time with that of its reaped children."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            yield int(folder.name), (int(fields[1]), sum(map(int, fields[11:15])) / TICKS_S)
