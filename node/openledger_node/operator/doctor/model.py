"""Checks of the base and its digest, the adapters, and their memory limits."""

from openledger_protocol.constants import DEMO_BASE_NAME

from ...engine.budget import LEAST_BYTES, PLAN_RANK, base_bytes_on_disk, is_on_gpu, needs_of, plan_memory
from ...errors import ConfigError, ModelError
from ...models.bases import folder_digest, is_here
from ...models.decoder_config import read_config
from ...models.library import read_library
from .finding import Verdict, unknown
from .scene import Scene

HASHED_BYTES_MAX = 1 << 30
"""A larger base takes longer than a check may; each start compares its files' sizes and times instead."""


def base(scene: Scene) -> Verdict:
    """The chosen base is on this machine."""
    if scene.config.inference.base == DEMO_BASE_NAME and not is_here(scene.home, DEMO_BASE_NAME):
        return Verdict("the demo base, which the first start downloads")
    found = scene.base
    return Verdict(f"{found.name} ({found.digest[:18]}…)")


def digest(scene: Scene) -> Verdict:
    """The base's files match its digest."""
    if not scene.has_base() or (folder := scene.base.folder) is None:
        return unknown("no files to check")
    if scene.base.source is not None and scene.base.source.endswith(".gguf"):
        return Verdict("converted from a file whose digest was checked at download")
    size_bytes = base_bytes_on_disk(folder)
    if size_bytes > HASHED_BYTES_MAX:
        return unknown(f"{size_bytes / 1e9:.1f} GB: too large to read within a check")
    found = folder_digest(folder)
    if found == scene.base.digest:
        return Verdict("the files match")
    if scene.base.name == DEMO_BASE_NAME:
        return Verdict("converted here from the file that the digest names")
    fix = f"delete {folder} and run `openledger-node models pull {scene.base.name.replace('--', '/')}`"
    return Verdict(f"the files hash to {found[:18]}…, but base.json says {scene.base.digest[:18]}…", fix)


def adapters(scene: Scene) -> Verdict:
    """Every adapter in the library is intact and made for the base."""
    library = read_library(scene.home)
    count = f"{len(library.adapters)} here"
    if library.refused:
        folder, reason = next(iter(library.refused.items()))
        more = f", and {len(library.refused) - 1} more" if len(library.refused) > 1 else ""
        return Verdict(count, f"not served: {reason}{more}: fix it, or delete {folder}")
    if not scene.has_base():
        return Verdict(count)
    foreign = [each.full_name for each in library.adapters if each.manifest.base.digest != scene.base.digest]
    fix = (
        f"{foreign[0]} is for another base and not served: run `openledger-node adapters remove {foreign[0]}`"
        if foreign
        else ""
    )
    return Verdict(count, fix)


def budget(scene: Scene) -> Verdict:
    """The base fits within the operator's memory limits."""
    inference, limits = scene.config.inference, scene.config.limits
    on_gpu = is_on_gpu(inference.device)
    if not (cap := limits.vram_bytes if on_gpu else limits.ram_bytes):
        return Verdict("no memory limit is set")
    if not scene.has_base():
        return unknown("unknown until the base is here")
    needs = needs_of(scene.base.folder, inference)
    needed = needs.fixed_bytes + 2 * LEAST_BYTES
    found = f"the limit is {cap / 1e9:.1f} GB; the base needs about {needed / 1e9:.1f} GB"
    if cap < needed:
        return Verdict(found, "allow more with `openledger-node limits set --vram SIZE --ram SIZE`")
    if scene.base.folder is None:
        return Verdict(found)
    try:
        plan = plan_memory(read_config(scene.base.folder), inference, cap_bytes=cap, on_gpu=on_gpu)
    except (ModelError, KeyError):  # another architecture, of which only the size is known
        return Verdict(found)
    except ConfigError as error:
        return Verdict(found, str(error))
    return Verdict(
        f"{found}, which leaves {plan.kv_tokens:,} tokens of KV cache and {plan.num_adapters} adapters of rank "
        f"{PLAN_RANK} on the device"
    )


def engine(scene: Scene) -> Verdict:
    """The engine of a running daemon is up."""
    status = scene.status
    if status is None:
        return unknown("the daemon is not running")
    engine = status["engine"]
    state = engine["state"]
    if why := engine.get("why_failed"):
        return Verdict(state, why)
    if state in ("ready", "absent", "paused", "starting", "unloaded", "reloading"):
        return Verdict(state)
    return Verdict(state, "`openledger-node logs --source engine` shows why")
