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
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

from bars import Bar, bar, environment, show_bars
from home_routers import LINE, Line, why_no_line
from home_world import AtHome, Watch, World, open_world
from namespaces import become_root, why_not

from openledger_node.demo.processes import DemoError, wait_for
from openledger_node.demo.scratch import scratch_folder

SCHEMA: Final = "openledger.bench_home/1"
Figures = dict[str, Any]

RELAY_S, DIRECT_S, MAPPED_S, KILLED_S = 3.0, 10.0, 5.0, 15.0
DIRECT_PART: Final = 0.9
UP_TIMEOUT_S, HEARD_TIMEOUT_S, PAID_TIMEOUT_S = 120.0, 60.0, 60.0
DIRECT_TIMEOUT_S, STATE_TIMEOUT_S, STATE_EVERY_S = 15.0, 20.0, 0.5
DEPOSIT_WEI = str(10**18)
RELAYED_AGAIN_S = 40.0
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
    words = parser.parse_args()
    become_root()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
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


# ---- one trial


def trade(world: World, line: Line, *, kills_relay: bool = False) -> Figures:
    """Run a trial, and return its figures; `why` says what failed, and is empty if nothing did."""
    figures: Figures = {"line": line.value, "why": "", "traded": False, "paid": False, "direct_s": None}
    began_s = time.monotonic()
    with ExitStack() as stack:
        seller = stack.enter_context(world.node("seller", line, 6))
        buyer = stack.enter_context(world.node("buyer", line, 8, OPENLEDGER_NODE_SERVE="false"))
        for each in (seller, buyer):
            stack.callback(each.node.interrupt)  # both, before either is waited for
        try:
            _trade(stack, seller, buyer, figures)
            if kills_relay:
                _kill_relay(world, buyer, figures)
        except DemoError as error:
            figures["why"] = figures["why"] or str(error)
        figures |= {"seller": reach_of(seller), "buyer": reach_of(buyer)}
    figures["trial_s"] = round(time.monotonic() - began_s, 1)
    return figures


def _trade(stack: ExitStack, seller: AtHome, buyer: AtHome, figures: Figures) -> None:
    """Have the buyer buy an answer of the seller; figures in seconds count from when both are up, or as named."""
    began_s = time.monotonic()
    for each in (seller, buyer):
        each.start()
    for each in (seller, buyer):
        wait_for(f"{each.node.name} is up", each.is_up, timeout_s=UP_TIMEOUT_S)
    up_s = time.monotonic()
    wallet = seller.node.status()["address"]
    direct = stack.enter_context(Watch(lambda: buyer.machine.is_connected(seller.seen_as)))
    is_named = lambda: reach_of(seller).get("state", "unknown") != "unknown"  # noqa: E731
    named = stack.enter_context(Watch(is_named, every_s=STATE_EVERY_S))
    wait_for("the buyer hears of the seller", lambda: buyer.has_heard(wallet, DEPOSIT_WEI), timeout_s=HEARD_TIMEOUT_S)
    figures["start_s"], figures["heard_s"] = _rounded(up_s - began_s), _rounded(time.monotonic() - up_s)
    buyer.act("channels open", node=wallet, amount_wei=DEPOSIT_WEI)
    wait_for("the deposit is on the chain", buyer.has_deposit, timeout_s=PAID_TIMEOUT_S)
    asked_s = time.monotonic()
    bought = buyer.buy()
    figures["first_text_s"], figures["traded"] = _rounded(bought.first_s), not bought.why
    figures["why"] = bought.why
    if not bought.why:
        wait_for("the seller is paid", seller.is_paid, timeout_s=PAID_TIMEOUT_S)
        figures["paid"] = True
    found_s = direct.wait(max(0.0, asked_s + DIRECT_TIMEOUT_S - time.monotonic()))
    # A node may connect with a seller before anyone asks, and then the time since both are up is the longer one.
    figures["direct_s"] = None if found_s is None else _rounded(found_s - (asked_s if found_s > asked_s else up_s))
    first_s = asked_s + (bought.first_s or 0.0)
    figures["first_was_relayed"] = not bought.why and (found_s is None or found_s > first_s)
    state_s = named.wait(STATE_TIMEOUT_S)
    figures["state_s"] = None if state_s is None else _rounded(state_s - up_s)
    again = buyer.buy()
    figures["again_s"] = _rounded(again.first_s)


def _kill_relay(world: World, buyer: AtHome, figures: Figures) -> None:
    """Kill the bootstrap node that an answer just came over, and ask until there is one again."""
    machines = [machine for machine, _, _ in world.bootstraps]
    before = [machine.bytes_received(LINE) for machine in machines]
    buyer.buy()
    passed_on = [machine.bytes_received(LINE) - each for machine, each in zip(machines, before, strict=True)]
    number = passed_on.index(max(passed_on))
    world.kill_bootstrap(number)
    killed_s = time.monotonic()
    try:
        while time.monotonic() - killed_s < RELAYED_AGAIN_S:
            bought = buyer.buy()
            if not bought.why:
                figures["relay_killed_s"] = round(time.monotonic() - killed_s, 2)
                return
        figures["relay_killed_why"] = bought.why
    finally:
        figures["relay_bytes"] = passed_on
        world.start_bootstrap_again(number)


def reach_of(at: AtHome) -> Figures:
    """What the node says of how it is reached; empty from one that says nothing."""
    try:
        status = at.node.status()
    except DemoError:
        return {}
    found: Figures = status.get("reach") or {}
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


# ---- figures


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
