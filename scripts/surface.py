"""Count what a person must hold to know this project, beside the budgets of scripts/surface.toml.

python scripts/surface.py [--rooms] [--check | --lower]

Names, commands, settings and tables are counted, because cutting a file in two changes none of them. `--check` fails
if a number is above its budget by more than 1 %; that room is for repairs. `--lower` writes the numbers that are
below their budget as the new budgets. `--rooms` adds the lines and names of each folder.
"""

import argparse
import ast
import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path

from typer.main import get_command

from openledger_node.api.bootstrap_metrics import BOOTSTRAP_METRICS
from openledger_node.api.metrics import NODE_METRICS
from openledger_node.cli.app import build_app
from openledger_node.config import TABLES
from openledger_node.ledger.ledger import open_ledger

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = Path(__file__).with_suffix(".toml")
SLACK = 0.01
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
ROUTE = re.compile(r"@\w+\.(?:get|post|put|delete|patch)\(")
MESSAGE_TABLES = {"_MESSAGES", "_ENVELOPE"}
"""The names under which a module of the protocol lists the messages between peers."""

Sources = Mapping[str, str]  # path below the repository's root, and text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if a number is above its budget")
    parser.add_argument("--lower", action="store_true", help="write smaller numbers as the new budgets")
    parser.add_argument("--rooms", action="store_true", help="add the lines and names of each folder")
    words = parser.parse_args()
    sources = tracked_sources()
    found = surface(sources)
    budgets: dict[str, int] = tomllib.loads(BUDGETS.read_text(encoding="utf-8"))
    if words.lower:
        budgets = {name: min(count, budgets.get(name, count)) for name, count in found.items()}
        BUDGETS.write_text(rendered(budgets), encoding="utf-8")
    over = above(found, budgets)
    for name, count in found.items():
        change = f"{count - budgets[name]:+,}" if count != budgets[name] else ""
        print(f"{name:24} {count:>9,}  budget {budgets[name]:>9,}  {change}{'  TOO MUCH' if name in over else ''}")
    if words.rooms:
        for room, (lines, names) in sorted(rooms(sources).items(), key=lambda each: -each[1][0]):
            print(f"  {room:22} {lines:>7,} lines  {names:>5,} names")
    if words.check and over:
        sys.exit(
            f"above the budget of {BUDGETS.name}: {', '.join(over)}. Take something away, or say what grants it."
        )


def tracked_sources() -> dict[str, str]:
    """The text files that git tracks or would track, by their paths."""
    listing = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    paths = (name for name in listing.splitlines() if Path(name).suffix in SUFFIXES and (ROOT / name).exists())
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in sorted(paths)}


SUFFIXES = {".py", ".sol", ".js", ".mjs", ".css", ".cpp", ".h", ".sh", ".md"}


def surface(sources: Sources) -> dict[str, int]:
    """Count everything that has a budget, by its name there."""
    trees = [ast.parse(text) for text in chosen(sources, PACKAGES, ".py").values()]
    every = [node for tree in trees for node in ast.walk(tree)]
    commands = list(leaf_commands(get_command(build_app())))
    page = chosen(sources, PACKAGES, ".js", ".css")
    return {
        "lines": lines_of(chosen(sources, PACKAGES, ".py")),
        "logical_lines": sum(isinstance(node, ast.stmt) and not is_text(node) for node in every),
        "names": sum(isinstance(node, DEFINITIONS) for node in every),
        "commands": len(commands),
        "options": sum(each.param_type_name == "option" for found in commands for each in found.params),
        "settings": sum(len(fields(table)) for table in TABLES.values()),
        "routes": sum(len(ROUTE.findall(text)) for text in chosen(sources, PACKAGES, ".py").values()),
        "metrics": len(NODE_METRICS.families) + len(BOOTSTRAP_METRICS.families),
        "tables": num_tables(),
        "wire_messages": sum(map(num_messages, every)),
        "contract_functions": sum(map(num_own_functions, (ROOT / ARTIFACTS).glob("*.json"))),
        "page_bytes": sum(len(text.encode()) for text in page.values()),
        "solidity_lines": lines_of(chosen(sources, ("contracts/src",), ".sol")),
        "native_lines": lines_of(chosen(sources, PACKAGES, ".cpp", ".h")),
        "test_lines": lines_of(chosen(sources, ("tests",), ".py")),
        "contract_test_lines": lines_of(chosen(sources, ("contracts/test",), ".sol")),
        "script_lines": lines_of(chosen(sources, ("scripts", "contracts/tools"), ".py", ".mjs", ".sh")),
        "doc_words": sum(len(text.split()) for text in chosen(sources, ("",), ".md").values()),
    }


