"""The device that torch uses here: its name, the versions of what drives it, and the speed of its memory."""

import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

COPIED_BYTES = 256 << 20
"""The size of the copy that is timed: larger than every cache, small beside a card's memory."""

ROUNDS = 8
WARM_UP_ROUNDS = 2
COPIES = 4
"""Copies of a round, between two synchronisations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """One device, and the versions that matter for its figures."""

    device: str  # cuda, mps or cpu
    name: str  # as the driver names it; empty for a CPU
    architecture: str  # such as sm_89 or gfx1100
    total_bytes: int  # of the device's own memory; 0 for a CPU
    bytes_per_s: float  # read and written by a copy within the memory
    torch: str
    runtime: str  # CUDA or ROCm and its version, for which torch was built, or "CPUs"
    triton: str  # empty if it is not installed


def device_facts(device_name: str, *, copied_bytes: int = COPIED_BYTES) -> DeviceFacts:
    """Describe a device and time a copy on it, which takes a moment."""
    device = torch.device(device_name)
    is_card = device.type == "cuda"
    properties = torch.cuda.get_device_properties(device) if is_card else None
    return DeviceFacts(
        device=device.type,
        name=properties.name if properties else "",
        architecture=_architecture(properties) if properties else "",
        total_bytes=properties.total_memory if properties else 0,
        bytes_per_s=copy_bandwidth(device, copied_bytes),
        torch=torch.__version__,
        runtime=_runtime(),
        triton=_version_of("triton"),
    )


def copy_bandwidth(device: torch.device, size_bytes: int = COPIED_BYTES) -> float:
    """Bytes per second that the fastest of some copies reads and writes, both counted."""
    source = torch.ones(size_bytes // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    best_s = float("inf")
    for round_number in range(WARM_UP_ROUNDS + ROUNDS):
        _synchronise(device)
        began_s = time.perf_counter()
        for _ in range(COPIES):
            target.copy_(source)
        _synchronise(device)
        if round_number >= WARM_UP_ROUNDS:
            best_s = min(best_s, time.perf_counter() - began_s)
    return 2 * COPIES * source.nbytes / best_s


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _runtime() -> str:
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs"


def _architecture(properties: object) -> str:
    """AMD's name of it without the features, or NVIDIA's compute capability."""
    if torch.version.hip:
        return str(getattr(properties, "gcnArchName", "")).partition(":")[0]
    return f"sm_{getattr(properties, 'major', 0)}{getattr(properties, 'minor', 0)}"


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
