"""Two homes behind routers: whether they find each other, trade and are paid, and how soon.

Network namespaces make an internet with two bootstrap nodes. Each trial adds two homes on lines of one kind:
public, behind a router with UPnP, with NAT-PMP alone, that keeps ports, or that draws ports at random, or behind a
router of the home's and one of its carrier's. Seller and buyer are real daemons in empty data directories, and
neither is told of the other. The engine is the fake one. Nothing delays the lines.

A kind of line that this machine can't make is NOT TESTED. `--json` prints one object on the last line, and
`--quick` is one trial behind routers that keep ports.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from bars import Bar, bar, environment, show_bars
from home_routers import Line, why_no_line
from home_story import tell_story, why_no_story
from home_trade import Figures, trade
from home_world import open_world
from namespaces import become_root, why_not

from openledger_node.demo.scratch import scratch_folder
from openledger_node.home import open_home
from openledger_protocol.constants import DEMO_BASE_NAME

SCHEMA: Final = "openledger.bench_home/1"

RELAY_S, DIRECT_S, MAPPED_S, KILLED_S = 3.0, 10.0, 5.0, 15.0
DIRECT_PART: Final = 0.9
STATES: Final = {
    Line.PUBLIC: {"public"},
    Line.UPNP: {"mapped"},
    Line.NAT_PMP: {"mapped"},
    Line.KEEPS_PORTS: {"punched", "relayed"},
    Line.RANDOM_PORTS: {"relayed"},
    Line.CARRIER: {"punched", "relayed"},
}
"""What the seller's `status` may say of itself; a line that ports can be punched through is relayed until then."""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument(
        "--quick", action="store_true", help="the short form: one trial behind routers that keep ports"
    )
    parser.add_argument("--trials", type=int, default=1, help="trials of each line; default: 1")
    parser.add_argument("--line", action="append", choices=[line.value for line in Line], help="only these lines")
    parser.add_argument(
        "--story", action="store_true", help="print two homes' commands and output; --line is the buyer's router"
    )
    words = parser.parse_args()
    become_root()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    if words.story:
        show_story(Line(words.line[0]) if words.line else Line.CARRIER)
        return
    lines = [Line.KEEPS_PORTS] if words.quick else [Line(name) for name in words.line or list(Line)]
    load = os.getloadavg()[0]
    runs = measure(lines, 1 if words.quick else words.trials, is_quick=words.quick)
    bars = list(bars_of(runs))
    if bars:
        show_bars("two homes", bars)
    if words.json:
        shown = {"schema": SCHEMA, "bench": "home", "quick": words.quick, "bars": bars, "runs": runs}
        print(json.dumps(shown | {"env": environment(load, 1)}))
    if runs["is_cut_short"]:
        sys.exit(128 + signal.SIGINT)
    if not all(is_well(trial) for trial in runs["trials"]):
        sys.exit(1)


def measure(lines: list[Line], num_trials: int, *, is_quick: bool) -> dict[str, Any]:
    """Run all trials; lines that this machine can't make are told, and left out."""
    why = {line: why_not() or why_no_line(line) for line in lines}
    runs: dict[str, Any] = {"not_tested": {line.value: said for line, said in why.items() if said}}
    runs |= {"is_cut_short": False, "trials": []}
    for line, said in runs["not_tested"].items():
        print(f"NOT TESTED: homes on a {line} line: {said}", flush=True)
    lines = [line for line in lines if not why[line]]
    if not lines:
        return runs
    with suppress(KeyboardInterrupt), scratch_folder() as folder, open_world(folder) as world:
        runs["is_cut_short"] = True
        for number in range(1, num_trials + 1):
            for line in lines:
                kills_relay = line is Line.RANDOM_PORTS and number == 1 and not is_quick
                trial = trade(world, line, kills_relay=kills_relay) | {"load": round(os.getloadavg()[0], 1)}
                runs["trials"].append(trial)
                print(f"{line.value} {number} of {num_trials}: {told(trial)}", flush=True)
        runs["is_cut_short"] = False
    return runs


