"""The other programs on this machine's GPU, as nvidia-smi lists them."""

import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from ..card import NVIDIA_SMI, OURS, PROC, TIMEOUT_S

BUSY_BYTES: Final = 512 << 20
"""GPU memory from which on a program counts. A desktop takes less."""

log = logging.getLogger(__name__)


def find_gpu_program(proc: Path = PROC) -> str | None:
    """Describe the largest program of others on the GPU; None if there is none. Blocks while nvidia-smi answers."""
    if shutil.which(NVIDIA_SMI) is None:
        return None
    try:
        run = subprocess.run([NVIDIA_SMI, "-q", "-x"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        programs = programs_from_xml(run.stdout)
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError) as error:
        log.warning("nvidia-smi does not say which programs use the GPU: %s", error)
        return None
    for gpu_bytes, process_id, name in sorted(programs, reverse=True):
        if gpu_bytes >= BUSY_BYTES and not is_ours(process_id, proc):
            return f"{name} (process {process_id}) uses {gpu_bytes / 1e9:.1f} GB of the GPU"
    return None


def programs_from_xml(text: str) -> list[tuple[int, int, str]]:
    """GPU memory, process id and name of each process in the output of `nvidia-smi -q -x`.

    An unknown amount of memory counts as none.
    """
    found = []
    for each in ElementTree.fromstring(text).iter("process_info"):  # trusted: it comes from the driver's own program
        memory = (each.findtext("used_memory") or "").split()
        mib = int(memory[0]) if memory and memory[0].isdecimal() else 0
        name = (each.findtext("process_name") or "a program").replace("\\", "/").rpartition("/")[2]
        found.append((mib << 20, int(each.findtext("pid") or 0), name))
    return found


def is_ours(process_id: int, proc: Path = PROC) -> bool:
    """Return True for this node's processes, their children, and the processes of other nodes.

    A process that is not here counts as ours: in a container, nvidia-smi may list process ids of the host.
    """
    try:
        while process_id > 1:
            folder = proc / str(process_id)
            if process_id == os.getpid() or OURS.encode() in (folder / "cmdline").read_bytes():
                return True
            process_id = int((folder / "stat").read_text().rpartition(")")[2].split()[1])  # its parent
    except OSError:
        return True
    return False
