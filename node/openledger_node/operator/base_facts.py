"""The facts about bases for JSON: those that this release knows, and what fits this machine."""

from typing import Any

from ..config import Config
from ..engine.base_fit import Form, Room, choose_form, is_quick, usual_form
from ..engine.budget import PLAN_RANK, base_bytes_on_disk
from ..errors import ModelError, NetworkError
from ..home import Home
from ..models.bases import Base, base_here, pull_name
from ..models.decoder_config import OtherDecoderError, read_config
from ..models.known_bases import KNOWN_BASES, KnownBase, known_base
from .base_fits import TOKENS_STEP, place_text, refusal_text
from .base_look import BaseLook, BaseLooks, hub_name


def known_to_plain(home: Home, config: Config, *, held_bytes: int = 0) -> dict[str, Any]:
    """Every base that this release knows, with the room that it leaves on this machine; blocks.

    `held_bytes`: as in `BaseLooks`.
    `tokens` of a form are those of all requests together, and `num_adapters` have the rank `plan_rank`.
    """
    looks = BaseLooks(home, config, held_bytes=held_bytes)
    return {
        "machine": machine_to_plain(looks),
        "plan_rank": PLAN_RANK,
        "proposed": looks.propose(),
        "bases": [_known(home, config, looks, base) for base in KNOWN_BASES],
    }


def look_to_plain(home: Home, config: Config, name: str, *, held_bytes: int = 0) -> dict[str, Any]:
    """One base by a name that `models pull` takes: its size, and whether it fits; blocks.

    `held_bytes`: as in `BaseLooks`.

    Raises:
        ModelError: it is not a base.
        NetworkError: the hub does not have it, or does not answer.
    """
    looks, wanted = BaseLooks(home, config, held_bytes=held_bytes), hub_name(name)
    found = looks.look(wanted)
    known, here = known_base(wanted), _here(home, wanted)
    return {
        "name": name,
        "base": here.name if here else None,
        "license": known.license if known else found.hub.license if found.hub else None,
        "machine": machine_to_plain(looks),
        **_fit(config, looks, wanted, found),
        "download_bytes": found.download_bytes,
    }


def base_facts(base: Base) -> dict[str, Any]:
    """Size, context, format and licence of a base on this machine, as far as they are known; reads its files."""
    known = known_base(pull_name(base))
    return {
        "size_bytes": base_bytes_on_disk(base.folder) if base.gguf is None or base.gguf.exists() else None,
        "context": _context(base),
        "format": "gguf" if base.gguf else "safetensors",
        "license": known.license if known else None,
    }


def machine_to_plain(looks: BaseLooks) -> dict[str, Any]:
    """The memory that bases have to fit into."""
    trouble = looks.machine.trouble
    return {
        "place": place_text(looks.machine, looks.room),
        "room_bytes": looks.room.size_bytes,
        "on_gpu": looks.room.on_gpu,
        "trouble": {"found": trouble.found, "fix": trouble.fix} if trouble else None,
    }


def _known(home: Home, config: Config, looks: BaseLooks, base: KnownBase) -> dict[str, Any]:
    here = _here(home, base.name)
    forms = looks.forms(base.config)
    found = BaseLook(forms=forms, weight_bytes=base.size_bytes, download_bytes=base.download_bytes)
    return {
        "name": base.name,
        "base": here.name if here else None,
        "license": base.license,
        "is_open": base.is_open,
        "is_quick": is_quick(base, looks.room),
        **_fit(config, looks, base.name, found),
        "download_bytes": 0 if here else base.download_bytes,
    }


def _fit(config: Config, looks: BaseLooks, name: str, found: BaseLook) -> dict[str, Any]:
    """The fit of a base; `served` is the quantisation to take, and `why_not` says what it lacks in all of them."""
    setting, room = config.inference.quantisation, looks.room
    chosen = choose_form(found.forms, setting) if found.forms else None
    fits = chosen is not None if found.forms else looks.fits_by_size(found)
    return {
        "size_bytes": found.weight_bytes,
        "fits": fits,
        "served": chosen.quantisation if chosen else None,
        "usual": usual_form(found.forms, setting) if found.forms else None,
        "forms": [form_to_plain(form, room) for form in found.forms],
        "why_not": None if fits else refusal_text(name, found.takes, config.inference, room),
    }


def form_to_plain(form: Form, room: Room) -> dict[str, Any]:
    """A base in one quantisation; `lacks_bytes` is the memory that is missing."""
    plan = form.plan
    return {
        "quantisation": form.quantisation,
        "takes_bytes": form.takes_bytes,
        "fits": plan is not None,
        "tokens": plan.kv_tokens // TOKENS_STEP * TOKENS_STEP if plan else None,
        "num_adapters": plan.num_adapters if plan else None,
        "context": plan.context if plan else None,
        "lacks_bytes": 0 if plan else max(0, form.takes_bytes - room.size_bytes),
    }


def _here(home: Home, name: str) -> Base | None:
    try:
        return base_here(home, name)
    except (ModelError, NetworkError):
        return None


def _context(base: Base) -> int | None:
    """The context that the base was made for; None if its config is not one that we read."""
    if base.folder is None:
        return None
    try:
        return read_config(base.folder).context_max
    except (OtherDecoderError, ModelError, OSError):
        return None
