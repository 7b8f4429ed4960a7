"""The pull of an adapter from the Hugging Face hub: its size, the disk, its files, and their checks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..engine.budget import bytes_below, check_disk_room
from ..home import Home
from ..models.adapter_hub import HubAdded, add_hub_adapter, look_at_hub_adapter
from ..models.bases import Base
from ..models.fetch import Progress, Report
from .pulls import DOWNLOADING

MEASURE_S: Final = 0.5


def pull_hub_adapter(home: Home, name: str, base: Base, *, disk_cap_bytes: int, report: Report) -> HubAdded:
    """Pull OWNER/NAME[@REVISION] into the library. A download that was interrupted resumes.

    Raises:
        NetworkError: it could not be fetched.
        ConfigError: the disk has no room.
        ModelError, AdapterRefusedError: it can't be served.
    """
    report(Progress(what="checking the size", done=0, total=1))
    found = look_at_hub_adapter(home, name)
    # Its files are copied to the library before the download is removed.
    check_disk_room(home, disk_cap_bytes, more_bytes=2 * found.download_bytes)
    with measured(found.folder, found.download_bytes, report):
        return add_hub_adapter(home, found, base)


@contextmanager
def measured(folder: Path | None, total_bytes: int, report: Report) -> Iterator[None]:
    """Report the growth of a repository's folder meanwhile: the hub's client tells no progress of its own."""
    if folder is None:
        yield
        return
    ended = threading.Event()

    def measure() -> None:
        while not ended.wait(MEASURE_S):
            report(Progress(what=DOWNLOADING, done=min(bytes_below(folder), total_bytes), total=total_bytes))

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
