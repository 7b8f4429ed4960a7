"""Attribution rules compared on three kinds of Datanets with known teachers, and under attack.

Adapters are trained on the demo base, answer questions that were held out, and are trained again on the rows of half
of the owners. A rule is good if its scores foretell these trainings (LDS), and if it pays the owner who taught an
answer. Cases are kept in the folder `--out`, so a run that was cut continues where it was. `--json` prints one object
on the last line; `--quick` is a short form whose figures mean nothing.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

from bars import Bar, bar, environment, show_bars
from rule_data import CasePlan, kept_case
from rule_datanets import KINDS
from rule_figures import attack_figures, clean_figures

from openledger_node.engine.tokenizer import open_tokenizer
from openledger_node.home import open_home
from openledger_protocol.constants import DEMO_BASE_NAME

SEED, SECOND_SEED = 41, 42
"""Ones that the rule was not chosen on."""

SUBSETS: Final = 16
ALL_LAYERS: Final = 999
CLEAN: Final = tuple(
    CasePlan(kind=kind, seed=seed, subsets=SUBSETS) for seed in (SEED, SECOND_SEED) for kind in KINDS
)
ATTACKED: Final = tuple(CasePlan(kind=kind, seed=SEED, is_attacked=True) for kind in KINDS)
"""Each is a training of its own, on honest rows and on those of all attackers."""

SHAPES: Final = (
    *(CasePlan(kind="facts", seed=SEED, subsets=SUBSETS, rank=rank) for rank in (4, 16, 64)),
    *(CasePlan(kind=kind, seed=SEED, subsets=SUBSETS, layers=ALL_LAYERS) for kind in ("facts", "behaviours")),
)
LARGE: Final = tuple(
    CasePlan(kind=kind, seed=SEED, rows_each=24, **({"is_attacked": True} if is_attacked else {"subsets": SUBSETS}))
    for is_attacked in (True, False)
    for kind in KINDS
)
"""Copies are found by rare words, and a Datanet of 48 rows has hardly any."""

QUICK: Final = (
    CasePlan(kind="behaviours", seed=SEED, subsets=2, epochs=1, layers=1),
    CasePlan(kind="behaviours", seed=SEED, is_attacked=True, epochs=1, layers=1),
)
RULE: Final = "poa-v3"


def compared(base: Path, plans: tuple[CasePlan, ...], folder: Path) -> dict[str, Any]:
    """Figures of each case by its name."""
    tokenizer, found = open_tokenizer(base), {}
    for plan in plans:
        case = kept_case(base, plan, folder)
        figures = attack_figures if plan.is_attacked else clean_figures
        found[plan.name] = {"kind": plan.kind, "cpu_s": case["cpu_s"], **figures(case, tokenizer)}
        print(f"{plan.name}: {json.dumps(found[plan.name])}", flush=True)
    return found


def bars_of(found: dict[str, Any]) -> list[Bar]:
    """The bars of poa-v3 on the cases that were run."""
    bars, by_rule = [], {name: each for name, each in found.items() if "rules" in each}
    for name, each in by_rule.items():
        ours, trak = each["rules"][RULE], each["rules"].get("TRAK")
        if trak:
            bars.append(bar(f"lds {name}", ours["lds"], "", 0.65, why=f"± {ours['lds_error']}; TRAK {trak['lds']}"))
            bars.append(bar(f"lds over TRAK's {name}", ours["lds"] - trak["lds"], "", 0))
        if each["kind"] == "facts":
            why = f"{each['right']} right answers"
            bars.append(bar(f"owner {name}", ours["owner"], "", 0.85, 0.95, why=why))
            bars.append(bar(f"recall at 1 {name}", ours["recall_at_1"], "", 0.95, 1, why=why))
    gains = [
        each["rules"][RULE]["lds"] - each["rules"]["TRAK"]["lds"]
        for each in by_rule.values()
        if "TRAK" in each["rules"]
    ]
    drifts = [each["drift"]["most"] for each in found.values()]
    if drifts:
        bars.append(bar("drift of shares in bfloat16", max(drifts), "", 0.05, better="lower", why="at most"))
    if gains:
        bars.append(bar("mean gain of lds over TRAK's", statistics.mean(gains), "", 0.05))
    for name, each in found.items():
        if name not in by_rule:
            bars += _attack_bars(name, each[RULE], each["right"])
    return bars


def _attack_bars(name: str, ours: dict[str, Any], right: int) -> list[Bar]:
    crowds = max(ours[crowd] for crowd in ("stuffing", "junk", "lists"))
    copies = max(ours[copy]["take"] for copy in ("exact", "light", "prompt"))
    squats = max(ours[squat]["take"] for squat in ("squat", "squatter"))
    return [
        bar(f"owner {name}", ours["owner"], "", 0.8, 0.9, why=f"{right} right answers"),
        bar(f"stuffing, junk, lists {name}", crowds, "", 0.02, better="lower"),
        bar(f"copies' take {name}", copies, "", 0.1, better="lower", why="exact, light, prompt in other words"),
        bar(f"squatters' take {name}", squats, "", 0.1, better="lower"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--base", type=Path, help="folder of a base in place of the demo base")
    parser.add_argument("--out", type=Path, help="folder that keeps the cases")
    parser.add_argument("--only", default="", metavar="WORD", help="run the cases with this in their name")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    plans = QUICK if given.quick else (*CLEAN, *ATTACKED, *SHAPES, *LARGE)
    plans = tuple(plan for plan in plans if given.only in plan.name)
    base = given.base or open_home().models / DEMO_BASE_NAME
    with tempfile.TemporaryDirectory() as folder:
        found = compared(base, plans, given.out or Path(folder))
    bars = bars_of(found)
    show_bars("attribution rules", bars)
    if given.json:
        report = {"bench": "attribution_rule", "quick": given.quick, "bars": bars, "runs": found}
        print(json.dumps({**report, "env": environment(load, 1)}))


if __name__ == "__main__":
    main()
