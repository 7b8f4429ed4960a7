"""Sentences about the bases that fit this machine, their context and the adapters beside them."""

from collections.abc import Sequence

from ..config import InferenceConfig
from ..engine.base_fit import CPU_PARAMETERS_MAX, Form, Room, choose_form, forms_of
from ..engine.budget import PLAN_RANK, MemoryPlan
from ..machine import Machine
from ..models.known_bases import KNOWN_BASES

ALTERNATIVES_MAX = 2
TOKENS_STEP = 100
"""Planned tokens are rounded down to it: they are arithmetic, not a measurement."""


def plan_text(plan: MemoryPlan) -> str:
    """The room that a plan leaves."""
    tokens = plan.kv_tokens // TOKENS_STEP * TOKENS_STEP
    adapters = "1 adapter" if plan.num_adapters == 1 else f"{plan.num_adapters:,} adapters"
    return (
        f"{tokens:,} tokens of context for all requests together and {adapters} of rank {PLAN_RANK} beside them; "
        f"one request may have up to {plan.context:,}"
    )


def form_text(form: Form, room: Room) -> str:
    """The room that a base leaves in one quantisation, or the memory that it lacks."""
    if form.plan:
        return f"fits with {plan_text(form.plan)}"
    return f"does not fit: takes {form.takes_bytes / 1e9:.1f} GB of {room.size_bytes / 1e9:.1f}"


def place_text(machine: Machine, room: Room) -> str:
    """The memory that the engine may take, and where it is."""
    card, free = machine.usable_card, room.size_bytes / 1e9
    if room.on_gpu and card:
        return f"{card.name} with {card.total_bytes / 1e9:.1f} GB, {free:.1f} GB of them for the engine"
    return f"{machine.ram_bytes / 1e9:.1f} GB of memory without a card, {free:.1f} GB of them for the engine"


def refusal_text(name: str, takes: str, inference: InferenceConfig, room: Room) -> str:
    """A sentence on a base that can't be served here, and on the bases that can."""
    place = "your card" if room.on_gpu else "this machine"
    others = alternatives(inference, room)
    instead = f"{' and '.join(others)} would fit" if others else "no base that this release knows would fit either"
    return f"{name} does not fit: it takes {takes}, and {place} has {room.size_bytes / 1e9:.1f} GB for it. {instead}"


def takes_text(forms: Sequence[Form]) -> str:
    """The memory that a base takes in each quantisation."""
    first, *others = forms
    more = "".join(f", {form.takes_bytes / 1e9:.1f} GB in {form.quantisation}" for form in others)
    return f"at least {first.takes_bytes / 1e9:.1f} GB{more}"


def alternatives(inference: InferenceConfig, room: Room) -> list[str]:
    """The largest well-known bases that fit and answer quickly enough here, each with its quantisation."""
    found = []
    for base in reversed(KNOWN_BASES):
        if not room.on_gpu and base.num_parameters > CPU_PARAMETERS_MAX:
            continue
        form = choose_form(forms_of(base.config, inference, room), inference.quantisation)
        if form and base.is_open:
            found.append(base.name if form.quantisation == "none" else f"{base.name} in {form.quantisation}")
    return found[:ALTERNATIVES_MAX]
