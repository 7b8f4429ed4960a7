"""A benchmark as a block of text to paste into an issue: the machine, the figures, and the GPU's bars among them.

It has no path, no key, and no name but those of the card and of a base that everybody knows.
"""

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..card import Card, find_card
from ..engine.backend import Profile
from ..engine.benchmark import BatchFigures, BenchmarkWork, Figures
from ..engine.memory_plan import decode_bytes
from ..errors import ModelError
from ..models.bases import Base
from ..models.decoder_config import DecoderConfig, read_config
from ..models.known_bases import known_base
from ..text import size_text

FACTS_TIMEOUT_S = 120.0
NUMBER_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
NARROW = ("int4", "nf4")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedBar:
    """One bar that the own base can show; `value` is None with the reason in `why`."""

    name: str
    about: str
    value: float | None
    unit: str
    goal: float
    stretch: float
    is_lower_better: bool = True
    why: str = ""

    def verdict(self, *, is_card: bool) -> str:
        """The value, on a card beside its goals, or the reason why there is none."""
        if self.value is None:
            return f"NOT TESTED: {self.why}"
        if not is_card:
            return f"{self.value:.3g}{self.unit}"
        sign = "≤" if self.is_lower_better else "≥"
        is_met = self.value <= self.goal if self.is_lower_better else self.value >= self.goal
        met = "met" if is_met else "missed"
        return f"{self.value:.3g}{self.unit} ({sign} {self.goal:g}, stretch {self.stretch:g}: {met})"


def device_facts_of(device: str) -> dict[str, Any]:
    """The facts about the device that torch knows, asked in a process of its own; empty if torch can't tell."""
    command = [sys.executable, "-m", "openledger_node.backends.device_facts", device]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=FACTS_TIMEOUT_S, check=True)
        found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}
    return found


def render_shared(base: Base, work: BenchmarkWork, figures: Figures, ram_bytes: int, *, load: float) -> str:
    """The whole block, in a fence so that an issue shows it as it is; `load`: of the machine before it began."""
    facts = device_facts_of(figures.profile.device)
    is_card = figures.profile.device != "cpu"
    lines = [
        "openledger-node benchmark --share",
        "",
        *_machine(figures.profile, facts, find_card(ram_bytes) if is_card else None),
        f"base      {describe_base(base, figures.profile)}",
        f"work      prompts of {work.prompt_tokens} tokens, answers of {work.answer_tokens}, "
        f"adapters of rank {work.rank}, {len(figures.failures)} failed; load {load:.1f} when it began",
        "",
        *_table(figures),
        "",
        *_bars(base, work, figures, facts),
    ]
    return "\n".join(["```", *lines, "```"])


def _machine(profile: Profile, facts: dict[str, Any], card: Card | None) -> list[str]:
    name = facts.get("name") or (card.name if card else "")
    where = [name or "no card: this ran on a CPU", str(facts.get("architecture") or "")]
    if card and card.total_bytes:
        where.append(f"{size_text(card.total_bytes)}, driver {card.driver or 'unknown'}")
    if facts.get("bytes_per_s"):
        where.append(f"{facts['bytes_per_s'] / 1e9:.0f} GB/s by a copy")
    versions = [f"openledger-node {__version__}", f"Python {platform.python_version()}", platform.system()]
    if facts:
        versions += [f"torch {facts['torch']} for {facts['runtime']}", f"Triton {facts['triton'] or 'none'}"]
    path = f"{profile.backend} on {profile.device}, kernel {profile.kernel}, {profile.dtype}"
    return [
        f"card      {', '.join(filter(None, where))}",
        f"versions  {', '.join(versions)}",
        f"path      {path}, quantisation {profile.quantisation}, {profile.threads} threads",
    ]


def describe_base(base: Base, profile: Profile) -> str:
    """The sizes of a base, and its name if everybody knows it."""
    name = base.name if known_base(base.name) else "a base of my own"
    config, size = _config_of(base), f"{profile.base_bytes / 1e9:.2f} GB"
    if config is None:
        return f"{name}, {size}"
    return (
        f"{name}: {config.num_layers} layers of {config.d_model}, {config.num_heads}/{config.num_kv_heads} heads, "
        f"vocabulary {config.vocab_size:,}, {size}"
    )


def _config_of(base: Base) -> DecoderConfig | None:
    try:
        return read_config(base.folder) if base.folder else None
    except ModelError:  # another backend's architecture
        return None


