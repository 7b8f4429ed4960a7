"""A disk in memory for the temporary files of a test run.

A commit that is on the disk when it returns takes 4 ms on a disk and 0.2 ms here, and a test makes hundreds.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY_DISK = Path("/dev/shm")
ROOM_BYTES_MIN = 4 << 30
"""Tests leave 1 GiB at a time at most; the rest is room for what they run."""


def use_memory_disk(config: pytest.Config) -> None:
    """Put temporary files into memory until the run ends, unless `TMPDIR` says where, or there is no room."""
    if "TMPDIR" in os.environ or not os.access(MEMORY_DISK, os.W_OK):
        return
    if shutil.disk_usage(MEMORY_DISK).free < ROOM_BYTES_MIN:
        return
    folder = tempfile.mkdtemp(prefix="ol-", dir=MEMORY_DISK)
    Path(folder).chmod(0o755)  # some tests look at their files as another user
    os.environ["TMPDIR"] = tempfile.tempdir = folder  # of the workers, too
    if not config.option.basetemp:
        config.option.basetemp = f"{folder}/t"  # the path of a socket may have about a hundred characters
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
