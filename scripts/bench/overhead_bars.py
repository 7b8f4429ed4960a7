"""Bar 3 and the second half of bar 4: processor time of the daemon and the engine process around a backend.

The fake backend takes almost none, so what is counted is everything else. Processor seconds hardly depend on what
else the machine does, so no sample is dropped.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bars import Bar, bar
from http_batch import Address, ask_all
from load import SETTINGS, START_TIMEOUT_S, status_of
from quiet import TICKS_S

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import OperatorHome, wait_for
from openledger_node.home import Home
from openledger_node.models.adapter_files.random_adapter import read_linears, write_random_adapter
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import FAKE_BASE_NAME, find_base
from openledger_node.models.library import AdapterLibrary, Catalogue

REQUESTS, TOKENS, SAMPLES = 32, 32, 7
PROMPT = "on and on..."
FEW, MANY, LOOKUPS = 8, 1000, 300


def measure_overhead(samples: int = SAMPLES, many: int = MANY) -> tuple[list[Bar], dict[str, Any]]:
    """Measure both on a daemon and a library of their own."""
    with running_fake() as (address, daemon, engine):
        found = [batch_cost(address, daemon, engine) for _ in range(samples + 1)][1:]  # the first one imports
    costs = {name: statistics.median(one[name] for one in found) for name in found[0]}
    lookups = {count: lookup_s(count) for count in (FEW, many)}
    runs = {"costs_s": costs, "each": found, "lookup_ms": {count: 1000 * one for count, one in lookups.items()}}
    return [
        bar("overhead_cpu_s", costs["daemon"] + costs["engine"], "s", 0.25, 0.15, better="lower"),
        bar("admission_ms", 1000 * lookups[many], "ms", 2.0, better="lower"),
        bar("admission_growth", lookups[many] / lookups[FEW], "ratio", 1.2, better="lower"),
    ], runs


def batch_cost(address: Address, daemon: int, engine: int) -> dict[str, float]:
    """Processor seconds that one batch takes in each process."""
    body = {"model": FAKE_BASE_NAME, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
    before = cpu_s(daemon), cpu_s(engine)
    answers = ask_all(address, [body] * REQUESTS)
    after = cpu_s(daemon), cpu_s(engine)
    assert answers.tokens == REQUESTS * TOKENS, "a prompt with dots is answered to the end"
    return {"daemon": after[0] - before[0], "engine": after[1] - before[1], "wall": answers.wall_s}


def cpu_s(process_id: int) -> float:
    """Processor time that a process's threads have used: by the scheduler's clock, which counts nanoseconds."""
    files = Path(f"/proc/{process_id}/task").glob("*/schedstat")
    try:
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9
    except (OSError, IndexError):
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / TICKS_S


@contextmanager
def running_fake() -> Iterator[tuple[Address, int, int]]:
    """A daemon over the fake backend: its API, its process and its engine's."""
    with tempfile.TemporaryDirectory() as folder:
        home = OperatorHome("overhead", Path(folder) / "home", SETTINGS | {"OPENLEDGER_INFERENCE_BATCH_MAX": "32"})
        try:
            home.start_daemon()
            status = wait_for("the daemon is up", lambda: status_of(home), timeout_s=START_TIMEOUT_S)
            assert home.daemon
            yield address_of(home, status), home.daemon.process_id, status["engine"]["process_id"]
        finally:
            home.close()


def address_of(home: OperatorHome, status: dict[str, Any]) -> Address:
    host, _, port = status["api"]["url"].removeprefix("http://").rpartition(":")
    return Address(host=host, port=int(port), key=load_api_key(Home(home.root)))


def lookup_s(registered: int) -> float:
    """Processor seconds in which a request finds its adapter among those in the library."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        home.root.mkdir(mode=0o700)
        base = find_base(home, FAKE_BASE_NAME)
        for number in range(registered):
            write_random_adapter(Path(folder) / "new", read_linears(None), rank=4, seed=number)
            add_adapter(home, Path(folder) / "new", base, name=f"a{number}")
        resolve = partial(Catalogue(AdapterLibrary(home), base).resolve, f"a{registered // 2}")
        time.sleep(0.2)  # a library that has just changed is looked at again
        resolve()
        began_s = time.process_time()
        for _ in range(LOOKUPS):
            assert resolve() is not None
        return (time.process_time() - began_s) / LOOKUPS
