"""The process of one pull of a base: it checks the fit, pulls, and prints its progress as lines of JSON."""

import sys
from pathlib import Path

from ..engine.budget import bytes_below, check_disk_room
from ..errors import ModelError
from ..home import Home
from ..models.bases import base_here
from ..models.download import pull_base
from ..models.fetch import Progress
from ..network_defaults import load_network_config
from .base_fits import refusal_text, takes_text
from .base_look import BaseLook, BaseLooks, hub_name
from .hub_pull import measured
from .pull_child import ChildReport, run_child, tell


def main(root: str, name: str, *flags: str) -> None:
    """Pull one base and print what came of it."""
    run_child(lambda: _pull(Home(Path(root)), hub_name(name), is_anyway="--anyway" in flags))


def _pull(home: Home, name: str, *, is_anyway: bool) -> None:
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
        base = pull_base(home, name, source=None, report=report)
    tell({"base": base.name})


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


if __name__ == "__main__":
    main(*sys.argv[1:])