PACKAGES = ("node/openledger_node", "protocol/openledger_protocol")
ARTIFACTS = "node/openledger_node/chain/artifacts"


def chosen(sources: Sources, folders: tuple[str, ...], *suffixes: str) -> dict[str, str]:
    return {path: text for path, text in sources.items() if path.startswith(folders) and path.endswith(suffixes)}


def lines_of(sources: Sources) -> int:
    return sum(text.count("\n") for text in sources.values())


def is_text(node: ast.stmt) -> bool:
    """True for a docstring, which is no statement that a reader must follow."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def num_messages(node: ast.AST) -> int:
    """Count the messages if this statement is a table of messages between peers, otherwise none."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return 0
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    if not isinstance(target, ast.Name) or target.id not in MESSAGE_TABLES:
        return 0
    return next(len(each.keys) for each in ast.walk(node.value) if isinstance(each, ast.Dict))


def leaf_commands(found: object) -> Iterator[object]:
    """The commands that do something, without those that only group others."""
    below = [each for each in getattr(found, "commands", {}).values() if not each.hidden]
    for each in below:
        yield from leaf_commands(each)
    if not below:
        yield found


def num_tables() -> int:
    """Count the tables of a new ledger."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        open_ledger(file).close()
        with closing(sqlite3.connect(file)) as connection:
            query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            return int(connection.execute(query).fetchone()[0])


def num_own_functions(artifact: Path) -> int:
    """Count the functions of a contract that contracts/src declares; what OpenZeppelin brings is not counted."""
    made = json.loads(artifact.read_text(encoding="utf-8"))
    text = own_source(ROOT / "contracts" / "src" / f"{made['contract']}.sol")
    declared = set(re.findall(r"\bpublic (?:\w+ )*(\w+)(?=[;\s]*[=;])", text))
    declared |= {name for name, rest in re.findall(r"\bfunction (\w+)([^{;]*)", text) if "override" not in rest}
    return sum(each["type"] == "function" and each["name"] in declared for each in made["abi"])


def own_source(file: Path) -> str:
    """The text of a contract with everything that it imports from contracts/src."""
    texts: dict[Path, str] = {}
    waiting = [file.resolve()]
    while waiting:
        each = waiting.pop()
        if each not in texts:
            texts[each] = each.read_text(encoding="utf-8")
            waiting += [(each.parent / name).resolve() for name in re.findall(r'"(\.[^"]+\.sol)"', texts[each])]
    return "\n".join(texts.values())


def above(found: Mapping[str, int], budgets: Mapping[str, int]) -> list[str]:
    """The names whose number is above its budget by more than the slack."""
    missing = sorted(set(found) ^ set(budgets))
    if missing:
        sys.exit(f"{BUDGETS.name} and this script differ in: {', '.join(missing)}")
    return [name for name, count in found.items() if count > budgets[name] * (1 + SLACK)]


def rooms(sources: Sources) -> dict[str, tuple[int, int]]:
    """The lines and the names of each folder of the node, and of the protocol."""
    counts: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for path, text in chosen(sources, PACKAGES, ".py").items():
        parts = path.split("/")
        room = "protocol" if parts[0] == "protocol" else parts[2] if len(parts) > 3 else "(root)"
        names = sum(isinstance(node, DEFINITIONS) for node in ast.walk(ast.parse(text)))
        counts[room] = counts[room][0] + text.count("\n"), counts[room][1] + names
    return dict(counts)


def rendered(budgets: Mapping[str, int]) -> str:
    return HEAD + "".join(f"{name} = {count}\n" for name, count in budgets.items())


HEAD = """\
# The most that a person must hold to know this project; scripts/surface.py counts and describes each number.
# An issue lowers a budget to what it reached (`surface.py --lower`). Only an issue that says so raises one.
"""


if __name__ == "__main__":
    main()
