"""Checks of the base and its digest, the adapters, and their memory limits."""

import shlex
from pathlib import Path

from openledger_protocol.constants import DEMO_BASE_NAME

from ...config import InferenceConfig
from ...engine.base_fit import PLANNED_BACKENDS, Room, choose_form, forms_of, room_on
from ...engine.budget import LEAST_BYTES, base_bytes_on_disk, needs_of, plan_memory
from ...errors import ConfigError, ModelError
from ...models.bases import file_digest, folder_digest, is_here, pull_name
from ...models.decoder_config import DecoderConfig, read_config
from ...models.library import read_library
from ..base_fits import alternatives, plan_text
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
    size_bytes = base_bytes_on_disk(folder)
    if size_bytes > HASHED_BYTES_MAX:
        return unknown(f"{size_bytes / 1e9:.1f} GB: too large to read within a check")
    found = file_digest(scene.base.gguf) if scene.base.gguf else folder_digest(folder)
    if found == scene.base.digest:
        return Verdict("the files match")
    fix = f"delete {folder} and run `openledger-node models pull {shlex.quote(pull_name(scene.base))}`"
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
    """The base fits into what the operator's limits and other programs leave of the memory."""
    inference, limits = scene.config.inference, scene.config.limits
    if not scene.has_base():
        return unknown("unknown until the base is here")
    room = room_on(scene.machine, inference, limits, cache=scene.home.cache)
    is_capped = (limits.vram_bytes if room.on_gpu else limits.ram_bytes) == room.size_bytes
    backend = scene.backend.backend
    if backend not in PLANNED_BACKENDS and not is_capped:
        return unknown(f"the backend {backend} divides the memory itself")
    needs = needs_of(scene.base.folder, inference, on_gpu=room.on_gpu, has_kernels=room.has_kernels)
    needed = needs.fixed_bytes + 2 * LEAST_BYTES
    least = "the limit is" if is_capped else "the engine may take"
    found = f"{least} {room.size_bytes / 1e9:.1f} GB; the base needs about {needed / 1e9:.1f} GB"
    config = _config_of(scene.base.folder)
    if room.size_bytes < needed:
        return Verdict(found, _remedy(config, inference, room, is_capped=is_capped))
    if config is None:
        return Verdict(found)
    try:
        plan = plan_memory(
            config, inference, cap_bytes=room.size_bytes, on_gpu=room.on_gpu, has_kernels=room.has_kernels
        )
    except ConfigError:  # it would fit, if it could be loaded
        return Verdict(found, _remedy(config, inference, room, is_capped=is_capped))
    return Verdict(f"{found}, which leaves {plan_text(plan)}")


def _config_of(folder: Path | None) -> DecoderConfig | None:
    """The config of the base in `folder`; None for another architecture, of which only the size is known."""
    try:
        return read_config(folder) if folder else None
    except ModelError:
        return None


def _remedy(config: DecoderConfig | None, inference: InferenceConfig, room: Room, *, is_capped: bool) -> str:
    """The setting that gives the base more room, or needs less of it."""
    form = choose_form(forms_of(config, inference, room), inference.quantisation) if config else None
    narrower = f'set [inference] quantisation = "{form.quantisation}", in which the base fits' if form else ""
    if is_capped:
        more = "allow more with `openledger-node limits set --vram SIZE --ram SIZE`"
    else:
        others = alternatives(inference, room)
        more = "choose a smaller base with `openledger-node setup`" + (f", such as {others[0]}" if others else "")
        more = f"close programs that use the card, or {more}" if room.on_gpu else more
    return f"{narrower}, or {more}" if narrower else more


def backend(scene: Scene) -> Verdict:
    """The backend that runs the base, and why."""
    if not scene.has_base():
        return unknown("unknown until the base is here")
    choice = scene.backend
    fix = ""
    if choice.backend == "torch_lora" and "llama-server" in choice.why:
        fix = "install llama.cpp, or set [inference] server_command to its `llama-server`"
    return Verdict(f"{choice.backend}: {choice.why}", fix)


def engine(scene: Scene) -> Verdict:
    """The engine of a running daemon is up."""
    status = scene.status
    if status is None:
        return unknown("the daemon is not running")
    engine = status["engine"]
    state = engine["state"]
    if why := engine.get("why_failed"):
        return Verdict(state, why)
    if engine["restarts"]:
        return Verdict(f"{state}, started again {engine['restarts']} times", "the node's log says why it ended")
    if state in ("ready", "absent", "paused", "starting", "unloaded", "reloading"):
        return Verdict(state)
    return Verdict(state, "the node's log says why")
