"""The quantisations in which a base fits this machine, planned from its config before anything is downloaded."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import Config, InferenceConfig, LimitsConfig
from ..errors import ConfigError, ModelError
from ..machine import Machine, look_at_machine
from ..models.config_fields import stated_context
from ..models.decoder_config import DecoderConfig, read_config
from ..models.known_bases import KNOWN_BASES, KnownBase
from .backend import USUAL_CONTEXT, BackendSettings
from .budget import LEAST_BYTES, MemoryPlan, fit, is_on_gpu, needs_of, number_bytes_of, plan_memory, runs_kernels
from .memory_plan import memory_needs

AUTO = "auto"

FORMS = ("none", "int8", "int4")
"""Quantisations to choose from, the widest first. nf4 is as large as int4 and needs another library."""

STORED_FORMS = ("none", AUTO)
"""The same for a base whose files are narrow; "auto" serves it as it is stored."""

UNPLANNED_CONTEXT = 8_192
"""The longest context that is chosen for a backend or a base whose memory is not planned here."""

PLANNED_BACKENDS = ("auto", "torch_lora")
"""Others divide the memory themselves, or use several cards."""

FITS_TOKENS, FITS_ADAPTERS = 2_048, 1
"""A base fits if its plan leaves at least one conversation, and an adapter beside it."""

ROOMY_TOKENS, ROOMY_ADAPTERS = 8_192, 4
"""A form with less is proposed only if no narrower one has more: a node earns with several adapters at once."""

RAM_PERCENT = 75
"""Of the memory of a machine without a card; the rest is for the daemon, the desktop and the file cache."""

CPU_PARAMETERS_MAX = 500 * 10**6
"""A larger base on a CPU answers more slowly than people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory that the engine may take on this machine."""

    size_bytes: int
    on_gpu: bool
    has_kernels: bool = False  # the card runs the engine's own kernels, which take less of it for themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A base in one quantisation."""

    quantisation: str
    base_bytes: int  # as loaded
    takes_bytes: int  # at least, to serve anything
    plan: MemoryPlan | None  # None: it does not fit

    @property
    def is_roomy(self) -> bool:
        """True if it leaves room for several conversations and adapters."""
        plan = self.plan
        return plan is not None and plan.kv_tokens >= ROOMY_TOKENS and plan.num_adapters >= ROOMY_ADAPTERS


def room_on(machine: Machine, inference: InferenceConfig, limits: LimitsConfig, *, cache: Path | None = None) -> Room:
    """The memory that a card's driver and other programs leave, within the owner's limits.

    Without a card that the engine can use, it is a part of the main memory. `cache`: as in `runs_kernels`.
    """
    card = machine.usable_card if inference.device != "cpu" else None
    there = card.free_bytes if card else machine.ram_bytes * RAM_PERCENT // 100
    cap = limits.vram_bytes if card else limits.ram_bytes
    has_kernels = card is not None and card.vendor != "apple" and runs_kernels(inference, cache)
    return Room(size_bytes=min(there, cap or there), on_gpu=card is not None, has_kernels=has_kernels)


def context_here(
    config: Config, folder: Path | None, backend: str, *, cache: Path | None = None, held_bytes: int = 0
) -> int:
    """Choose the context of the base in `folder` on this machine, for a `backend` that does not choose it itself.

    `cache`: as in `runs_kernels`. `held_bytes`: as in `fit_here`.
    """
    if folder is None:
        return USUAL_CONTEXT  # the fake has no limit, and no memory
    try:
        base = read_config(folder)
    except ModelError:  # another architecture: its memory can't be planned
        return min(UNPLANNED_CONTEXT, stated_context(folder) or USUAL_CONTEXT)
    room = room_on(look_at_machine().without(held_bytes), config.inference, config.limits, cache=cache)
    try:
        plan = plan_memory(
            base, config.inference, cap_bytes=room.size_bytes, on_gpu=room.on_gpu, has_kernels=room.has_kernels
        )
    except ConfigError:  # a program may leave the memory until the base is loaded
        return min(USUAL_CONTEXT, base.context_max)
    return plan.context if backend in PLANNED_BACKENDS else min(UNPLANNED_CONTEXT, plan.context)


