"""Run other people's clients against this node over the demo model, and show which features work in which.

Each Python client is a script in tests/clients whose first lines name its packages, so uv gives it an environment of
its own. The clients from npm share tests/clients/javascript. Exits with 1 if a feature of a client fails.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.processes.nodes import TEST_HOME, Node, running_node  # noqa: E402

from openledger_node.home import Home  # noqa: E402
from openledger_protocol.constants import DEMO_BASE_NAME  # noqa: E402

CLIENTS = ROOT / "tests" / "clients"
JAVASCRIPT = CLIENTS / "javascript"
PAGE = ROOT / "docs" / "reference" / "clients.md"
SHORT = ("openai_package", "anthropic_package", "pydantic_ai_package")
"""Clients of the run with --short: the two protocols' own, and one that asks for tools by default."""

TORCH_PACKAGES = ("torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "jinja2", "markupsafe")
"""torch and what it needs, where a client's environment has it not."""

COLUMNS = (
    *("chat", "stream", "completion", "structured", "tool_call", "tool_stream", "tool_result", "tool_offer"),
    *("several", "logprobs", "models", "responses", "responses_tool", "messages", "count", "errors"),
)
"""The features that a client's script may have, in the order of the table."""

TIMEOUT_S = 900.0
Results = dict[str, dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="only the clients that CI runs")
    parser.add_argument("--only", metavar="CLIENT", nargs="+", help="these clients alone")
    parser.add_argument("--write-docs", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    scripts = find_scripts(arguments.only, is_short=arguments.short)
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="openledger-clients-") as folder:
        home = Home(Path(folder))
        (home.root / "models").symlink_to(TEST_HOME.root / "models")
        with torch_folder() as torch, running_node(home) as node:
            environment = client_environment(node, torch)
            for script in scripts:
                results[script.stem] = run_client(script, environment)
                show(script.stem, results[script.stem])
    if arguments.write_docs:
        PAGE.write_text(to_page(results))
    num_failed = sum(found != "ok" for client in results.values() for found in client.values())
    num_passed = sum(map(len, results.values())) - num_failed
    print(f"{num_passed} passed, {num_failed} failed")
    sys.exit(1 if num_failed else 0)


@contextmanager
def torch_folder() -> Iterator[Path]:
    """A folder with this environment's torch alone, for a client that needs one: PyPI's build brings 3 GB of CUDA."""
    installed = Path(sysconfig.get_path("platlib"))
    with tempfile.TemporaryDirectory(prefix="openledger-torch-") as folder:
        for name in (*TORCH_PACKAGES, f"torch-{distribution('torch').version}.dist-info"):
            Path(folder, name).symlink_to(installed / name)
        yield Path(folder)


def client_environment(node: Node, torch: Path) -> dict[str, str]:
    """The environment variables that the clients read."""
    return {
        "NODE_URL": node.url,
        "NODE_KEY": node.key,
        "NODE_MODEL": DEMO_BASE_NAME,
        "NODE_TOKENIZER": str(node.home.root / "models" / DEMO_BASE_NAME),
        "NODE_TORCH": str(torch),
    }


def find_scripts(only: list[str] | None, *, is_short: bool) -> list[Path]:
    """The clients to run; those from npm only where npm is."""
    python = sorted(CLIENTS.glob("*_package.py"))
    javascript = [file for file in sorted(JAVASCRIPT.glob("*.mjs")) if file.stem != "driver"]
    if not is_short and shutil.which("npm") is None:
        print("NOT TESTED: clients from npm: npm is not installed")
        javascript = []
    chosen = [file for file in python if file.stem in SHORT] if is_short else [*python, *javascript]
    if only is not None:
        chosen = [file for file in [*python, *javascript] if file.stem in only]
    if any(file.suffix == ".mjs" for file in chosen):
        subprocess.run(["npm", "ci", "--silent", "--no-fund", "--no-audit"], cwd=JAVASCRIPT, check=True)
    return chosen


def run_client(script: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Run one client's script; a script that fails as a whole is one failed feature."""
    uv = [sys.executable, "-m", "uv", "run", "--quiet", "--no-project", "--python", sys.executable]
    command = ["node", str(script)] if script.suffix == ".mjs" else [*uv, str(script)]
    # A group of its own, so that what a client has started ends with it.
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, said = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return {"start": f"not done after {TIMEOUT_S:g} s"}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    try:
        return json.loads(printed.splitlines()[-1])
    except (IndexError, ValueError):
        lines = said.strip().splitlines() or ["it printed nothing"]
        return {"start": f"exit status {process.returncode}: {lines[-1]}"}


def show(client: str, found: dict[str, str]) -> None:
    failed = {feature: why for feature, why in found.items() if why != "ok"}
    print(f"{client:<22} {len(found) - len(failed)} of {len(found)}", flush=True)
    for feature, why in failed.items():
        print(f"  {feature}: {why}", flush=True)


def to_page(results: Results) -> str:
    """The table of clients and features as a page of the docs."""
    lines = [
        "# Clients",
        "",
        "Clients of other people, run against a node with the demo model by `make test-clients`, which writes this",
        "page with `ARGS=--write-docs`. Each feature is a few lines in `tests/clients`. An empty place means that",
        "the client has no such feature, or that its script does not try it.",
        "",
        "| client | " + " | ".join(column.replace("_", " ") for column in COLUMNS) + " |",
        "|---|" + "---|" * len(COLUMNS),
    ]
    for client, found in sorted(results.items()):
        marks = ["" if column not in found else "yes" if found[column] == "ok" else "**no**" for column in COLUMNS]
        lines.append(f"| {versions(client)} | " + " | ".join(marks) + " |")
    return "\n".join(lines) + "\n"


def versions(client: str) -> str:
    """The packages of a client as its script, or the npm project, pins them."""
    file = CLIENTS / f"{client}.py"
    if file.exists():
        (line,) = [line for line in file.read_text().splitlines() if line.startswith("# dependencies = ")]
        return ", ".join(f"`{each}`" for each in json.loads(line.removeprefix("# dependencies = ")))
    packages = json.loads((JAVASCRIPT / "package.json").read_text())["dependencies"]
    code = (JAVASCRIPT / f"{client}.mjs").read_text()
    named = [name for name in packages if name != "zod" and f'from "{name}"' in code]
    return ", ".join(f"`{name}@{packages[name]}`" for name in named)


if __name__ == "__main__":
    main()