def show_story(line: Line) -> None:
    """Print the story of two homes with a real model, or why this machine can't have it."""
    base = open_home().models / DEMO_BASE_NAME
    if why := why_not() or why_no_story(base, line):
        print(f"NOT TESTED: the story of two homes: {why}")
        return
    with scratch_folder() as folder, open_world(folder) as world:
        seconds = tell_story(world, line, base)
    seconds["load"] = round(os.getloadavg()[0], 1)
    print("; ".join(f"{name} {value}" for name, value in seconds.items() if value is not None))


def is_well(trial: Figures) -> bool:
    """True if the seller was paid, and the homes have a direct connection if their routers allow it."""
    needs_direct = trial["line"] in (Line.PUBLIC, Line.UPNP, Line.NAT_PMP, Line.KEEPS_PORTS)
    return bool(trial["paid"] and (trial["direct_s"] is not None or not needs_direct))


def told(trial: Figures) -> str:
    """One trial as a line of text."""
    seller = trial["seller"]
    said = [f"traded {'yes' if trial['traded'] else 'no'}, paid {'yes' if trial['paid'] else 'no'}"]
    named = {"heard_s": "heard", "first_text_s": "first text", "direct_s": "direct", "again_s": "asked again"}
    named |= {"relay_killed_s": "relay killed, traded again"}
    said += [f"{name} {trial[key]} s" for key, name in named.items() if trial.get(key) is not None]
    said += [f"state {seller['state']}: {seller['remedy'] or 'nothing to do'}"] if seller else ["no state"]
    said += [trial["why"]] if trial["why"] else []
    return "; ".join(said)


def bars_of(runs: dict[str, Any]) -> Iterator[Bar]:
    """The bars of the market's design, as far as their lines were tested."""
    trials: list[Figures] = runs["trials"]
    for line in Line:
        of_line = [trial for trial in trials if trial["line"] == line.value]
        if not of_line:
            continue
        whole = len(of_line)
        name = line.value.replace("-", "_")
        paid = sum(trial["traded"] and trial["paid"] for trial in of_line)
        yield bar(f"{name}_paid", paid, f"of {whole}", whole, why=first_why(of_line))
        said = sum(trial["seller"].get("state") in STATES[line] for trial in of_line)
        states = sorted({trial["seller"].get("state", "none") for trial in of_line})
        yield bar(f"{name}_state", said, f"of {whole}", whole, why=", ".join(states))
        yield from bars_of_line(line, of_line)


def bars_of_line(line: Line, trials: list[Figures]) -> Iterator[Bar]:
    """The bars that only one kind of line has."""
    direct = [trial["direct_s"] for trial in trials if trial.get("direct_s") is not None]
    if line is Line.KEEPS_PORTS:
        soon = sum(each <= DIRECT_S for each in direct)
        yield bar("direct_by_punch", soon, f"of {len(trials)}", DIRECT_PART * len(trials), why=spread(direct))
    if line in (Line.UPNP, Line.NAT_PMP):
        value = max(direct) if len(direct) == len(trials) else None
        yield bar(
            f"direct_by_{line.value.replace('-', '_')}_s", value, "s", MAPPED_S, better="lower", why=spread(direct)
        )
    if line is Line.RANDOM_PORTS:
        first = [trial["first_text_s"] for trial in trials if trial.get("first_text_s") is not None]
        value = max(first) if len(first) == len(trials) else None
        yield bar("relay_first_text_s", value, "s", RELAY_S, better="lower", why=spread(first))
        killed = trials[0].get("relay_killed_s")
        why = trials[0].get("relay_killed_why", "")
        yield bar("relay_killed_s", killed, "s", KILLED_S, better="lower", why=why)


def first_why(trials: list[Figures]) -> str:
    return next((trial["why"][:160] for trial in trials if trial["why"]), "")


def spread(values: list[float]) -> str:
    """The least, the middle and the most of some seconds."""
    if not values:
        return "none"
    values = sorted(values)
    return f"{values[0]:g} to {values[-1]:g} s, median {values[len(values) // 2]:g} s"


if __name__ == "__main__":
    main()