def fit_here(
    settings: BackendSettings,
    config: Config,
    folder: Path | None,
    backend: str = "torch_lora",
    *,
    held_bytes: int = 0,
) -> tuple[BackendSettings, int]:
    """Divide the owner's limit; without one, what other programs leave of a card now, if the base fits there.

    `held_bytes`: memory of the card that the running engine holds, which ends before another one starts.

    Returns:
        The settings with the sizes of the caches, and the bytes of the adapter cache.

    Raises:
        ConfigError: the base leaves too little of the owner's limit.
    """
    inference, limits = config.inference, config.limits
    on_gpu = is_on_gpu(inference.device)
    cap_bytes = limits.vram_bytes if on_gpu else limits.ram_bytes
    cache = Path(settings.cache_folder) if settings.cache_folder else None
    if settings.is_auto_context:
        settings = replace(
            settings, context_max=context_here(config, folder, backend, cache=cache, held_bytes=held_bytes)
        )
    context = settings.context_max if settings.is_auto_context else 0
    has_kernels = on_gpu and runs_kernels(inference, cache)
    needs = needs_of(folder, inference, on_gpu=on_gpu, has_kernels=has_kernels, context=context)
    adapter_bytes = inference.adapter_cache_bytes
    if on_gpu and not cap_bytes and needs.full_kv_bytes and inference.backend in PLANNED_BACKENDS:
        room = room_on(look_at_machine().without(held_bytes), inference, limits, cache=cache)
        # A base that does not fit beside a game now may fit when it is loaded; else the engine says what it lacks.
        with suppress(ConfigError):
            free_bytes = room.size_bytes if room.on_gpu else 0
            return fit(settings, adapter_bytes, cap_bytes=free_bytes, needs=needs, is_owners_cap=False)
    return fit(settings, adapter_bytes, cap_bytes=cap_bytes, needs=needs)


def forms_of(config: DecoderConfig, inference: InferenceConfig, room: Room) -> list[Form]:
    """A base in each quantisation, the widest first."""
    formats = STORED_FORMS if config.stored else FORMS
    return [_form(config, replace(inference, quantisation=quantisation), room) for quantisation in formats]


def choose_form(forms: Sequence[Form], usual: str) -> Form | None:
    """The `usual` quantisation if it leaves enough room, else the widest that does; None if no form fits."""
    usual = usual_form(forms, usual)
    roomy = [form for form in forms if form.is_roomy]
    fitting = [form for form in forms if form.plan]
    if not (chosen := roomy or fitting[-1:]):
        return None
    return next((form for form in chosen if form.quantisation == usual), chosen[0])


def usual_form(forms: Sequence[Form], setting: str) -> str:
    """The form that a setting means: "auto" serves a base whose files are wide as "none" does."""
    is_wide = all(form.quantisation != AUTO for form in forms)
    return "none" if setting == AUTO and is_wide else setting


def propose(inference: InferenceConfig, room: Room) -> KnownBase:
    """Return the largest base that leaves room for several adapters and answers as fast as people read.

    The last resort is the demo base.
    """
    found = [base for base in KNOWN_BASES if base.is_open and is_quick(base, room)]
    forms = [(base, choose_form(forms_of(base.config, inference, room), inference.quantisation)) for base in found]
    if not room.on_gpu:  # each step of a narrow base widens it again there, which takes many times as long
        forms = [(base, form) for base, form in forms if form and form.quantisation == FORMS[0]]
    roomy = [base for base, form in forms if form and form.is_roomy]
    fitting = [base for base, form in forms if form]
    return (roomy or fitting or KNOWN_BASES[:1])[-1]


def is_quick(base: KnownBase, room: Room) -> bool:
    """Return True if a base answers at least as fast as people read."""
    return room.on_gpu or base.num_parameters <= CPU_PARAMETERS_MAX


def _form(config: DecoderConfig, settings: InferenceConfig, room: Room) -> Form:
    number_bytes = number_bytes_of(settings.dtype, on_gpu=room.on_gpu)
    needs = memory_needs(
        config, settings, is_on_gpu=room.on_gpu, number_bytes=number_bytes, has_kernels=room.has_kernels
    )
    takes = max(needs.fixed_bytes + (2 + needs.adapter_copies) * LEAST_BYTES, needs.base_bytes + needs.load_bytes)
    try:
        plan: MemoryPlan | None = plan_memory(
            config, settings, cap_bytes=room.size_bytes, on_gpu=room.on_gpu, has_kernels=room.has_kernels
        )
    except ConfigError:
        plan = None
    if plan and (plan.kv_tokens < FITS_TOKENS or plan.num_adapters < FITS_ADAPTERS):
        plan = None
    return Form(quantisation=settings.quantisation, base_bytes=needs.base_bytes, takes_bytes=takes, plan=plan)
