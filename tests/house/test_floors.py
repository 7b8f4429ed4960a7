"""The house's own rules, beside those that the import linter keeps."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support.nodes import ROOT

PACKAGES = [ROOT / "protocol" / "openledger_protocol", ROOT / "node" / "openledger_node"]
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
HEAVY = ["torch", "transformers", "peft", "trio", "libp2p", "sqlite3", "fastapi", "httpx"]


def modules() -> list[Path]:
    return [file for package in PACKAGES for file in sorted(package.rglob("*.py"))]


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("openledger_protocol.adapter", set()),
        ("openledger_protocol.inference", set()),
        ("openledger_node.engine.scheduler", set()),
        ("openledger_node.engine.blocks", set()),
        ("openledger_node.engine.loader", set()),
        ("openledger_node.engine.frames", set()),
        ("openledger_node.engine.worker", set()),
        ("openledger_node.serving.admission", set()),
        ("openledger_node.daemon", {"trio", "sqlite3", "fastapi", "httpx"}),
        ("openledger_node.cli.main", {"trio", "sqlite3", "httpx"}),
    ],
)
def test_a_module_loads_nothing_heavier_than_it_may(module: str, allowed: set[str]) -> None:
    """Above all: torch is in no process but the engine's and the trainer's."""
    assert loaded_by(module) <= allowed


def test_no_module_is_a_giant() -> None:
    assert [str(file) for file in modules() if len(file.read_text().splitlines()) > MODULE_LINES_MAX] == []


def test_no_function_is_long() -> None:
    long = [
        f"{file.name}:{node.name}"
        for file in modules()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_every_module_says_what_it_is_for() -> None:
    assert [str(file) for file in modules() if not ast.get_docstring(ast.parse(file.read_text()))] == []
