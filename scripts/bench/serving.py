"""The engine's bars: our backends beside transformers, PEFT and vLLM, and the node's own engine and daemon at work.

Everything runs on the CPU in one run, and the samples of all contenders interleave. Each contender is a process of
its own that is stopped outside its turn, and a sample disturbed by other processes is dropped. `--json` prints one
object on the last line; `--quick` is a short form whose figures mean nothing. Use an otherwise idle machine.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from backend_bars import Figures, backend_bars, first_tokens_of_vllm, floor_bars, load_bars, measure_backends
from bars import Bar, bar, environment, show_bars
from engine_bars import engine_bars, measure_engines
from exact_bars import measure_exactness
from field import Field, Setting, open_field
from http_bars import measure_http
from overhead_bars import measure_overhead
from quiet import OTHERS_MAX_CORES, PlayerError
from work import FULL, QUICK, PromptDrawer, write_adapters

from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.models.bases import find_base
from openledger_protocol.constants import DEMO_BASE_NAME

ROOT = Path(__file__).resolve().parents[2]
HOME = Home(ROOT / ".home")
"""The folder in which `make test` keeps the demo base."""

PEERS = ("peft", "vllm")
ANYBODY = float("inf")

PARTS = ("backends", "http", "overhead", "exact", "engines")

Found = dict[str, Any]
Part = Callable[[Setting, float], tuple[list[Bar], Found]]


def measure(setting: Setting, peers: list[str], others_max: float, only: list[str]) -> Found:
    """Measure the bars of the selected parts; each part is closed before the next one starts."""
    load, began_s, bars, runs = os.getloadavg()[0], time.monotonic(), [], {}
    parts: dict[str, Part] = {"overhead": overhead_part, "exact": exact_part, "engines": engines_part}
    versions: dict[str, str] = {}
    if {"backends", "http"} & set(only):
        with open_field(setting, peers if "backends" in only else []) as field:
            versions = versions_of(field.contenders)
            for name, part in (("backends", backends_part), ("http", http_part)):
                if name in only:
                    add(name, partial(part, field), setting, others_max, bars, runs)
    for name, part in parts.items():
        if name in only:
            add(name, part, setting, others_max, bars, runs)
    runs["took_s"] = round(time.monotonic() - began_s)
    env = environment(load, setting.threads, dtype="bfloat16", base=setting.base.name, shape=shape_of(setting))
    env["load_at_end"] = round(os.getloadavg()[0], 2)
    env["versions"] |= versions
    return {"bench": "serving", "quick": setting.shape == QUICK, "bars": bars, "env": env, "runs": runs}


def add(name: str, part: Part, setting: Setting, others_max: float, bars: list[Bar], runs: Found) -> None:
    """Run one part; if it fails, the results of the others are kept."""
    try:
        found, more = part(setting, others_max)
    except (PlayerError, NodeError, OSError) as error:
        found, more = [bar(f"{name}_ran", None, "", 1, why=f"{type(error).__name__}: {error}")], {}
    bars += found
    runs |= more


def backends_part(field: Field, setting: Setting, others_max: float) -> tuple[list[Bar], Found]:
    figures = Figures(measure_backends(setting, field, others_max), field, setting.shape.samples)
    bars, runs = backend_bars(setting, figures), {"openmp": field.waits, "absent": field.absent}
    floors, runs["floors"] = floor_bars(setting, field, figures, others_max)
    loads, runs["cold_loads"] = load_bars(setting, field, others_max)
    runs |= {"vllm_ttft_s": first_tokens_of_vllm(setting, field), "backends": figures.summary()}
    return [*bars, *floors, *loads], runs


def http_part(field: Field, setting: Setting, others_max: float) -> tuple[list[Bar], Found]:
    one, runs = measure_http(setting, field, others_max)
    return [one], {"http": runs}


def overhead_part(setting: Setting, _: float) -> tuple[list[Bar], Found]:
    sizes = {"samples": 1, "many": max(setting.shape.registered)} if setting.shape == QUICK else {}
    bars, runs = measure_overhead(**sizes)
    return bars, {"overhead": runs}


def exact_part(setting: Setting, _: float) -> tuple[list[Bar], Found]:
    bars, runs = measure_exactness(setting)
    return bars, {"exact": runs}


def engines_part(setting: Setting, others_max: float) -> tuple[list[Bar], Found]:
    engines = measure_engines(setting, others_max)
    return engine_bars(setting, engines), {"engine": engine_runs(engines, setting.shape.cached)}


def versions_of(contenders: dict[str, Any]) -> dict[str, str]:
    """Versions that the contenders report from other environments."""
    return {name: one for each in contenders.values() for name, one in each.about.get("versions", {}).items()}


def engine_runs(engines: Any, cached: int) -> Found:
    cases = {
        name: {"kept": samples.kept, "dropped": samples.dropped, "others_cores": samples.others_cores}
        for name, samples in engines.samples.items()
    }
    return {
        "kernel": engines.kernel,
        "cached": cached,
        "starts": engines.starts,
        "memory": engines.memory,
        "cases": cases,
    }


def shape_of(setting: Setting) -> dict[str, int]:
    shape = setting.shape
    return {"batch": shape.batch, "prompt_tokens": shape.prompt_tokens, "answer_tokens": shape.answer_tokens}


def prepare(scratch: Path, *, is_quick: bool, say: Callable[[str], None]) -> Setting:
    """The base, and adapters on the disk."""
    shape = QUICK if is_quick else FULL
    base = find_base(HOME, DEMO_BASE_NAME).folder
    assert base is not None, "the demo base has files"
    sources = write_adapters(scratch / "adapters", base, max(shape.registered), say)
    os.sync()  # otherwise the kernel writes gigabytes during the first samples
    return Setting(
        base=base,
        scratch=scratch,
        threads=1 if is_quick else os.cpu_count() or 1,
        shape=shape,
        sources=sources,
        prompts=PromptDrawer(base, shape.prompt_tokens),
        say=say,
    )


def read_words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--busy", action="store_true", help="keep samples that other processes disturbed")
    parser.add_argument("--peers", help="in addition to transformers; default: peft,vllm, or peft with --quick")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run, separated by commas; default: all")
    parser.add_argument(
        "--work",
        type=Path,
        help="a folder for 15 GB of adapters and their packed files; default: a temporary one",
    )
    parser.add_argument(
        "--write-docs", type=Path, nargs="?", const=ROOT / "docs", help="write figures and charts into the docs"
    )
    return parser.parse_args()


def names_of(words: str, known: Sequence[str]) -> list[str]:
    """Parse comma-separated names, in the order in which they are known."""
    named = {name for name in words.split(",") if name}
    if unknown := named - set(known):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    return [name for name in known if name in named]


def main() -> None:
    words = read_words()
    usual = PEERS[0] if words.quick else ",".join(PEERS)
    peers, only = names_of(usual if words.peers is None else words.peers, PEERS), names_of(words.only, PARTS)
    if words.write_docs and only != list(PARTS):
        raise SystemExit("--write-docs needs all parts: leave out --only")
    with tempfile.TemporaryDirectory() if words.work is None else nullcontext(words.work) as folder:
        setting = prepare(Path(folder), is_quick=words.quick, say=lambda line: print(line, flush=True))
        found = measure(setting, peers, ANYBODY if words.quick or words.busy else OTHERS_MAX_CORES, only)
    show_bars("Serving", found["bars"])
    if words.write_docs:
        from serving_page import write_page  # imported late: it needs the drawing library

        write_page(found, words.write_docs)
    if words.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
