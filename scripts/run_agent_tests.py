"""Let real coding agents read a file by a tool call of a scripted model, over the node's whole API.

Each agent is installed from npm into a temporary folder, started as `launch` starts it, and asked for a word that
stands in a file only. The model behind the API calls the agent's tool for that, and repeats the result of the tool.
An agent that can't be installed is NOT TESTED. Exits with 1 if an agent fails.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.apis import KEY, open_api  # noqa: E402
from support.scripted_door import LetIn, ScriptedDoor  # noqa: E402

from openledger_node.api.server import bind_tcp, serve_app, url_of  # noqa: E402
from openledger_node.cli.launch import PROGRAMS  # noqa: E402
from openledger_protocol.inference import ServedModel  # noqa: E402

WORD = "marmalade-4711"
FILE = "note.txt"
QUESTION = f"Which word is in {FILE}?"
MODEL = "fake"
TIMEOUT_S = 120.0
CONTEXT_TOKENS = 200_000
BODY_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One program: its package, the words that make it answer once, and its tool that reads a file."""

    package: str
    once: Sequence[str]
    tool: str
    argument: str  # of the tool
    value: str  # with {path} for the file


AGENTS = {
    "claude": Agent(
        package="@anthropic-ai/claude-code@2.1.197", once=["-p"], tool="Read", argument="file_path", value="{path}"
    ),
    "codex": Agent(
        package="@openai/codex@0.171.0",
        once=["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"],
        tool="exec_command",
        argument="cmd",
        value="cat {path}",
    ),
    "opencode": Agent(package="opencode-ai@1.18.33", once=["run"], tool="read", argument="filePath", value="{path}"),
}


class AgentDoor(ScriptedDoor):
    """Calls the agent's tool where it is offered, and repeats the result of a tool."""

    def __init__(self, agent: Agent, file: Path) -> None:
        super().__init__()
        arguments = {agent.argument: agent.value.format(path=file)}
        self._tool = agent.tool
        self._call = f"<tool_call>{json.dumps({'name': agent.tool, 'arguments': arguments})}</tool_call>"
        self.has_result = False

    async def models(self) -> Sequence[ServedModel]:
        """One model with room for the instructions of an agent."""
        return [ServedModel(name=MODEL, parent=None, created_s=1_700_000_000, context_max=CONTEXT_TOKENS)]

    async def handle(self, admitted: LetIn, send: Any) -> None:
        """Answer one step; requests without the tool, such as one for a title, get a greeting."""
        request = admitted.request
        results = [turn.content for turn in request.prompt if turn.role == "tool"]
        offered = [tool.name for tool in request.tooling.tools] if request.tooling else []
        self.has_result |= any(WORD in result for result in results)
        self.pieces = [f"The word: {results[-1]}"] if results else [self._call] if self._tool in offered else ["Hi"]
        await super().handle(admitted, send)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=AGENTS, help="one agent")
    chosen = [only] if (only := parser.parse_args().only) else list(AGENTS)
    failed = False
    with tempfile.TemporaryDirectory(prefix="openledger-agents-") as folder:
        for name in chosen:
            why = install(AGENTS[name].package, Path(folder))
            if why:
                print(f"NOT TESTED: {name}: {why}", flush=True)
                continue
            found = trio.run(try_agent, name, Path(folder))
            failed |= found != "ok"
            print(f"{AGENTS[name].package:<34} {found}", flush=True)
    sys.exit(1 if failed else 0)


def install(package: str, folder: Path) -> str:
    """Install a package from npm; the reason if that is impossible here."""
    if shutil.which("npm") is None:
        return "npm is not installed"
    # Their binaries come as packages of their own, which the install scripts put in place.
    command = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), package]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if ran.returncode == 0 else f"npm can't install {package}: {ran.stderr.strip()[-200:]}"


async def try_agent(name: str, folder: Path) -> str:
    """Run one agent; the word "ok", or what failed."""
    work = folder / f"work-{name}"
    work.mkdir()
    (work / FILE).write_text(WORD)
    door = AgentDoor(AGENTS[name], work / FILE)
    stopping = trio.Event()
    listener = bind_tcp("127.0.0.1", 0)
    async with open_api(door=door, body_bytes_max=BODY_BYTES_MAX) as api, trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_app, api.app, listener, stopping.wait))
        said = await ask(name, url_of(listener), folder, work)
        stopping.set()
    if not door.requests:
        return f"it sent no request that the node could serve: {said}"
    if not door.has_result:
        return f"no result of its tool came back: {said}"
    return "ok" if WORD in said else f"its answer is not the model's: {said}"


async def ask(name: str, url: str, folder: Path, work: Path) -> str:
    """Start an agent as `launch` does, with a home of its own, and return what it prints."""
    made = PROGRAMS[name][0](url, MODEL)
    program, *flags = made.command
    command = [str(folder / "node_modules" / ".bin" / program), *AGENTS[name].once, *flags, QUESTION]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        **made.environment,
        made.key_variable: KEY,
    }
    said = "nothing"
    with trio.move_on_after(TIMEOUT_S) as scope:
        ran = await trio.run_process(
            command, cwd=work, env=environment, capture_stdout=True, capture_stderr=True, check=False, stdin=b""
        )
        said = " ".join((ran.stdout + ran.stderr).decode(errors="replace").split())[-600:]
    return f"not done after {TIMEOUT_S:g} s" if scope.cancelled_caught else said


if __name__ == "__main__":
    main()
