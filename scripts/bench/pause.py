"""How fast a node gives its memory back, and how fast it is ready again: pause, idle unload and reload.

Each case is a real daemon with the demo base, ordered over its control socket as `openledger-node pause` orders it.
The memory is the engine's resident memory, and it counts as free once the process has ended and was reaped. `--json`
prints one object on the last line. `--quick` has one round on the fake alone.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from bars import Bar, bar, environment, show_bars

from openledger_node.home import Home
from openledger_node.machine import resident_bytes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.processes.nodes import (  # noqa: E402
    TEST_HOME,
    Node,
    ask_status,
    is_alive,
    operator_of,
    running_node,
)

SCHEMA: Final = "openledger.bench_pause/1"

BACKENDS: Final = {
    "fake": {
        "OPENLEDGER_INFERENCE_BACKEND": "fake",
        "OPENLEDGER_INFERENCE_BASE": "fake",
        "OPENLEDGER_INFERENCE_CONTEXT_MAX": "100000",
    },
    "torch": {"OPENLEDGER_INFERENCE_ACCELERATION": "off"},
    "native": {},
}
STREAMS, ANSWER_TOKENS = 8, 90_000  # or as many as the context holds
UNLOAD_AFTER_S = 3.0
WITHIN_S = 120.0
ROUNDS = 3
POLL_S = 0.002

Figures = dict[str, list[float]]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    wanted = parser.parse_args()
    load = os.getloadavg()[0]
    names = ["fake"] if wanted.quick else list(BACKENDS)
    found = {name: measure(name, 1 if wanted.quick else ROUNDS) for name in names}
    bars = [each for name in BACKENDS for each in bars_of(name, found.get(name))]
    show_bars("Pause, idle unload and reload", bars)
    if wanted.json:
        env = environment(load, os.cpu_count() or 1)
        print(json.dumps({"schema": SCHEMA, "bench": "pause", "bars": bars, "env": env, "runs": found}))


def bars_of(name: str, figures: Figures | None) -> list[Bar]:
    """The bars of one backend."""
    why = "" if figures else "left out by --quick"
    cases = {"pause_idle": 2.0, "pause_streams": 2.0, "pause_now_streams": 2.0, "pause_loading": 2.0}
    return [
        bar(
            f"{name}_{case}_s",
            median(figures[case]) if figures and figures.get(case) else None,
            "s",
            goal,
            goal / 2,
            better="lower",
            why=why,
        )
        for case, goal in cases.items()
    ]


def measure(name: str, rounds: int) -> Figures:
    """All cases of one backend: seconds and MiB of each round."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = BACKENDS[name]
        if name != "fake":
            Path(folder, "models").symlink_to(TEST_HOME.models)
        with running_node(Home(Path(folder)), **settings) as node:
            for _ in range(rounds):
                measure_pauses(node, figures)
        unloading = {**settings, "OPENLEDGER_INFERENCE_UNLOAD_AFTER_S": str(UNLOAD_AFTER_S)}
        with running_node(Home(Path(folder)), **unloading) as node:
            for _ in range(rounds):
                measure_unload(node, figures)
    return figures


def measure_pauses(node: Node, figures: Figures) -> None:
    """Pause while nothing runs, while streams run, and while the base is loading; resume after each."""
    pause(node, figures, "pause_idle")
    resume(node, figures)
    for case, order in (("pause_streams", {}), ("pause_now_streams", {"now": True})):
        with streaming(node):
            pause(node, figures, case, **order)
        resume(node, figures)
    pause(node, {}, "")
    tell(node, "/resume")
    load_s = median(figures["reload_s"])
    wait(lambda: engine_of(node)["process_id"])
    time.sleep(load_s / 2)
    pause(node, figures, "pause_loading")
    resume(node, figures)


def pause(node: Node, figures: Figures, case: str, **order: Any) -> None:
    """Pause, and note the seconds from the order until the engine's process is gone, and the memory before."""
    process_id = engine_of(node)["process_id"]
    before = resident_bytes(process_id) or 0
    began_s = time.monotonic()
    tell(node, "/pause", **order)
    wait(lambda: not is_alive(process_id))
    note(figures, case, time.monotonic() - began_s)
    note(figures, f"{case}_mib_before", before / 2**20)
    wait(lambda: engine_of(node)["state"] == "paused" and engine_of(node)["process_id"] is None)


def resume(node: Node, figures: Figures) -> None:
    """Resume, and note the seconds until the engine is loaded, and its memory then."""
    began_s = time.monotonic()
    tell(node, "/resume")
    wait(lambda: engine_of(node)["state"] == "ready")
    note(figures, "reload_s", time.monotonic() - began_s)
    note(figures, "mib_after_reload", (resident_bytes(engine_of(node)["process_id"]) or 0) / 2**20)


def measure_unload(node: Node, figures: Figures) -> None:
    """Wait for an idle unload, and ask for one token; the same token of a loaded engine is the control."""
    ask(node, 1)
    began_s = time.monotonic()
    ask(node, 1)
    note(figures, "first_token_loaded_s", time.monotonic() - began_s)
    process_id, idle_s = engine_of(node)["process_id"], time.monotonic()
    wait(lambda: not is_alive(process_id))
    note(figures, "unloaded_after_s", time.monotonic() - idle_s)
    wait(lambda: engine_of(node)["state"] == "unloaded")
    began_s = time.monotonic()
    ask(node, 1)
    note(figures, "first_token_unloaded_s", time.monotonic() - began_s)
    note(figures, "said_load_s", engine_of(node)["load_s"])


@contextmanager
def streaming(node: Node) -> Iterator[None]:
    """Answers that run meanwhile; each has begun."""
    threads = [threading.Thread(target=ask, args=(node, ANSWER_TOKENS)) for _ in range(STREAMS)]
    for thread in threads:
        thread.start()
    status: Callable[[], Any] = lambda: (ask_status(node.home) or {}).get("requests", {}).get("running", 0)  # noqa: E731
    wait(lambda: status() == STREAMS)
    yield
    for thread in threads:
        thread.join()


def ask(node: Node, max_tokens: int) -> None:
    """One answer, of which a pause may leave a part."""
    body = {
        "model": (ask_status(node.home) or {})["base"],
        "messages": [{"role": "user", "content": "Tell me about the sea and all that lives in it..."}],
        "max_tokens": max_tokens,
        "temperature": 1.3,
    }
    with node.client() as client:
        client.post("/v1/chat/completions", json=body)


def tell(node: Node, path: str, **order: Any) -> None:
    with operator_of(node.home) as operator:
        operator.post(path, json=order).raise_for_status()


def engine_of(node: Node) -> dict[str, Any]:
    engine: dict[str, Any] = wait(lambda: ask_status(node.home))["engine"]
    return engine


def wait(find: Callable[[], Any]) -> Any:
    """Ask until there is a value, every 2 ms."""
    deadline_s = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline_s:
        if found := find():
            return found
        time.sleep(POLL_S)
    raise AssertionError("not in time")


def note(figures: Figures, name: str, value: float) -> None:
    figures.setdefault(name, []).append(round(value, 4))


if __name__ == "__main__":
    main()
