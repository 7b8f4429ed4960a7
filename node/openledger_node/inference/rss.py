"""How much memory a process has resident, as Linux counts it; other systems do not say."""

from pathlib import Path


def resident_bytes(process_id: int) -> int | None:
    """What a process holds now; None where the system does not say, or the process is gone."""
    return _status_bytes(process_id, "VmRSS")


def peak_bytes(process_id: int) -> int | None:
    """The most that it ever held; unlike getrusage's figure, without what its parent held at the fork."""
    return _status_bytes(process_id, "VmHWM")


def _status_bytes(process_id: int, name: str) -> int | None:
    try:
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
