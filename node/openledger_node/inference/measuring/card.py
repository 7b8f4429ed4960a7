"""What a process takes of NVIDIA's cards, as their driver counts it."""

import shutil
import subprocess

NVIDIA_SMI = "nvidia-smi"
QUERY = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
TIMEOUT_S = 10.0


def card_bytes(process_id: int) -> int | None:
    """What a process holds of the cards' memory; None where there is no card, or the driver does not say."""
    if shutil.which(NVIDIA_SMI) is None:
        return None
    asked = [NVIDIA_SMI, *QUERY]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_used(said, process_id)


def parse_used(said: str, process_id: int) -> int | None:
    """Add up the MiB of a process's lines, one a card: "1234, 567"."""
    rows = [[word.strip() for word in line.split(",")] for line in said.splitlines() if line.count(",") == 1]
    return sum(int(used) << 20 for number, used in rows if number == str(process_id) and used.isdigit()) or None
