"""The table of well-known bases that `setup` shows, with what each leaves room for on this machine."""

from collections.abc import Sequence

from ..config import InferenceConfig
from ..engine.base_fit import Room, choose_form, forms_of, is_quick
from ..engine.budget import PLAN_RANK
from ..machine import Machine
from ..models.known_bases import KNOWN_BASES, KnownBase
from ..operator.base_fits import TOKENS_STEP
from .base_check import show_trouble
from .render import plain, say
from .units import size

NAME_WIDTH = max(len(base.name) for base in KNOWN_BASES)


def base_from_answer(answer: str) -> str:
    """Return the base that an answer names by its number in the table, or the answer itself."""
    is_number = answer.isascii() and answer.isdecimal() and 1 <= int(answer) <= len(KNOWN_BASES)
    return KNOWN_BASES[int(answer) - 1].name if is_number else answer


def show_bases(machine: Machine, room: Room, inference: InferenceConfig, proposed: str) -> None:
    """Print this machine's memory and the table; the proposed base is marked."""
    card = machine.usable_card
    taken = f", {size(card.taken_bytes)} of them in use" if card and card.taken_bytes else ""
    found = f"{card.name} with {size(card.total_bytes)}{taken}" if card else "no graphics card for the engine"
    say(f"this machine: {size(machine.ram_bytes)} of memory, {plain(found)}; {size(room.size_bytes)} for the engine")
    show_trouble(machine)
    say(f"\n     {'base':<{NAME_WIDTH}}  download  served  tokens  adapters")
    for line in base_lines(KNOWN_BASES, inference, room, proposed):
        say(plain(line))
    say(f"\ntokens of context for all requests together, and adapters of rank {PLAN_RANK} in memory at the same time")


def base_lines(bases: Sequence[KnownBase], inference: InferenceConfig, room: Room, proposed: str) -> list[str]:
    """The lines of the table."""
    return [_line(number, base, inference, room, proposed) for number, base in enumerate(bases, 1)]


def _line(number: int, base: KnownBase, inference: InferenceConfig, room: Room, proposed: str) -> str:
    forms = forms_of(base.config, inference, room)
    form = choose_form(forms, inference.quantisation) or forms[-1]
    mark = "→" if base.name == proposed else " "
    head = f"{mark} {number:>2} {base.name:<{NAME_WIDTH}}  {size(base.download_bytes):>8}  {form.quantisation:<6}"
    if form.plan is None:
        return f"{head}  does not fit, takes {size(form.takes_bytes)}"
    tokens = form.plan.kv_tokens // TOKENS_STEP * TOKENS_STEP
    notes = ["" if is_quick(base, room) else "slow on a CPU", "" if base.is_open else "needs a hub account"]
    return f"{head} {tokens:>7,}  {form.plan.num_adapters:>8,}  {', '.join(filter(None, notes))}".rstrip()
