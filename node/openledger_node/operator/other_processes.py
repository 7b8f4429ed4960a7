"""Other programs on this machine: on the GPU by nvidia-smi, and on the CPU by Linux's /proc."""

import logging
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ..card import NVIDIA_SMI, OURS
from .pause_rules import Neighbour, OtherLoad

NVIDIA_TIMEOUT_S = 5.0
PROC = Path("/proc")
IDLE_FIELDS = (3, 4)
"""Columns of /proc/stat: idle, and waiting for a disk."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """CPU time of all cores since the machine was started, in ticks."""

    total: int
    busy: int
    ours: dict[int, int]  # process id → ticks of each process of this node


class ProcessWatch:
    """A watch on other programs; each look measures the CPU since the look before."""

    def __init__(self, proc: Path = PROC, smi: str = NVIDIA_SMI) -> None:
        self._proc = proc
        self._smi = smi
        self._before: Ticks | None = None

    def look(self, *, on_gpu: bool) -> OtherLoad:
        """Measure the load of other programs; blocks for as long as nvidia-smi takes."""
        if on_gpu and shutil.which(self._smi):
            return OtherLoad(has_gpu=True, neighbours=self._neighbours())
        return OtherLoad(has_gpu=False, cpu_percent=self._cpu_percent())

    def _neighbours(self) -> tuple[Neighbour, ...]:
        try:
            run = subprocess.run(
                [self._smi, "-q", "-x"], capture_output=True, text=True, timeout=NVIDIA_TIMEOUT_S, check=True
            )
            listed = neighbours_from_xml(run.stdout)
        except (OSError, subprocess.SubprocessError, ElementTree.ParseError) as error:
            log.warning("nvidia-smi does not say which programs use the GPU: %s", error)
            return ()
        # In a container nvidia-smi may report process ids of the host: ids that do not exist here are left out.
        ours = self._ours()
        here = [each for each in listed if (self._proc / str(each.process_id)).exists()]
        return tuple(each for each in here if each.process_id not in ours)

    def _cpu_percent(self) -> float:
        before, now = self._before, self._ticks()
        self._before = now
        if before is None or now is None or now.total <= before.total:
            return 0.0
        ours = sum(ticks - before.ours.get(process, ticks) for process, ticks in now.ours.items())
        busy = now.busy - before.busy - ours
        return max(0.0, min(100.0, 100.0 * busy / (now.total - before.total)))

    def _ticks(self) -> Ticks | None:
        """None on a system without Linux's /proc/stat."""
        try:
            fields = [int(field) for field in (self._proc / "stat").read_text().splitlines()[0].split()[1:9]]
        except (OSError, ValueError, IndexError):
            return None
        idle = sum(fields[place] for place in IDLE_FIELDS)
        return Ticks(total=sum(fields), busy=sum(fields) - idle, ours=self._ours())

    def _ours(self) -> dict[int, int]:
        """Ticks of this process, of its children, and of other programs of this node."""
        parents: dict[int, int] = {}
        ticks: dict[int, int] = {}
        marked = {os.getpid()}
        for folder in self._proc.glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # the process has ended
            process = int(folder.name)
            parents[process], ticks[process] = int(fields[1]), int(fields[11]) + int(fields[12])
            if OURS.encode() in command:
                marked.add(process)
        return {process: count for process, count in ticks.items() if _descends(process, parents, marked)}


def neighbours_from_xml(text: str) -> tuple[Neighbour, ...]:
    """The processes in the output of `nvidia-smi -q -x`; an unknown amount of memory counts as none."""
    found = []
    for each in ElementTree.fromstring(text).iter("process_info"):  # trusted: it comes from the driver's own program
        memory = (each.findtext("used_memory") or "").split()
        mib = int(memory[0]) if memory and memory[0].isdecimal() else 0
        name = (each.findtext("process_name") or "a program").replace("\\", "/").rpartition("/")[2]
        found.append(Neighbour(process_id=int(each.findtext("pid") or 0), name=name, gpu_bytes=mib << 20))
    return tuple(found)


def _descends(process: int, parents: dict[int, int], marked: set[int]) -> bool:
    seen: set[int] = set()
    while process and process not in seen:
        if process in marked:
            return True
        seen.add(process)
        process = parents.get(process, 0)
    return False
