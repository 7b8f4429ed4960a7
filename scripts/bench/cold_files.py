"""Files dropped from the page cache, so that the next read comes from the disk."""

import os
from collections.abc import Iterable
from pathlib import Path


def forget(files: Iterable[Path]) -> None:
    """Drop files from the kernel's page cache."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # only what is on the disk can be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def files_below(*folders: str | Path | None) -> list[Path]:
    return [file for folder in folders if folder for file in Path(folder).rglob("*") if file.is_file()]
