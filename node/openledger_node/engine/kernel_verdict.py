"""The last verdict on the GPU path's kernels: the engine keeps it, and `doctor` tells it without loading a base."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = "kernels"  # of the cache; Triton keeps compiled kernels there too
FILE = "verdict.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelVerdict:
    """The result of a self-check."""

    key: str  # digest of all that it depends on
    tested: str  # the card and the versions, in words
    fault: str  # the reason why the kernels do not serve; empty: they do


def read_verdict(cache: Path) -> KernelVerdict | None:
    """The last verdict; None if there is none, or its file is damaged."""
    try:
        return KernelVerdict(**json.loads((cache / FOLDER / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def keep_verdict(cache: Path, verdict: KernelVerdict) -> None:
    """Write a verdict in place of the last one; a full disk only means another check at the next start."""
    file = cache / FOLDER / FILE
    partial = file.with_suffix(".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(asdict(verdict)))
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)
