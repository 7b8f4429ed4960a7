"""The cost of an idle daemon with few and with many peers: CPU, memory, and bytes per hour.

Each size is a network of its own on this machine: a chain, a bootstrap node, so many nodes that sell answers of the
fake engine, and one that only buys. Nobody asks for anything. Bytes are those of the daemon's TCP connections as
Linux counts them, so its reads of the chain are separate, and the headers of packets are not included. `--json`
prints one object on the last line; `--quick` is a short form whose figures mean nothing.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, Final

from bars import Bar, bar, environment, show_bars
from network_costs import cpu_s, daemon_id, pss_mib, rss_mib, worker_of
from network_town import Town

from openledger_node.demo.processes import closing_all

SCHEMA: Final = "openledger.bench_idle/1"
SIZES, QUICK_SIZES = (0, 12, 40), (0, 2)
SETTLE_S, QUICK_SETTLE_S = 60.0, 2.0
IDLE_S, QUICK_IDLE_S = 120.0, 5.0
HOUR_S: Final = 3600.0
CPU_GOAL: Final = 1.0
SOCKET: Final = re.compile(r"\S+:(?P<port>\d+)\s+users:.*?pid=(?P<pid>\d+)")
COUNTED: Final = re.compile(r"\bbytes_(sent|received):(\d+)")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--nodes", type=int, action="append", help=f"sizes of networks; default: {SIZES}")
    words = parser.parse_args()
    load = os.getloadavg()[0]
    sizes = words.nodes or (QUICK_SIZES if words.quick else SIZES)
    runs = [measure(size, is_quick=words.quick) for size in sizes]
    bars = [cpu_bar(run) for run in runs]
    show_bars("idle daemons", bars)
    if words.json:
        report = {"schema": SCHEMA, "bench": "idle", "quick": words.quick, "env": environment(load, 1)}
        print(json.dumps({**report, "bars": bars, "runs": runs}))


def measure(num_sellers: int, *, is_quick: bool) -> dict[str, Any]:
    """Start a network, leave it alone, and measure each daemon."""
    with tempfile.TemporaryDirectory(prefix="openledger-bench-") as folder, closing_all() as opened:
        town = Town(Path(folder), opened)
        town.add_nodes(num_sellers)
        town.wait_until_found()
        time.sleep(QUICK_SETTLE_S if is_quick else SETTLE_S)
        daemons = {daemon_id(home): home.name for home in town.nodes}
        point, chain_port = worker_of(town.point), int(town.network.rpc[0].rpartition(":")[2].strip("/"))
        load, began_s = os.getloadavg()[0], time.monotonic()
        cpu_before = {one: cpu_s(one) for one in (*daemons, point)}
        bytes_before = socket_bytes(chain_port)
        time.sleep(QUICK_IDLE_S if is_quick else IDLE_S)
        took_s = time.monotonic() - began_s
        cpu = {one: 100 * (cpu_s(one) - cpu_before[one]) / took_s for one in cpu_before}
        gone = socket_bytes(chain_port)
        gone.subtract(bytes_before)
        per_hour = {key: num * HOUR_S / took_s for key, num in gone.items()}
        run = {
            "sellers": num_sellers,
            "load": load,
            "connections": sorted(town.num_connections()),
            "cpu_percent": [round(cpu[one], 2) for one in daemons],
            "rss_mib": [round(rss_mib(one), 1) for one in daemons],
            "pss_mib": [round(pss_mib(one), 1) for one in daemons],
            **{
                f"{whom}_{way}_mb_per_hour": [round(per_hour.get((one, whom, way), 0) / 1e6, 2) for one in daemons]
                for whom in ("peers", "chain")
                for way in ("sent", "received")
            },
            "bootstrap_node": {"cpu_percent": round(cpu[point], 2), "rss_mib": round(rss_mib(point), 1)},
        }
    print(
        f"{num_sellers} sellers: {median(run['connections']):.0f} connections, "
        f"{median(run['cpu_percent']):.2f} % of a core, {median(run['rss_mib']):.0f} MiB, with peers "
        f"{median(run['peers_sent_mb_per_hour']):.1f} MB an hour out and "
        f"{median(run['peers_received_mb_per_hour']):.1f} MB in; load {load:.1f}",
        flush=True,
    )
    return run


def socket_bytes(chain_port: int) -> Counter[tuple[int, str, str]]:
    """Bytes of all open connections so far, by process, by whom they are with, and by direction."""
    ss = shutil.which("ss")
    if ss is None:
        raise SystemExit("NOT TESTED: ss, which counts the bytes of connections, is not installed (iproute2)")
    words = [ss, "-tinpHO", "state", "established"]
    return read_sockets(subprocess.run(words, capture_output=True, text=True, check=True).stdout, chain_port)


def read_sockets(printed: str, chain_port: int) -> Counter[tuple[int, str, str]]:
    """The same from what `ss` prints, a line for each connection."""
    num_of: Counter[tuple[int, str, str]] = Counter()
    for line in printed.splitlines():
        if found := SOCKET.search(line):
            whom = "chain" if int(found["port"]) == chain_port else "peers"
            for way, num in COUNTED.findall(line):
                num_of[int(found["pid"]), whom, way] += int(num)
    return num_of


def cpu_bar(run: dict[str, Any]) -> Bar:
    """The bar of the median daemon."""
    percent = run["cpu_percent"]
    name = f"idle_cpu_percent_{run['sellers']}_sellers"
    return bar(
        name, median(percent), "%", CPU_GOAL, better="lower", why=f"{max(percent)} at most, at load {run['load']:.1f}"
    )


if __name__ == "__main__":
    main()
