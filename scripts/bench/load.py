"""The cost of HTTP under load, lost requests and memory growth, with many streams at one daemon for minutes.

The fake engine answers as fast as it can, so the daemon is the bottleneck. `--streams` readers use it at once, and
one in sixteen leaves in the middle of an answer. Before that, the same engine runs as many sequences alone, in a
process of its own. `--json` prints one object on the last line; under 1 minute the figures mean little.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import trio
from bars import Bar, bar, environment, percentile, show_bars
from load_readers import Reading, read_engine, read_http

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import DemoError, OperatorHome, closing_all, wait_for
from openledger_node.home import Home as NodeHome
from openledger_node.machine import resident_bytes

MINUTES, STREAMS = 10.0, 64
ALONE_S, SETTLE_S = 10.0, 3.0
WARM_PART = 0.2
"""Share of the time, at the start, in which memory may still grow for buffers, caches and ledger pages."""

ADDED_MS_MAX, GROWTH_PERCENT_MAX, DESCRIPTORS_MAX = 15.0, 2.0, 2
START_TIMEOUT_S = 60.0
SETTINGS = {"OPENLEDGER_INFERENCE_BACKEND": "fake", "OPENLEDGER_INFERENCE_BASE": "fake", "OPENLEDGER_API_PORT": "0"}
SETTINGS |= {"OPENLEDGER_NODE_NETWORK": "local"}


class Watched:
    """The processes of the daemon and its engine, observed from outside."""

    def __init__(self, home: OperatorHome) -> None:
        assert home.daemon is not None
        self.daemon = home.daemon.process_id
        self.engine: int = home.run("status")["engine"]["process_id"]

    def resident(self) -> dict[str, int]:
        """Memory of each process."""
        return {name: resident_bytes(getattr(self, name)) or 0 for name in ("daemon", "engine")}

    def descriptors(self) -> int:
        """Open file descriptors of the daemon."""
        return len(os.listdir(f"/proc/{self.daemon}/fd"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    words = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, closing_all() as opened:
        alone = trio.run(read_engine, Path(folder), words.streams, min(ALONE_S, words.minutes * 60))
        print(f"the engine alone: {alone.rate:,.0f} tokens per second", flush=True)
        home = OperatorHome(
            "loaded", Path(folder) / "home", {**SETTINGS, "OPENLEDGER_INFERENCE_BATCH_MAX": str(words.streams)}
        )
        opened.append(home)
        home.start_daemon()
        runs = under_load(home, words.streams, words.minutes * 60)
    found = {
        "bars": bars_of(alone, runs),
        "runs": {"streams": words.streams, "minutes": words.minutes, "alone": alone.figures(), **figures(runs)},
        "environment": environment(load, 1),
    }
    show_bars("Load", found["bars"])
    if words.json:
        print(json.dumps(found))


def under_load(home: OperatorHome, streams: int, seconds: float) -> dict[str, Any]:
    """Read from the daemon, and note what it held before, after the warm-up, at the end and afterwards."""
    status = wait_for("the daemon is up", lambda: status_of(home), timeout_s=START_TIMEOUT_S)
    address = status["api"]["url"].removeprefix("http://").rpartition(":")
    host, port, key = address[0], int(address[2]), load_api_key(NodeHome(home.root))
    watched = Watched(home)
    trio.run(read_http, host, port, key, 1, 1.0)  # files that are opened only once are open from here on
    settle()
    before = watched.descriptors()
    warm = trio.run(read_http, host, port, key, streams, seconds * WARM_PART)
    settle()
    resident = watched.resident()
    reading = trio.run(read_http, host, port, key, streams, seconds * (1 - WARM_PART))
    settle()
    return {
        "warm": warm,
        "reading": reading,
        "resident_warm": resident,
        "resident_end": watched.resident(),
        "descriptors": (before, watched.descriptors()),
    }


def settle() -> None:
    """Wait until answers whose reader has left have ended."""
    time.sleep(SETTLE_S)


def status_of(home: OperatorHome) -> Any:
    """The status once the daemon accepts requests; None before."""
    if home.daemon and not home.daemon.is_alive:
        raise DemoError(f"the daemon ended: {home.daemon.last_words()}")
    try:
        status = home.run("status")
    except DemoError:  # it has locked its data directory, and does not listen yet
        return None
    return status if status["state"] == "idle" else None


def bars_of(alone: Reading, runs: dict[str, Any]) -> list[Bar]:
    reading: Reading = runs["reading"]
    added = {part: added_ms(reading, alone, part) for part in (0.5, 0.99)}
    growth = 100 * max(runs["resident_end"][name] / runs["resident_warm"][name] - 1 for name in runs["resident_end"])
    before, after = runs["descriptors"]
    return [
        bar("errors", len(runs["warm"].errors) + len(reading.errors), "", 0, better="lower", why=reading.first_error),
        bar("added_latency_p99", added[0.99], "ms", ADDED_MS_MAX, better="lower", why=f"p50 {added[0.5]:.2g} ms"),
        bar("rss_growth", max(0.0, growth), "percent", GROWTH_PERCENT_MAX, better="lower"),
        bar("descriptors_left", after - before, "", DESCRIPTORS_MAX, better="lower"),
    ]


def added_ms(reading: Reading, alone: Reading, part: float) -> float:
    """Additional delay of a token, compared with the engine alone."""
    return 1_000 * (percentile(reading.gaps_s, part) - percentile(alone.gaps_s, part))


def figures(runs: dict[str, Any]) -> dict[str, Any]:
    more = {name: runs[name] for name in ("resident_warm", "resident_end", "descriptors")}
    return {"http": runs["reading"].figures(), **more}


if __name__ == "__main__":
    main()
