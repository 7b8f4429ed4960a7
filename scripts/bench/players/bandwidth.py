"""Current speed of memory reads and multiplications, by the compiled step's own measures, on all threads.

A sum by torch is too unsteady: it gave 12 to 30 GB/s from run to run, and a tuned read gives 35.
"""

from pathlib import Path

from openledger_node.backends.native.build import open_library


def read_bandwidth(cache_folder: str | None, threads: int, size_bytes: int) -> tuple[float | None, str]:
    """Bytes per second over a region of this size, or None and the reason."""
    library = open_library(Path(cache_folder)) if cache_folder else None
    if library is None:
        return None, "this machine has no accelerated path, whose library measures bandwidth"
    return float(library.read_bandwidth(threads, size_bytes)) or None, ""


def multiply_rate(cache_folder: str | None, threads: int) -> float | None:
    """Multiplications and additions of bfloat16 per second by vdpbf16ps, or None; AMX does more."""
    library = open_library(Path(cache_folder)) if cache_folder else None
    return float(library.multiply_rate(threads)) if library else None
