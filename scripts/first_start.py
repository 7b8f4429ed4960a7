"""`make start` as a newcomer types it: an empty home, no configuration, to the first answer and a clean end.

Exits 0 only if the real model answered by itself, answered a question, and the node ended with status 0.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODE = Path(sys.executable).with_name("openledger-node")
QUESTION = "What is the capital of France?"
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 60.0


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
            subprocess.run([str(NODE), "stop"], env=environment, check=True)
            _, rest = node.communicate(timeout=STOP_TIMEOUT_S)
        finally:
            node.kill()
    if node.returncode != 0 or not answer:
        sys.exit(f"the node ended with status {node.returncode}:\n{rest}")


def wait_for_answer(node: "subprocess.Popen[str]", started_s: float) -> str:
    assert node.stderr is not None
    for line in node.stderr:
        if match := re.match(r"first answer: (.*\S)", line):
            return match[1]
        if time.monotonic() - started_s > START_TIMEOUT_S:
            break
    sys.exit("the node ended, or took too long, before its first answer")


if __name__ == "__main__":
    main()
