"""A network of nodes on one machine: time to discovery, calls served, and the cost of an idle node.

The network has one chain, one bootstrap node, N nodes that sell answers of the fake engine, and one requester. Each
node is a process with its own data directory, and knows only network.json. `--json` prints one object on the last
line; `--quick` is a short form whose figures mean nothing.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import trio
from bars import Bar, bar, environment, percentile, show_bars
from network_calls import CALLS, measure_auctions, measure_calls
from network_costs import measure_idle
from network_town import Town

from openledger_node.demo.processes import closing_all

NODES, QUICK_NODES = 12, 4
QUICK_CALLS = 12
AUCTIONS, QUICK_AUCTIONS = 40, 5
IDLE_S, QUICK_IDLE_S = 20.0, 5.0
SETTLE_S, QUICK_SETTLE_S = 30.0, 2.0
"""Wait before idle processes are measured; until then nodes still query each other, and bonds become final."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--nodes", type=int, help=f"number of sellers; default: {NODES}")
    words = parser.parse_args()
    num_nodes = words.nodes or (QUICK_NODES if words.quick else NODES)
    found = measure(num_nodes, is_quick=words.quick, say=lambda line: print(line, flush=True))
    show_bars("a network of nodes", found["bars"])
    if words.json:
        print(json.dumps(found))


def measure(num_nodes: int, *, is_quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    load, started_s = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="openledger-bench-") as folder, closing_all() as opened:
        town = Town(Path(folder), opened)
        town.add_nodes(num_nodes)
        up_s = time.monotonic()
        say(f"{num_nodes} nodes that sell and one that asks are up after {up_s - started_s:.1f} s")
        runs: dict[str, Any] = {"nodes": num_nodes, "chain": town.engine, "up_s": round(up_s - started_s, 1)}
        with noted(runs, "discovery", say) as found:
            town.wait_until_found()
            found["s"] = round(time.monotonic() - up_s, 2)
            found["connections"] = town.num_connections()
        time.sleep(QUICK_SETTLE_S if is_quick else SETTLE_S)
        with noted(runs, "idle", say) as found:
            found.update(measure_idle(town, QUICK_IDLE_S if is_quick else IDLE_S))
        with noted(runs, "auctions", say) as found:
            num_auctions = QUICK_AUCTIONS if is_quick else AUCTIONS
            found.update(trio.run(measure_auctions, town, num_auctions, Path(folder) / "caller"))
        with noted(runs, "calls", say) as found:
            found.update(measure_calls(town, QUICK_CALLS if is_quick else CALLS))
    runs["wall_s"] = round(time.monotonic() - started_s, 1)
    return {
        "bench": "network",
        "quick": is_quick,
        "bars": bars_of(runs),
        "env": environment(load, os.cpu_count() or 1),
        "runs": runs,
    }


@contextmanager
def noted(runs: dict[str, Any], name: str, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Keep a part's result, or its error, so that the other parts are still measured."""
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    try:
        yield found
    except Exception as error:
        found["why"] = f"{type(error).__name__}: {error}"
    runs[name] = found
    say(f"{name}: {json.dumps(found)}")


def bars_of(runs: dict[str, Any]) -> list[Bar]:
    found, calls, auctions, idle = (runs[name] for name in ("discovery", "calls", "auctions", "idle"))
    asked = calls.get("asked", CALLS)
    cpu, memory = idle.get("cpu_percent", {}).get("daemon"), idle.get("rss_mib", {}).get("daemon")
    awards = auctions.get("award_ms")
    spread = f"{max(cpu)} at most" if cpu else ""
    shared = idle.get("pss_mib", {}).get("daemon")
    own = f"the daemon without its engine; {mean(shared):.0f} if what processes share is divided" if shared else ""
    p95 = percentile(awards) if awards else None
    cpu_mean, memory_mean = (mean(values) if values else None for values in (cpu, memory))
    return [
        _lower("discovery_s", found.get("s"), "s", 15, 5, found.get("why", "")),
        bar("calls_served", calls.get("served"), f"of {asked}", asked, asked, why=calls.get("why", "")),
        _lower("call_to_award_ms_p95", p95, "ms", 1500, 600, auctions.get("why", "")),
        _lower("idle_cpu_percent_per_node", cpu_mean, "%", 1, 0.5, idle.get("why", spread)),
        _lower("rss_mb_per_node", memory_mean, "MiB", 120, 90, idle.get("why", own)),
    ]


def _lower(id: str, value: float | None, unit: str, goal: float, stretch: float, why: str) -> Bar:
    return bar(id, value, unit, goal, stretch, better="lower", why=why)


if __name__ == "__main__":
    main()
