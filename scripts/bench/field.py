"""The contenders: each runs in a process of its own, with its fastest OpenMP setting."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from contender import Contender
from quiet import PlayerError
from work import FULL, RANKS, PromptDrawer, Shape, folder_of, spread

from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.bases import gguf_of

VLLM_PYTHON = Path(__file__).resolve().parents[2] / ".venv-vllm" / "bin" / "python"

WAITS: dict[str, dict[str, str]] = {
    "default": {},
    "active": {"OMP_WAIT_POLICY": "ACTIVE"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
"""OpenMP wait policies. Spinning disturbs nobody here, because a process is stopped outside its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One contender before it is started."""

    script: str
    words: dict[str, Any] = field(default_factory=dict)
    python: str | None = None
    has_adapters: bool = True


@dataclass(slots=True, kw_only=True)
class Field:
    """The running contenders, their wait policies, and the reasons for absent ones."""

    contenders: dict[str, Contender] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Settings that all contenders share."""

    base: Path
    scratch: Path
    threads: int
    shape: Shape
    sources: list[AdapterSource]
    prompts: PromptDrawer
    say: Callable[[str], None]

    @property
    def packed(self) -> Path:
        """The folder of our backends for compiled and packed files."""
        return self.scratch / "packed"

    @property
    def words(self) -> dict[str, Any]:
        """Arguments that every player is opened with."""
        shape = self.shape
        return {
            "base": str(self.base),
            "dtype": "bfloat16",
            "threads": self.threads,
            "batch": shape.batch,
            "context": shape.context,
        }

    def run(
        self, contender: Contender, batch: int, distinct: int, answer_tokens: int | None = None
    ) -> dict[str, Any]:
        """One batch of fresh prompts over this number of adapters."""
        adapters = [folder_of(source) for source in spread(self.sources, batch, distinct)]
        contender.ask("load", folders=[folder for folder in dict.fromkeys(adapters) if folder]) if distinct else None
        prompts = [prompt.ids for prompt in self.prompts.draw(batch)]
        count = answer_tokens or self.shape.answer_tokens
        return contender.ask("run", prompts=prompts, adapters=adapters, answer_tokens=count)


def entries(setting: Setting, peers: list[str]) -> dict[str, Entry]:
    """All possible contenders."""
    cache = {"cache_folder": str(setting.packed)}
    ours = {
        "torch": Entry(script="ours.py", words={"acceleration": "off", **cache}),
        "accelerated": Entry(script="ours.py", words={"acceleration": "auto", **cache}),
    }
    room = {"adapters_max": setting.shape.batch, "rank_max": max(RANKS)}
    others = {
        "transformers": Entry(script="transformers_peft.py", has_adapters=False),
        "peft": Entry(script="transformers_peft.py"),
        "vllm": Entry(script="vllm_lora.py", words=room, python=str(VLLM_PYTHON)),
    }
    return {name: one for name, one in others.items() if name == "transformers" or name in peers} | ours


@contextmanager
def open_field(setting: Setting, peers: list[str]) -> Iterator[Field]:
    """Start all contenders with their best OpenMP settings, and end them afterwards."""
    found = Field()
    try:
        for name, entry in entries(setting, peers).items():
            if entry.python and not Path(entry.python).exists():
                found.absent[name] = f"{name} is not installed: no {Path(entry.python).parents[1].name}"
                continue
            if entry.python:
                entry = replace(entry, words={**entry.words, "base": str(wide_base(setting))})
            try:
                found.contenders[name], found.waits[name] = open_best(setting, name, entry)
            except PlayerError as error:
                found.absent[name] = f"{name}: {error}"
        check_accelerated(found)
        yield found
    finally:
        for contender in found.contenders.values():
            contender.close()


def wide_base(setting: Setting) -> Path:
    """The base's folder for a contender that reads safetensors only; a GGUF file is widened into one."""
    if gguf_of(setting.base) is None:
        return setting.base
    import torch  # only needed here, and takes seconds

    from openledger_node.models.causal_lm import open_causal_lm

    folder = setting.scratch / "wide"
    if not folder.exists():
        open_causal_lm(setting.base, torch.bfloat16).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(setting.base / name, folder / name)
    return folder


def check_accelerated(found: Field) -> None:
    """Keep one of our two contenders if the processor has no accelerated path, because they are the same then."""
    contender = found.contenders.get("accelerated")
    if contender and contender.about["kernel"] == "torch":
        found.contenders.pop("accelerated").close()
        found.absent["accelerated"] = "this machine has no accelerated path: its processor, or no compiler"


def open_best(setting: Setting, name: str, entry: Entry) -> tuple[Contender, str]:
    """Try each wait policy once and keep the fastest; the short form uses a passive one."""
    if setting.shape != FULL:
        return start(setting, name, entry, WAITS["passive"]), "passive"
    best: tuple[float, Contender, str] | None = None
    for wait in WAITS:
        contender = start(setting, name, entry, WAITS[wait])
        try:
            took_s = try_out(setting, contender, entry)
        except PlayerError:
            contender.close()
            if best:
                best[1].close()
            raise
        setting.say(f"{name}: {took_s:.2f} s when OpenMP waits by {wait}")
        if best is None or took_s < best[0]:
            if best:
                best[1].close()
            best = took_s, contender, wait
        else:
            contender.close()
    assert best is not None, "there is a default"
    return best[1], best[2]


def start(setting: Setting, name: str, entry: Entry, waiting: dict[str, str]) -> Contender:
    environment = {"OMP_NUM_THREADS": str(setting.threads), **waiting}
    log, words = setting.scratch / f"{name}.log", {**setting.words, **entry.words}
    python = {"python": entry.python} if entry.python else {}
    return Contender(entry.script, words, log, environment=environment, **python)


def try_out(setting: Setting, contender: Contender, entry: Entry) -> float:
    """Seconds of a batch, after a warm-up batch."""
    distinct = setting.shape.few if entry.has_adapters else 0
    setting.run(contender, setting.shape.batch, distinct)
    return float(setting.run(contender, setting.shape.batch, distinct)["wall_s"])
