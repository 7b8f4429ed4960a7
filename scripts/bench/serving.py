"""Tokens a second of our backends beside transformers, PEFT and vLLM, with many adapters in one batch on the CPU.

Every contender is a process of its own, which is stopped outside its turn, and samples are taken in turns. So ratios
within one run count. Use an otherwise idle machine. `--json` prints one object on the last line; `--quick` is a short
form whose figures mean nothing. The long form takes half an hour.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from bars import Bar, bar, environment, percentile, show_bars
from contender import Contender, PlayerError
from tokenizers import Tokenizer

from openledger_node.home import Home
from openledger_node.models.adapter_files.random_adapter import read_linears, write_random_adapter
from openledger_node.models.bases import find_base, gguf_of
from openledger_protocol.constants import DEMO_BASE_NAME

ROOT = Path(__file__).resolve().parents[2]
HOME = Home(ROOT / ".home")
"""The folder in which `make test` keeps the demo base."""

RANKS: Final = (16, 8)
WORD_LETTERS_MIN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The amount of work. Bars compare batches without adapters, with `few`, and with one for each row."""

    batch: int
    few: int
    distinct: tuple[int, ...]
    prompt_tokens: int
    answer_tokens: int
    samples: int


FULL: Final = Work(batch=32, few=8, distinct=(0, 1, 2, 4, 8, 16, 32), prompt_tokens=64, answer_tokens=32, samples=5)
QUICK: Final = Work(batch=4, few=2, distinct=(0, 2, 4), prompt_tokens=16, answer_tokens=4, samples=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A contender before it is started. `wait` is OpenMP's policy with which it was fastest."""

    name: str
    script: str
    wait: str
    words: dict[str, Any]
    python: Path = Path(sys.executable)
    adapters: bool = True


ENTRIES: Final = {
    "accelerated": Entry(name="openledger", script="ours.py", wait="PASSIVE", words={"acceleration": "auto"}),
    "torch": Entry(name="openledger, torch", script="ours.py", wait="ACTIVE", words={"acceleration": "off"}),
    "transformers": Entry(
        name="transformers", script="transformers_peft.py", wait="ACTIVE", words={}, adapters=False
    ),
    "peft": Entry(name="PEFT", script="transformers_peft.py", wait="ACTIVE", words={}),
    "vllm": Entry(
        name="vLLM",
        script="vllm_lora.py",
        wait="ACTIVE",
        words={"rank_max": max(RANKS)},
        python=ROOT / ".venv-vllm" / "bin" / "python",
    ),
}
PEERS: Final = ("peft", "vllm")

BARS: Final = (
    ("torch_base_over_transformers", "torch", "transformers", "base", 1.1, None),
    ("torch_k8_over_peft", "torch", "peft", "few", 5, None),
    ("torch_k32_over_peft", "torch", "peft", "every", 7, None),
    ("torch_k32_over_vllm", "torch", "vllm", "every", 5, None),
    ("base_over_transformers", "accelerated", "transformers", "base", 3.5, 4.4),
    ("k8_over_peft", "accelerated", "peft", "few", 13, 18),
    ("k32_over_peft", "accelerated", "peft", "every", 24, 28),
    ("k32_over_vllm", "accelerated", "vllm", "every", 18, 24),
    ("one_over_transformers", "accelerated", "transformers", "one", 3.7, 4.3),
)
"""Id, ours, theirs, the case, goal and stretch goal: tokens a second of ours over theirs."""

Case = tuple[str, int, int]  # contender, rows, adapters in the batch
Samples = dict[Case, list[dict[str, Any]]]


class Setting:
    """The base, prompts that no contender has seen before, and adapters on the disk."""

    def __init__(self, scratch: Path, work: Work) -> None:
        folder = find_base(HOME, DEMO_BASE_NAME).folder
        assert folder is not None, "the demo base has files"
        self.base, self.scratch, self.work = Path(folder), scratch, work
        self.threads = 1 if work is QUICK else os.cpu_count() or 1
        linears = read_linears(self.base)
        for number in range(work.batch):
            write_random_adapter(scratch / f"a{number}", linears, rank=RANKS[number % 2], seed=number)
        self.adapters = [str(scratch / f"a{number}") for number in range(work.batch)]
        self._tokenizer = Tokenizer.from_file(str(self.base / "tokenizer.json"))
        self._words = [
            id
            for word, id in sorted(self._tokenizer.get_vocab().items())
            if word[:1] == "Ġ" and word[1:].isascii() and word[1:].isalpha() and len(word) > WORD_LETTERS_MIN
        ]
        self._draws = np.random.default_rng(7)

    def prompt(self) -> list[int]:
        """Words of one token each, so that text and ids have the same length for all contenders."""
        while True:
            ids = [int(id) for id in self._draws.choice(self._words, self.work.prompt_tokens)]
            if self._tokenizer.encode(self._tokenizer.decode(ids), add_special_tokens=False).ids == ids:
                return ids

    def words(self) -> dict[str, Any]:
        """Arguments that every player is opened with."""
        work = self.work
        return {
            "base": str(self.base),
            "dtype": "bfloat16",
            "threads": self.threads,
            "batch": work.batch,
            "context": work.prompt_tokens + work.answer_tokens,
            "cache_folder": str(self.scratch / "packed"),
            "adapters_max": work.batch,
        }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--peers", default=",".join(PEERS), help="in addition to transformers; default: peft,vllm")
    words = parser.parse_args()
    load, work = os.getloadavg()[0], QUICK if words.quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder), work)
        chosen = [name for name in ENTRIES if name not in PEERS or name in words.peers.split(",")]
        with contenders(setting, chosen) as (opened, absent):
            samples = measure(setting, opened)
        env = environment(load, setting.threads, base=setting.base.name, load_at_end=round(os.getloadavg()[0], 2))
        env["versions"] |= {
            name: version for each in opened.values() for name, version in each.about.get("versions", {}).items()
        }
    rates = {case: rate_of(found) for case, found in samples.items() if found}
    bars = bars_of(work, rates, samples, absent)
    show_bars("Serving", bars)
    for name, table in tables(rates).items():
        print(name, *(f"{case} {rate:,.0f}" for case, rate in table.items()), sep="; ")
    if words.json:
        runs = {"tokens_per_s": tables(rates), "absent": absent}
        print(json.dumps({"bench": "serving", "quick": words.quick, "bars": bars, "env": env, "runs": runs}))


