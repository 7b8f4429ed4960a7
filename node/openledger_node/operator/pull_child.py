"""The process of one pull of a base or of an adapter: it prints its progress as lines of JSON.

It ends as soon as its stdin is closed, so that no download goes on without its daemon.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ..contained import why_failed
from ..engine.budget import bytes_below, check_disk_room
from ..errors import ModelError
from ..home import Home
from ..models.adapter_hub import HubAdded, add_hub_adapter, look_at_hub_adapter
from ..models.bases import Base, base_here, find_base
from ..models.download import pull_base
from ..models.fetch import Progress, Report
from ..network_defaults import load_network_config
from .base_fits import refusal_text, takes_text
from .base_look import BaseLook, BaseLooks, hub_name
from .pulls import DOWNLOADING

INTERVAL_S: Final = 0.2
MEASURE_S: Final = 0.5


def main(noun: str, root: str, name: str, option: str) -> None:
    """Pull one thing, and print its result or the reason why there is none.

    `option` of a base is "anyway" or empty; of an adapter it is the base that it is for.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    home = Home(Path(root))
    try:
        if noun == "base":
            tell(_pull_base(home, hub_name(name), is_anyway=bool(option)))
        else:
            tell(_pull_adapter(home, name, option))
    except Exception as error:  # the daemon shows the reason of any failure, and this process ends
        tell({"error": str(why_failed(error))})


def _pull_base(home: Home, name: str, *, is_anyway: bool) -> dict[str, Any]:
    report = ChildReport()
    report(Progress(what="checking the size", done=0, total=1))
    config, _ = load_network_config(home)
    found = None
    if base_here(home, name) is None:
        looks = BaseLooks(home, config)
        found = looks.look(name)
        if not is_anyway:
            _require_memory(looks, name, found)
        check_disk_room(home, config.limits.disk_bytes, more_bytes=found.download_bytes)
    folder = found.hub.folder if found and found.hub else None
    total_bytes = bytes_below(folder) + found.download_bytes if found and folder else 0
    with measured(folder, total_bytes, report):
        return {"base": pull_base(home, name, source=None, report=report).name}


def _require_memory(looks: BaseLooks, name: str, found: BaseLook) -> None:
    """Refuse a base that fits in no quantisation."""
    if any(form.plan for form in found.forms) or not (found.forms or found.weight_bytes):
        return
    if not found.forms and looks.fits_by_size(found):
        return
    if found.hub:
        found.hub.forget()
    takes = takes_text(found.forms) if found.forms else f"{found.weight_bytes / 1e9:.1f} GB"
    raise ModelError(refusal_text(name, takes, looks.inference, looks.room))


def _pull_adapter(home: Home, name: str, base_name: str) -> dict[str, Any]:
    (config, _), base = load_network_config(home), find_base(home, base_name)
    added = pull_hub_adapter(home, name, base, disk_cap_bytes=config.limits.disk_bytes, report=ChildReport())
    return {
        "adapter": added.adapter.full_name,
        "received_bytes": added.received_bytes,
        "from_peer": None,
        "made_for": added.made_for,
    }


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


class ChildReport:
    """Prints each stage, and its progress a few times a second."""

    def __init__(self) -> None:
        self._what, self._said_at_s = "", 0.0

    def __call__(self, stage: Progress) -> None:
        """Print a stage, unless the last line about it is fresh."""
        now_s = time.monotonic()
        if stage.what == self._what and now_s - self._said_at_s < INTERVAL_S and stage.done < stage.total:
            return
        self._what, self._said_at_s = stage.what, now_s
        tell({"what": stage.what, "done": stage.done, "total": stage.total})


def tell(line: dict[str, Any]) -> None:
    """Print one line of the report."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