def _table(figures: Figures) -> list[str]:
    head = f"{'batch':>5} {'adapters':>8} {'tokens/s':>9} {'first token':>12} {'a step':>9}"
    rows = [
        f"{one.batch:>5} {one.adapters:>8} {one.tokens_per_s:>9,.0f} {one.ttft_ms:>9,.0f} ms {one.step_ms:>6.1f} ms"
        for one in figures.batches
    ]
    more = f"loading the base {figures.start_s:.1f} s"
    if figures.load_ms is not None and figures.adapter_bytes:
        more += f", an adapter of {figures.adapter_bytes / 1e6:.0f} MB from disk {figures.load_ms:.0f} ms"
    return [head, *rows, more]


def _bars(base: Base, work: BenchmarkWork, figures: Figures, facts: dict[str, Any]) -> list[str]:
    bars = shared_bars(figures, _bytes_of_step(base, work, figures), facts.get("bytes_per_s"))
    is_card = figures.profile.device != "cpu"
    head = "bars" if is_card else "bars, without their goals, which are a card's"
    return [head, *(f"{bar.name:<4} {bar.about}: {bar.verdict(is_card=is_card)}" for bar in bars)]


def _bytes_of_step(base: Base, work: BenchmarkWork, figures: Figures) -> dict[int, int]:
    """The bytes that a decode step of the bare base reads, by the size of the batch; empty if they are not known."""
    config, profile = _config_of(base), figures.profile
    if config is None or profile.dtype not in NUMBER_BYTES or not profile.num_blocks:
        return {}
    cached = work.prompt_tokens + work.answer_tokens // 2
    return {
        one.batch: decode_bytes(
            config,
            profile.quantisation,
            NUMBER_BYTES[profile.dtype],
            base_bytes=profile.base_bytes,
            cached=one.batch * cached,
        )
        for one in figures.batches
    }


def shared_bars(figures: Figures, step_bytes: dict[int, int], bytes_per_s: float | None) -> list[SharedBar]:
    """The GPU's bars that one base can show without its peers."""
    bare = {one.batch: one for one in figures.batches if not one.adapters}
    adapted = {one.batch: one for one in figures.batches if one.adapters}
    largest = max(bare)
    floor = _over_floor(bare[largest], step_bytes, bytes_per_s)
    lone = _over_floor(bare[min(bare)], step_bytes, bytes_per_s)
    is_narrow = figures.profile.quantisation in NARROW
    shared = figures.shared
    drawn = 100 * (shared.chat_step_ms / shared.greedy_step_ms - 1) if shared and shared.greedy_step_ms else None
    unknown = "the bytes of a step or the speed of the memory are not known here"
    has_both = largest in adapted and adapted[largest].step_ms > 0
    return [
        SharedBar(
            name="G4",
            about=f"a step of {largest} over the time that its bytes take",
            value=floor,
            unit=" ×",
            goal=1.6,
            stretch=1.35,
            why=unknown,
        ),
        SharedBar(
            name="G6",
            about=f"{largest} different adapters over the bare base",
            value=bare[largest].step_ms / adapted[largest].step_ms if has_both else None,
            unit=" ×",
            goal=0.80,
            stretch=0.88,
            is_lower_better=False,
            why="the base takes no adapters",
        ),
        SharedBar(
            name="G8",
            about="the time that the bytes of one request's step take over the step",
            value=1 / lone if lone and is_narrow and min(bare) == 1 else None,
            unit=" ×",
            goal=0.65,
            stretch=0.80,
            is_lower_better=False,
            why=unknown if is_narrow else "the base is not in 4 bits",
        ),
        SharedBar(
            name="G9",
            about=f"temperature 0.7 and top_p 0.9 over greedy, {shared.chat_batch if shared else 0} requests",
            value=drawn,
            unit=" %",
            goal=5,
            stretch=2,
            why="answers have one token",
        ),
        SharedBar(
            name="G12",
            about="a pause, until the engine's process is gone",
            value=shared.pause_s if shared else None,
            unit=" s",
            goal=2,
            stretch=1,
            why="there was none",
        ),
    ]


def _over_floor(one: BatchFigures, step_bytes: dict[int, int], bytes_per_s: float | None) -> float | None:
    """A step's time over the time that its bytes take; None if either is not known."""
    if not bytes_per_s or not one.step_ms or one.batch not in step_bytes:
        return None
    return one.step_ms / 1000 / (step_bytes[one.batch] / bytes_per_s)
