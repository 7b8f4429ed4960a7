"""Run `make start` as a newcomer does: from an empty data directory to the first answer and the first earning.

Prints when each step of the first minute was seen. Exits with 0 only if the steps came in their order, if a taken
port was refused before anything was downloaded, if the real model answered the first question rightly and sold an
answer to a guest, if that payment was claimed, finalized and withdrawn, if an audit of the chain holds, and if the
node ended with status 0.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from openledger_node.first_words import FIRST_QUESTION, SAMPLE_QUESTIONS

ROOT = Path(__file__).resolve().parent.parent
NODE = Path(sys.executable).with_name("openledger-node")
RIGHT = "Paris"
CONFIG_ERROR = 3
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 60.0
EARN_TIMEOUT_S = 120.0

FIRST_STEPS = (
    r"openledger-node \S+ +home",
    r"  the demo base is downloaded this once",
    r"  downloaded 92\.9 MB in ",
    r"  describing",
    r"  starting the node",
    r"  starting the engine",
    r"  loading the base",
    r"  base  ",
    r"first answer: (.*\S)",
)
"""The lines of a first start, in their order."""

LATER_STEPS = tuple(step for step in FIRST_STEPS if "download" not in step and "describing" not in step)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="openledger-") as home:
        environment = {**os.environ, "OPENLEDGER_HOME": home, "OPENLEDGER_API_PORT": "0"}
        refuse_a_taken_port(Path(home), environment)
        start_once("first", FIRST_STEPS, environment)
        start_once("second", LATER_STEPS, environment)


def refuse_a_taken_port(home: Path, environment: dict[str, str]) -> None:
    """Start beside a program that has the port; nothing may be downloaded."""
    began_s = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [str(NODE), "start", "--port", str(taken.getsockname()[1])]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(f"a taken port is refused after {time.monotonic() - began_s:.1f} s: {ran.stderr.splitlines()[-1]}")
    if ran.returncode != CONFIG_ERROR or (home / "models").exists():
        sys.exit(f"the port was not checked first, status {ran.returncode}:\n{ran.stderr}")


def start_once(number: str, steps: tuple[str, ...], environment: dict[str, str]) -> None:
    """Start the node, wait for its first answer, and ask it; the first time, earn something, too."""
    began_s = time.monotonic()
    with subprocess.Popen(["make", "start"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as node:
        try:
            assert node.stderr is not None
            hello = ""
            for seen in steps_in(node.stderr, steps, began_s):
                hello = seen[1] if seen.re.groups else hello
                print(f"{number} start, {time.monotonic() - began_s:5.1f} s: {seen[0].strip()}")
            if RIGHT not in hello:
                sys.exit(f"the node ended, took too long, or answered wrongly: {hello!r}")
            answer = ask(environment, FIRST_QUESTION)
            if number == "first":
                earn(environment)
            subprocess.run([str(NODE), "stop"], env=environment, check=True)
            _, rest = node.communicate(timeout=STOP_TIMEOUT_S)
        finally:
            node.kill()
    if node.returncode != 0 or RIGHT not in answer:
        sys.exit(f"the node ended with status {node.returncode}:\n{rest}")


def steps_in(lines: IO[str], steps: tuple[str, ...], began_s: float) -> Iterator[re.Match[str]]:
    """Yield the lines of the steps as they come; ends with the last one, or with the first that did not come."""
    for step in steps:
        for line in lines:
            if found := re.match(step, line):
                yield found
                break
            if time.monotonic() - began_s > START_TIMEOUT_S:
                return
        else:
            print(f"this step was not seen: {step}")
            return


def ask(environment: dict[str, str], question: str) -> str:
    """Ask the base as the tutorial does."""
    answer = str(verb(environment, "chat", question)["answer"])
    print(f"{question} → {answer!r}")
    return answer


def earn(environment: dict[str, str]) -> None:
    """Sell one answer to the guest, and follow the money into the wallet."""
    began_s = time.monotonic()
    bought = verb(environment, "chat", SAMPLE_QUESTIONS[1], "--as-guest")
    print(f"{time.monotonic() - began_s:5.1f} s: the guest paid {bought['receipt']['amount_wei']} wei")
    seen: list[str] = []
    while seen[-1:] != ["final"]:
        claims = verb(environment, "rewards", "show")["claims"]
        if claims and claims[0]["state"] not in seen:
            seen.append(claims[0]["state"])
            print(f"{time.monotonic() - began_s:5.1f} s: claim {claims[0]['seq']} is {seen[-1]}")
        if time.monotonic() - began_s > EARN_TIMEOUT_S:
            sys.exit(f"no claim became final within {EARN_TIMEOUT_S:.0f} s: it is {seen[-1:]}")
    for done in verb(environment, "rewards", "withdraw")["transactions"]:
        print(f"{time.monotonic() - began_s:5.1f} s: {done['summary']}: {done['state']} in {done['hash']}")
    audit(environment)
    if not verb(environment, "attribution", "verify", bought["digest"])["holds"]:
        sys.exit("the receipt can't be reproduced")


def audit(environment: dict[str, str]) -> None:
    """Audit the chain with nothing but an endpoint and network.json."""
    network = verb(environment, "network", "show")
    file = Path(environment["OPENLEDGER_HOME"]) / "networks" / network["network"] / "network.json"
    command = [sys.executable, str(ROOT / "scripts" / "audit_chain.py"), network["rpc"][0], str(file), "--json"]
    found = json.loads(subprocess.check_output(command, text=True))
    print(f"audit of {found['network']} at block {found['block']}: {len(found['lines'])} lines hold")


def verb(environment: dict[str, str], *words: str) -> Any:
    """Run a command and parse its JSON object."""
    return json.loads(subprocess.check_output([str(NODE), *words, "--json"], env=environment, text=True))


if __name__ == "__main__":
    main()
