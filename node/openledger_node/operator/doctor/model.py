"""Checks of what is served: the base and its digest, the adapters, and the memory that they may take."""

from openledger_protocol.constants import DEMO_BASE_NAME

from ...engine.budget import LEAST_BYTES, base_bytes_on_disk
from ...models.adapters import read_shelf
from ...models.bases import folder_digest, is_here
from .finding import Verdict, unknown
from .scene import Scene

HASHED_BYTES_MAX = 1 << 30
"""A larger base would take longer than a check may: its sizes and times are compared at each start."""


def base(scene: Scene) -> Verdict:
    """The base that is to be served is here."""
    if scene.config.inference.base == DEMO_BASE_NAME and not is_here(scene.home, DEMO_BASE_NAME):
        return Verdict("the demo base, which the first start fetches")
    found = scene.base
    return Verdict(f"{found.name} ({found.digest[:18]}…)")


def digest(scene: Scene) -> Verdict:
    """The base's files are the ones that its digest names."""
    if not scene.has_base() or (folder := scene.base.folder) is None:
        return unknown("there are no files to look at")
    if scene.base.source is not None and scene.base.source.endswith(".gguf"):
        return Verdict("converted from a file whose digest was checked when it came")
    size_bytes = base_bytes_on_disk(folder)
    if size_bytes > HASHED_BYTES_MAX:
        return unknown(f"{size_bytes / 1e9:.1f} GB: too much to read just now")
    found = folder_digest(folder)
    if found == scene.base.digest:
        return Verdict("its files hash to it")
    if scene.base.name == DEMO_BASE_NAME:
        return Verdict("converted here from the file that its digest names")
    fix = f"delete {folder} and run `openledger-node models pull {scene.base.name.replace('--', '/')}`"
    return Verdict(f"its files hash to {found[:18]}…, base.json says {scene.base.digest[:18]}…", fix)


def adapters(scene: Scene) -> Verdict:
    """Every adapter on the shelf is whole and made for the base."""
    shelf = read_shelf(scene.home)
    count = f"{len(shelf.adapters)} here"
    if shelf.refused:
        folder, reason = next(iter(shelf.refused.items()))
        more = f", and {len(shelf.refused) - 1} more" if len(shelf.refused) > 1 else ""
        return Verdict(count, f"not served: {reason}{more}: mend it, or delete {folder}")
    if not scene.has_base():
        return Verdict(count)
    foreign = [each.full_name for each in shelf.adapters if each.manifest.base.digest != scene.base.digest]
    fix = f"made for another base, and not served: `openledger-node adapters remove {foreign[0]}`" if foreign else ""
    return Verdict(count, fix)


def budget(scene: Scene) -> Verdict:
    """The base fits under the owner's caps."""
    limits = scene.config.limits
    caps = [cap for cap in (limits.vram_bytes, limits.ram_bytes) if cap]
    if not caps:
        return Verdict("no cap on memory")
    if not scene.has_base():
        return unknown("not looked at before the base is here")
    needed = base_bytes_on_disk(scene.base.folder) + 2 * LEAST_BYTES
    found = f"at most {min(caps) / 1e9:.1f} GB, the base wants about {needed / 1e9:.1f}"
    return Verdict(
        found, "" if min(caps) >= needed else "`openledger-node limits set --vram SIZE --ram SIZE` allows more"
    )


def engine(scene: Scene) -> Verdict:
    """The engine of a daemon that runs is up."""
    status = scene.status
    if status is None:
        return unknown("the daemon is not running")
    state = status["engine"]["state"]
    if state in ("ready", "absent", "paused", "starting"):
        return Verdict(state)
    return Verdict(state, "`openledger-node logs --source engine` says why")