@contextmanager
def contenders(setting: Setting, chosen: list[str]) -> Iterator[tuple[dict[str, Contender], dict[str, str]]]:
    """Start the contenders, and say why others are absent."""
    opened: dict[str, Contender] = {}
    absent: dict[str, str] = {}
    try:
        for name in chosen:
            entry = ENTRIES[name]
            if not entry.python.exists():
                absent[name] = f"{entry.name} is not installed: no {entry.python.parents[1].name}"
                continue
            words = {**setting.words(), **entry.words}
            if name == "vllm":
                words["base"] = str(wide_base(setting))
            threads = {"OMP_NUM_THREADS": str(setting.threads), "OMP_WAIT_POLICY": entry.wait}
            log = setting.scratch / f"{name}.log"
            contender = Contender(entry.script, words, log, python=str(entry.python), environment=threads)
            opened[name] = contender
            try:
                if name == "accelerated" and contender.about["kernel"] == "torch":
                    raise PlayerError("this machine has no accelerated path: its processor, or no compiler")
                contender.about  # noqa: B018  # until it is open
            except PlayerError as error:
                absent[name] = str(error)
                opened.pop(name).close()
        yield opened, absent
    finally:
        for contender in opened.values():
            contender.close()


def wide_base(setting: Setting) -> Path:
    """The base's folder for vLLM, which reads safetensors only; a GGUF file is widened into one."""
    if gguf_of(setting.base) is None:
        return setting.base
    import torch  # only needed here, and takes seconds

    from openledger_node.models.causal_lm import open_causal_lm

    folder = setting.scratch / "wide"
    open_causal_lm(setting.base, torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(setting.base / name, folder / name)
    return folder


def measure(setting: Setting, opened: dict[str, Contender]) -> Samples:
    """Run all cases in turns, after one round that warms up."""
    samples: Samples = {case: [] for name in opened for case in cases_of(setting.work, name)}
    for number in range(1 + setting.work.samples):
        for case, kept in samples.items():
            sample = run(setting, opened[case[0]], case)
            kept += [sample] if number else []
        print(f"round {number} of {setting.work.samples}, load {os.getloadavg()[0]:.1f}", flush=True)
    return samples


def cases_of(work: Work, name: str) -> Iterator[Case]:
    """The batches of one contender; a batch of PEFT's or vLLM's with adapters takes half a minute."""
    ours = name in ("torch", "accelerated")
    distinct = {"transformers": (0,), "peft": (work.few, work.batch), "vllm": (0, work.few, work.batch)}
    for count in work.distinct if ours else distinct[name]:
        yield name, work.batch, count
    if ours or name == "transformers":
        yield name, 1, 0


def run(setting: Setting, contender: Contender, case: Case) -> dict[str, Any]:
    """One batch of fresh prompts, whose rows take turns with the adapters."""
    _, rows, distinct = case
    folders = [setting.adapters[row % distinct] if distinct else None for row in range(rows)]
    if distinct:
        contender.ask("load", folders=setting.adapters[:distinct])
    prompts = [setting.prompt() for _ in range(rows)]
    return contender.ask("run", prompts=prompts, adapters=folders, answer_tokens=setting.work.answer_tokens)


def rate_of(samples: list[dict[str, Any]]) -> float:
    """The median of tokens a second."""
    return statistics.median(each["tokens"] / each["wall_s"] for each in samples)


def bars_of(work: Work, rates: dict[Case, float], samples: Samples, absent: dict[str, str]) -> list[Bar]:
    """Our speed over others', and the time to the first token with one adapter for each row over that without."""
    places = {
        "base": (work.batch, 0),
        "few": (work.batch, work.few),
        "every": (work.batch, work.batch),
        "one": (1, 0),
    }
    found = []
    for id, ours, theirs, place, goal, stretch in BARS:
        over, under = (rates.get((name, *places[place])) for name in (ours, theirs))
        why = next(
            (absent.get(name, f"{name} was not selected") for name in (ours, theirs) if name not in _names(rates)), ""
        )
        found.append(bar(id, over / under if over and under else None, "ratio", goal, stretch, why=why))
    for id, name, goal in (("torch_ttft_k32_over_base", "torch", 1.6), ("ttft_k32_over_base", "accelerated", 1.25)):
        firsts = [samples.get((name, *places[place])) for place in ("every", "base")]
        value = first_s(firsts[0]) / first_s(firsts[1]) if firsts[0] and firsts[1] else None
        found.append(bar(id, value, "ratio", goal, better="lower", why=absent.get(name, "")))
    return found


def first_s(samples: list[dict[str, Any]]) -> float:
    """Seconds until 95 % of the rows have their first token."""
    return statistics.median(percentile(each["first_s"]) for each in samples)


def _names(rates: dict[Case, float]) -> set[str]:
    return {name for name, _, _ in rates}


def tables(rates: dict[Case, float]) -> dict[str, dict[str, float]]:
    """Contender → case → tokens a second."""
    found: dict[str, dict[str, float]] = {}
    for (name, rows, distinct), rate in rates.items():
        found.setdefault(ENTRIES[name].name, {})["one alone" if rows == 1 else f"{distinct} adapters"] = round(
            rate, 1
        )
    return found


if __name__ == "__main__":
    main()
