"""Errors of a GPU and its driver: one sentence each that says what happened and what helps.

The words are those of the CUDA and HIP runtimes, the driver and torch, which raise them as a plain RuntimeError.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..errors import DeviceError, NodeError
from .fit import is_out_of_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of error: the words by which it is recognised, and the operator's sentence."""

    words: tuple[str, ...]  # in lower case; one of them is enough
    says: str
    can_recover: bool = True  # False: only a change by the operator and a new start help


FAULTS: Final = (
    Fault(
        words=("driver on your system is too old", "driver version is insufficient", "unsupported display driver"),
        says="the GPU's driver is too old for the installed torch: update the driver and restart the machine",
        can_recover=False,
    ),
    Fault(
        words=("no kernel image is available", "invalid device function"),
        says="the installed torch has no code for this GPU: install a torch build that supports the card, or set "
        '[inference] device = "cpu"',
        can_recover=False,
    ),
    Fault(
        words=("gpu is lost", "fallen off the bus", "device is lost", "gpu requires reset", "hardware stack error"),
        says="the GPU no longer answers (it fell off the bus): shut the machine down and start it again. If this "
        "repeats, check the card's power cables and its slot or riser",
    ),
    Fault(
        words=(
            *("no cuda-capable device", "no cuda gpus are available", "found no nvidia driver"),
            *("no rocm-capable device", "no hip gpus are available", "driver initialization failed"),
            *("driver/library version mismatch", "cuda unknown error"),
        ),
        says="the driver finds no GPU: `nvidia-smi` shows what it sees. Restart the machine, reinstall the driver, "
        'or set [inference] device = "cpu"',
    ),
    Fault(
        words=("uncorrectable ecc", "uncorrectable nvlink"),
        says="the GPU's memory has an error that it can't correct: restart the machine. If this repeats, the card is "
        "failing",
    ),
    Fault(
        words=(
            *("device-side assert", "illegal memory access", "illegal instruction was", "misaligned address"),
            *("launch failure", "launch timed out", "execution_failed", "internal_error"),
        ),
        says="a program on the GPU failed, and the engine was started again. If this repeats, update the driver and "
        'torch, or set [inference] acceleration = "off"',
    ),
)

NO_ROOM: Final = (
    "the base does not fit into the memory that is free now: close the programs that use the GPU or the memory, "
    "lower [inference] kv_cache_bytes, batch_max or context_max, set [inference] quantisation, or choose a smaller "
    "base"
)


def device_error_of(error: BaseException) -> DeviceError | None:
    """The operator's view of a library's error, with the library's own words behind it; None for any other error."""
    if isinstance(error, NodeError):  # it says itself what helps
        return error if isinstance(error, DeviceError) else None
    for cause in _causes(error):
        text = str(cause)
        if isinstance(cause, Exception) and is_out_of_memory(cause):
            return DeviceError(_with_words(NO_ROOM, text))
        for fault in FAULTS:
            if any(words in text.lower() for words in fault.words):
                return DeviceError(_with_words(fault.says, text), can_recover=fault.can_recover)
    return None


def other_device(before: str, now: str) -> str:
    """The sentence about an engine that came back on another device, where it is not as fast as the node offers."""
    return (
        f"the engine ran on {before!r} and finds only {now!r} now: `nvidia-smi` shows whether the driver sees the "
        "GPU. Restart the machine, or restart the node to serve without it"
    )


WORDS_MAX: Final = 120
"""Characters of a library's message that are shown: its first line names the error, and advice follows."""


def _with_words(says: str, text: str) -> str:
    first = " ".join(text.split("\n", 1)[0].split())
    return f"{says} ({first[:WORDS_MAX]})" if first else says


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
