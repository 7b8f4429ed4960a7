"""The process of one pull of a base or of an adapter: it prints its progress as lines of JSON.

It ends as soon as its stdin is closed, so that no download goes on without its daemon.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ..contained import why_failed
from ..engine.budget import bytes_below, check_disk_room
from ..home import Home
from ..models.adapter_hub import HubAdded, add_hub_adapter, look_at_hub_adapter
from ..models.bases import Base, base_here, find_base
from ..models.download import pull_base
from ..models.fetch import Progress, Report
from ..network_defaults import load_network_config
from .base_look import BaseLooks, hub_name
from .pulls import DOWNLOADING

MEASURE_S: Final = 0.5


def main(noun: str, root: str, name: str, option: str) -> None:
    """Pull one thing, and print its result or the reason why there is none.

    `option` of a base is "anyway" or empty; of an adapter it is the base that it is for.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    home = Home(Path(root))
    try:
        tell(_pull_base(home, name, option) if noun == "base" else _pull_adapter(home, name, option))
    except Exception as error:  # the daemon shows the reason of any failure, and this process ends
        tell({"error": str(why_failed(error))})


def _pull_base(home: Home, name: str, anyway: str) -> dict[str, Any]:
    (config, _), wanted = load_network_config(home), hub_name(name)
    report(Progress(what="checking the size", done=0, total=1))
    folder, total_bytes = None, 0
    if base_here(home, wanted) is None:
        looks = BaseLooks(home, config)
        found = looks.check_fit(wanted) if not anyway else looks.look(wanted)
        check_disk_room(home, config.limits.disk_bytes, more_bytes=found.download_bytes)
        if found.hub:
            folder = found.hub.folder
            total_bytes = bytes_below(folder) + found.download_bytes
    with measured(folder, total_bytes, report):
        return {"base": pull_base(home, wanted, source=None, report=report).name}


def _pull_adapter(home: Home, name: str, base_name: str) -> dict[str, Any]:
    (config, _), base = load_network_config(home), find_base(home, base_name)
    added = pull_hub_adapter(home, name, base, disk_cap_bytes=config.limits.disk_bytes, report=report)
    found = {"adapter": added.adapter.full_name, "received_bytes": added.received_bytes}
    return {**found, "from_peer": None, "made_for": added.made_for}


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
    ended = threading.Event()

    def measure() -> None:
        while folder and not ended.wait(MEASURE_S):
            report(Progress(what=DOWNLOADING, done=min(bytes_below(folder), total_bytes), total=total_bytes))

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def report(stage: Progress) -> None:
    """Print the progress of a stage."""
    tell(asdict(stage))


def tell(line: dict[str, Any]) -> None:
    """Print one line of the report."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
