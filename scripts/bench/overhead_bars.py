"""Bar 3 and the second half of bar 4: processor time of the daemon and the engine process around a backend.

The fake backend takes almost none, so what is counted is everything else. Processor seconds hardly depend on what
else the machine does, so no sample is dropped.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import trio
from bars import Bar, bar
from http_batch import Address, address_of, ask_all
from load import SETTINGS, START_TIMEOUT_S, status_of
from load_readers import CONTEXT
from quiet import TICKS_S

from openledger_node.backends.fake import FakeBackend
from openledger_node.demo.processes import OperatorHome, wait_for
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.engine import Engine, EngineOptions
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.models.adapter_files.random_adapter import read_linears, write_random_adapter
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import FAKE_BASE_NAME, find_base
from openledger_node.serving.service import Serving
from openledger_protocol.inference import InferenceRequest, SamplingParams
from openledger_protocol.primitives import RequestId

REQUESTS, TOKENS, SAMPLES = 32, 32, 7
PROMPT = "on and on..."
FEW, MANY, ADMISSIONS = 8, 1000, 300
SETTLE_S = 0.2
"""A library that has just changed is looked at again."""


def measure_overhead(samples: int = SAMPLES, many: int = MANY) -> tuple[list[Bar], dict[str, Any]]:
    """Measure both on a daemon and a library of their own."""
    with running_fake() as (address, daemon, engine):
        found = [batch_cost(address, daemon, engine) for _ in range(samples + 1)][1:]  # the first one imports
    costs = {name: statistics.median(one[name] for one in found) for name in found[0]}
    admissions = {count: admission_s(count) for count in (FEW, many)}
    runs = {"costs_s": costs, "each": found, "admission_ms": {count: 1000 * one for count, one in admissions.items()}}
    return [
        bar("overhead_cpu_s", costs["daemon"] + costs["engine"], "s", 0.25, 0.15, better="lower"),
        bar("admission_ms", 1000 * admissions[many], "ms", 2.0, better="lower"),
        bar("admission_growth", admissions[many] / admissions[FEW], "ratio", 1.2, better="lower"),
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


def admission_s(registered: int) -> float:
    """Processor seconds of one request's admission: checks, its adapter among those in the library, its tokens."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        home.root.mkdir(mode=0o700)
        base = find_base(home, FAKE_BASE_NAME)
        for number in range(registered):
            write_random_adapter(Path(folder) / "new", read_linears(None), rank=4, seed=number)
            add_adapter(home, Path(folder) / "new", base, name=f"a{number}")
        time.sleep(SETTLE_S)
        with closing(open_ledger(home.ledger("local"))) as ledger:
            serving = Serving(
                home=home,
                base=base,
                engine=idle_engine(Path(folder)),
                tokenizer=ByteTokenizer(),
                ledger=ledger,
                queue_max=REQUESTS,
                now_ns=time.time_ns,
            )
            return trio.run(_admit_many, serving, f"a{registered // 2}")


async def _admit_many(serving: Serving, model: str) -> float:
    sampling = SamplingParams(max_tokens=TOKENS, seed=1, temperature=0)
    request = InferenceRequest(request_id=RequestId("0x" + "0" * 64), model=model, prompt=PROMPT, sampling=sampling)
    for turn in range(2):  # the first reads the library
        began_s = time.process_time()
        for _ in range(ADMISSIONS if turn else 1):
            assert (await serving.admit(request)).adapter
            serving.release()
    return (time.process_time() - began_s) / ADMISSIONS


def idle_engine(folder: Path) -> Engine:
    """An engine without a process, which tells what it could do."""
    settings = BackendSettings(
        base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=REQUESTS, context_max=CONTEXT
    )
    engine = Engine(
        EngineOptions(
            backend="fake",
            settings=settings,
            prefill_tokens_max=64,
            adapter_cache_bytes=1 << 20,
            stall_timeout_s=60.0,
            wait_policy="passive",
            log_file=folder / "engine.log",
        )
    )
    engine.state, engine.profile = "ready", FakeBackend(settings).profile
    return engine
