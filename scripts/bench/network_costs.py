"""CPU and memory of a network's processes."""

import os
import time
from pathlib import Path
from typing import Any

from network_town import Town, ask

from openledger_node.demo.processes import OperatorHome, Process

MIB = 2**20


def cpu_s(process_id: int) -> float:
    """CPU time of a process since its start, including ended threads, in ticks of 10 ms."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(process_id: int) -> float:
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MIB for line in lines if line.startswith("VmRSS"))


def pss_mib(process_id: int) -> float:
    """Memory of a process, with its proportional part of shared pages."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MIB for line in lines if line.startswith("Pss:"))


def worker_of(process: Process) -> int:
    """The process that does a command's work: its child, which ends with it."""
    threads = Path(f"/proc/{process.process_id}/task").glob("*/children")
    return next((int(child) for thread in threads for child in thread.read_text().split()), process.process_id)


def daemon_id(home: OperatorHome) -> int:
    assert home.daemon is not None
    return home.daemon.process_id


def engine_id(home: OperatorHome) -> int:
    found: int = ask(home, "/status")["engine"]["process_id"]
    return found


def measure_idle(town: Town, idle_s: float) -> dict[str, Any]:
    """CPU share and memory of processes without any requests."""
    groups = {
        "daemon": [daemon_id(home) for home in town.nodes],
        "engine": [engine_id(home) for home in town.sellers],
        "chain": [worker_of(town.chain)],
        "point": [worker_of(town.point)],
    }
    load, began_s = os.getloadavg()[0], time.monotonic()
    before = {one: cpu_s(one) for ids in groups.values() for one in ids}
    time.sleep(idle_s)
    took_s = time.monotonic() - began_s
    percent = {
        name: [round(100 * (cpu_s(one) - before[one]) / took_s, 2) for one in ids] for name, ids in groups.items()
    }
    memory = {name: [round(rss_mib(one), 1) for one in ids] for name, ids in groups.items()}
    shared = {name: [round(pss_mib(one), 1) for one in ids] for name, ids in groups.items()}
    return {"load": load, "cpu_percent": percent, "rss_mib": memory, "pss_mib": shared}
