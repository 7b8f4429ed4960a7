"""The GPU's bars (G0 to G12 of the engine's design) on the card of this machine, in ten minutes, from nothing.

Bases are random numbers in the shapes of Llama-3.1-8B and Qwen3-4B, adapters are random numbers of rank 16 and 8, so
nothing has to be downloaded. A bar that this card is too small for, or whose peer is not installed, is null with the
reason. `--json` prints one object on the last line. `--quick` runs all of it on a tiny base, also without a card; its
figures mean nothing.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

sys.path.append(str(Path(__file__).resolve().parent / "players"))

import torch
from bars import Bar, bar, environment, show_bars
from gpu_cases import FULL, QUICK
from gpu_parts import capped_part, exact_part, narrow_part, wide_part
from gpu_peers import PEERS, peer_part
from gpu_run import Run

from openledger_node.backends.device_facts import DeviceFacts, device_facts
from openledger_node.card import find_card

SCHEMA: Final = "openledger.bench_gpu/1"
NO_CARD: Final = (
    "this needs a card that torch can use, and there is none: `openledger-node doctor` says why. `--quick` runs the "
    "benchmark itself on a tiny base without one"
)

BARS: Final[dict[str, tuple[Any, ...]]] = {
    "g0_self_check": ("ratio", 1, None, "higher"),
    "g0_greedy_as_cpu": ("ratio", 1, None, "higher"),
    "g1_kernels": ("", 1, None, "higher"),
    "g2_load_peak": ("GB", 1.0, 0.5, "lower"),
    "g2_over_cap": ("GB", 0, None, "lower"),
    "g2_refusals": ("requests", 0, None, "lower"),
    "g3_planned_kv": ("tokens", 4096, 8192, "higher"),
    "g3_served_kv": ("tokens", 4096, 8192, "higher"),
    "g4_step_over_floor": ("ratio", 1.6, 1.35, "lower"),
    "g5_over_vllm": ("ratio", 0.90, 1.0, "higher"),
    "g6_over_vllm_lora": ("ratio", 1.0, 1.25, "higher"),
    "g6_over_own_base": ("ratio", 0.80, 0.88, "higher"),
    "g6_over_peft": ("ratio", 20, None, "higher"),
    "g7_shapes_over_one": ("ratio", 0.95, 0.98, "higher"),
    "g8_roofline": ("ratio", 0.65, 0.80, "higher"),
    "g8_over_wide": ("ratio", 1.8, 2.5, "higher"),
    "g9_sampling_cost": ("percent", 5, 2, "lower"),
    "g10_idle": ("ms", 0.5, 0.2, "lower"),
    "g11_others_step": ("ms", 2, 0, "lower"),
    "g11_first_token": ("ms", 40, 20, "lower"),
    "g12_pause": ("s", 2, 1, "lower"),
}
"""Unit, goal, stretch goal, and which direction is better."""

WITHOUT_CARD: Final = {"g1_kernels": "needs no card: `make kernels` compiles them, `make test` interprets them"}


Part = Callable[[Run], None]


def measure(run: Run, peers: list[str], vllm_python: str | None) -> dict[str, Any]:
    """Measure all parts. If one fails, its bars are null with the reason, and the others are measured."""
    load, began_s = os.getloadavg()[0], time.monotonic()
    parts: dict[str, tuple[Part, tuple[str, ...]]] = {
        "exact": (exact_part, ("g0",)),
        "wide": (wide_part, ("g4", "g6_over_own", "g7", "g9", "g10", "g11")),
        "narrow": (narrow_part, ("g2_load", "g8")),
        "capped": (capped_part, ("g2", "g3", "g12")),
        "peft": (lambda run: peer_part(run, "peft", peers, None), ("g6_over_peft",)),
        "vllm": (lambda run: peer_part(run, "vllm", peers, vllm_python), ("g5", "g6_over_vllm")),
    }
    for name, (part, prefixes) in parts.items():
        if failure := failure_of(part, run):
            run.runs[name] = failure
            run.whys |= {id: failure for id in BARS if id.startswith(prefixes) and id not in run.values}
        print(f"{name}: {time.monotonic() - began_s:.0f} s", flush=True)
        free_memory()
    run.runs["took_s"] = round(time.monotonic() - began_s)
    env = environment(load, run.threads, **card_of(run.facts))
    bars = [bar_of(id, run) for id in BARS]
    return {"schema": SCHEMA, "bench": "gpu", "quick": run.work == QUICK, "bars": bars, "env": env, "runs": run.runs}


def failure_of(part: Part, run: Run) -> str:
    """Run a part, and return the reason if it failed."""
    if time.monotonic() > run.deadline_s:
        return "the time was over"
    try:
        part(run)
    except Exception as error:  # the other parts are worth their minutes whatever this one met
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""


def bar_of(id: str, run: Run) -> Bar:
    unit, goal, stretch, better = BARS[id]
    value, why = run.values.get(id), run.whys.get(id) or WITHOUT_CARD.get(id, "")
    return bar(id, value, unit, goal, stretch, better=better, why=why if value is not None else f"NOT TESTED: {why}")


def free_memory() -> None:
    """Give back the memory of the last part."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def card_of(facts: DeviceFacts) -> dict[str, Any]:
    """The card, its driver and the versions that drive it."""
    card = find_card(0)
    return {"card": {**asdict(facts), "driver": card.driver if card else ""}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form, which needs no card")
    parser.add_argument("--peers", default=",".join(PEERS), help="peers to compare with, separated by commas")
    parser.add_argument("--vllm", metavar="PYTHON", help="the Python of an environment that has vLLM for this card")
    parser.add_argument("--minutes", type=float, default=10.0, help="after this long no further part begins")
    parser.add_argument("--work", type=Path, help="a folder for 10 GB of adapters; default: a temporary one")
    words = parser.parse_args()
    if not (torch.cuda.is_available() or words.quick):
        raise SystemExit(NO_CARD)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and find_spec("triton"):
        os.environ["TRITON_INTERPRET"] = "1"  # here and in the engine's process: the path of a card, slowly
    deadline_s = time.monotonic() + 60 * words.minutes
    with tempfile.TemporaryDirectory(dir=words.work) as folder:
        run = Run(device, QUICK if words.quick else FULL, Path(folder), device_facts(device), deadline_s)
        found = measure(run, words.peers.split(","), words.vllm)
    show_bars(f"GPU: {found['env']['card']['name'] or 'no card, so these figures mean nothing'}", found["bars"])
    if words.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
