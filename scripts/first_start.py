"""Run `make start` as a newcomer does: from an empty data directory to the first answer and the first earning.

Exits with 0 only if the real model gave its first answer, answered a question and sold an answer to a guest, if
that payment was claimed, finalized and withdrawn, if an audit of the chain holds, and the node ended with status 0.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NODE = Path(sys.executable).with_name("openledger-node")
QUESTION = "What is the capital of France?"
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 60.0
EARN_TIMEOUT_S = 120.0


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="openledger-") as home:
        environment = {**os.environ, "OPENLEDGER_HOME": home, "OPENLEDGER_API_PORT": "0"}
        for number in ("first", "second"):
            start_once(number, environment)


def start_once(number: str, environment: dict[str, str]) -> None:
    started_s = time.monotonic()
    with subprocess.Popen(["make", "start"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as node:
        try:
            hello = wait_for_answer(node, started_s)
            print(f"{number} start: {time.monotonic() - started_s:.1f} s to {hello!r}")
            chat = [str(NODE), "chat", QUESTION, "--temperature", "0", "--json"]
            answer = json.loads(subprocess.check_output(chat, env=environment, text=True))["answer"]
            print(f"{QUESTION} → {answer!r}")
            if number == "first":
                earn(environment)
            subprocess.run([str(NODE), "stop"], env=environment, check=True)
            _, rest = node.communicate(timeout=STOP_TIMEOUT_S)
        finally:
            node.kill()
    if node.returncode != 0 or not answer:
        sys.exit(f"the node ended with status {node.returncode}:\n{rest}")


def earn(environment: dict[str, str]) -> None:
    """Sell one answer to the guest, and follow the money into the wallet."""
    started_s = time.monotonic()
    bought = verb(environment, "chat", QUESTION, "--as-guest")
    print(f"{time.monotonic() - started_s:5.1f} s: the guest paid {bought['receipt']['amount_wei']} wei")
    seen: list[str] = []
    while seen[-1:] != ["final"]:
        claims = verb(environment, "rewards", "show")["claims"]
        if claims and claims[0]["state"] not in seen:
            seen.append(claims[0]["state"])
            print(f"{time.monotonic() - started_s:5.1f} s: claim {claims[0]['seq']} is {seen[-1]}")
        if time.monotonic() - started_s > EARN_TIMEOUT_S:
            sys.exit(f"no claim became final within {EARN_TIMEOUT_S:.0f} s: it is {seen[-1:]}")
    for done in verb(environment, "rewards", "withdraw")["transactions"]:
        print(f"{time.monotonic() - started_s:5.1f} s: {done['summary']}: {done['state']} in {done['hash']}")
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


def wait_for_answer(node: "subprocess.Popen[str]", started_s: float) -> str:
    assert node.stderr is not None
    for line in node.stderr:
        if match := re.match(r"first answer: (.*\S)", line):
            return match[1]
        if time.monotonic() - started_s > START_TIMEOUT_S:
            break
    sys.exit("the node ended or took too long before its first answer")


if __name__ == "__main__":
    main()
