"""Count the functions of this project that a node enters on each walk: start, idle, a free chat, a paid chat.

python scripts/spine.py [--json] [--names WALK]

A real node runs in an empty home with the fake base on a development chain of its own, and a profiler notes each
function of this project that its process enters, imports included. The functions of an idle node are subtracted from
the chats. The first paid chat opens a channel, and the second finds it open. The guest buys both inside the node, so
they enter the payer's and the seller's half. The children for engine and chain are not counted. `--names` lists what
a walk enters.
"""

import argparse
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
OURS = (f"{ROOT}/node/openledger_node/", f"{ROOT}/protocol/openledger_protocol/")
TIMEOUT_S = 180.0
POLL_S = 0.1
SETTLED_S = 15.0
"""After the bond is mined, the node still tells others of itself."""
IDLE_S = 12.0
NUM_TOKENS = 20
BODY = {
    "model": "fake",
    "stream": True,
    "max_tokens": NUM_TOKENS,
    "messages": [{"role": "user", "content": "tell me..."}],
}
WALKS = ("start", "idle", "free chat", "first paid chat", "paid chat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--names", choices=WALKS, metavar="WALK", help=", ".join(WALKS))
    words = parser.parse_args()
    walks = dict(zip(WALKS, walk(), strict=True))
    if words.names:
        print(*sorted(walks[words.names]), sep="\n")
        return
    counts = {name: counted(entered) for name, entered in walks.items()}
    if words.json:
        print(json.dumps(counts))
        return
    for name, found in counts.items():
        print(f"{name:16} {found['functions']:>6,} functions {found['files']:>5} files {found['rooms']:>4} rooms")


def counted(entered: set[str]) -> dict[str, int]:
    files = {each.partition(":")[0] for each in entered}
    rooms = {file.split("/")[1] if file.count("/") > 1 else file.split("/")[0] for file in files}
    return {"functions": len(entered), "files": len(files), "rooms": len(rooms)}


def walk() -> Iterator[set[str]]:
    """Take each walk on one node, and yield the functions that it entered, in the order of `WALKS`."""
    with tempfile.TemporaryDirectory(prefix="openledger-") as folder, traced_node(Path(folder)) as take:
        home = Path(folder) / "home"
        operator = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(wait_for(lambda: sole(home, "node.sock")))),
            base_url="http://node",
            timeout=TIMEOUT_S,
        )
        status = wait_for(lambda: serving(operator))
        yield take()  # its money is still on its way
        wait_for(lambda: can_sell(operator))
        time.sleep(SETTLED_S)
        take()
        time.sleep(IDLE_S)
        idle = take()
        yield idle
        key = (home / "keys" / "api.key").read_text().strip()
        url = status["api"]["url"]
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S) as api:
            read(api, "/v1/chat/completions")
        yield take() - idle
        for _ in range(2):
            read(operator, "/guest")
            yield take() - idle
            time.sleep(SETTLED_S)  # what this answer leaves to be done is no part of the next walk
            take()
        operator.close()


def serving(operator: httpx.Client) -> Any:
    try:
        found = operator.get("/status").json()
    except httpx.TransportError:
        return None
    return found if found["state"] in ("serving", "idle") else None


def can_sell(operator: httpx.Client) -> bool:
    return bool(operator.post("/money/stake", json={}).json()["is_appointed"])


def read(client: httpx.Client, path: str) -> None:
    with client.stream("POST", path, json=BODY) as response:
        response.raise_for_status()
        lines = [line for line in response.iter_lines() if line]
    if lines[-1] != "data: [DONE]" and "receipt" not in json.loads(lines[-1]):
        raise SystemExit(f"{path} ended with {lines[-1]}")


def sole(folder: Path, pattern: str) -> Path | None:
    return next(iter(folder.rglob(pattern)), None) if folder.exists() else None


def wait_for(find: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        if found := find():
            return found
        time.sleep(POLL_S)
    raise SystemExit("the node was not ready in time")


# ---- The node under the profiler


@contextmanager
def traced_node(folder: Path) -> Iterator[Callable[[], set[str]]]:
    """Start a node under the profiler; calling what this yields takes the functions entered since the last call."""
    out = folder / "entered"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENLEDGER_")}
    environment |= {"OPENLEDGER_HOME": str(folder / "home"), "OPENLEDGER_NODE_NETWORK": "auto", "SPINE_OUT": str(out)}
    words = ("start", "--port", "0", "--no-hello", "--base", "fake", "--backend", "fake")
    with (folder / "start.log").open("w") as log:
        command = [sys.executable, __file__, "--traced", *words]
        node = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def take() -> set[str]:
        out.unlink(missing_ok=True)
        node.send_signal(signal.SIGUSR1)
        return set(wait_for(lambda: out.exists() and out.read_text()).split("\n"))

    try:
        yield take
    except BaseException:
        print((folder / "start.log").read_text(), file=sys.stderr)
        raise
    finally:
        node.send_signal(signal.SIGINT)
        node.wait(TIMEOUT_S)


def run_traced(words: list[str]) -> None:
    """Run the command line in this process, and write what it entered whenever SIGUSR1 asks."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            seen.add(frame.f_code)

    def write(*_: Any) -> None:
        taken = set(seen)
        seen.clear()
        out = Path(os.environ["SPINE_OUT"])
        draft = out.with_suffix(".draft")
        draft.write_text("\n".join(sorted(map(name_of, filter(is_ours, taken)))))
        draft.rename(out)

    signal.signal(signal.SIGUSR1, write)
    threading.setprofile(note)
    sys.setprofile(note)
    from openledger_node.settlement.claimer import Claimer  # under the profiler: a node imports it too

    Claimer.step = lambda *_: None  # type: ignore[method-assign]  # its claims would be counted as a part of the walk
    sys.argv = ["openledger-node", *words]
    runpy.run_module("openledger_node", run_name="__main__")


def is_ours(code: CodeType) -> bool:
    """True for a function, lambda, comprehension or class body of this project; a module itself is none."""
    return code.co_filename.startswith(OURS) and code.co_name != "<module>"


def name_of(code: CodeType) -> str:
    file = Path(code.co_filename).relative_to(ROOT).as_posix().partition("/")[2]
    return f"{file}:{code.co_firstlineno} {code.co_qualname}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--traced"]:
        run_traced(sys.argv[2:])
    else:
        main()
