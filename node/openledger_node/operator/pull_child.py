"""The process of one pull: it checks the fit, pulls, and prints its progress as lines of JSON.

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
from ..models.bases import base_here
from ..models.download import pull_base
from ..models.fetch import Progress
from ..network_defaults import load_network_config
from .base_fits import refusal_text, takes_text
from .base_look import BaseLook, BaseLooks, hub_name

MEASURE_S: Final = 0.5
INTERVAL_S: Final = 0.2
DOWNLOADING: Final = "downloading"


def main(root: str, name: str, *flags: str) -> None:
    """Pull one base and print what came of it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        _pull(Home(Path(root)), hub_name(name), is_anyway="--anyway" in flags)
    except Exception as error:  # the daemon shows the reason of any failure, and this process ends
        _tell({"error": str(why_failed(error))})


def _pull(home: Home, name: str, *, is_anyway: bool) -> None:
    report = _Report()
    report(Progress(what="checking the size", done=0, total=1))
    config, _ = load_network_config(home)
    found = None
    if base_here(home, name) is None:
        looks = BaseLooks(home, config)
        found = looks.look(name)
        if not is_anyway:
            _require_memory(looks, name, found)
        check_disk_room(home, config.limits.disk_bytes, more_bytes=found.download_bytes)
    with _measured(found, report):
        base = pull_base(home, name, source=None, report=report)
    _tell({"base": base.name})


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


@contextmanager
def _measured(found: BaseLook | None, report: "_Report") -> Iterator[None]:
    """Report the growth of a repository's folder meanwhile: the hub's client tells no progress of its own."""
    if found is None or found.hub is None:
        yield
        return
    ended, folder = threading.Event(), found.hub.folder

    def measure() -> None:
        total = bytes_below(folder) + found.download_bytes
        while not ended.wait(MEASURE_S):
            report(Progress(what=DOWNLOADING, done=min(bytes_below(folder), total), total=total))

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Report:
    """Prints each stage, and its progress a few times a second."""

    def __init__(self) -> None:
        self._what, self._said_at_s = "", 0.0

    def __call__(self, stage: Progress) -> None:
        now_s = time.monotonic()
        if stage.what == self._what and now_s - self._said_at_s < INTERVAL_S and stage.done < stage.total:
            return
        self._what, self._said_at_s = stage.what, now_s
        _tell({"what": stage.what, "done": stage.done, "total": stage.total})


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
