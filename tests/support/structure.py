"""Figures about sources that the house's rules compare: crumbs, docstrings and the import graph."""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGES = ("node/openledger_node", "protocol/openledger_protocol")
CRUMB_LINES = 60
QUESTION = re.compile(r"(What|Who|Whose|Whom|How|Whether|That)\b")
Sources = Mapping[str, str]  # path below the repository's root, and text
Graph = Mapping[str, set[str]]


@cache
def nodes(text: str) -> tuple[ast.AST, ...]:
    """The syntax tree of a source, its module first. No caller changes it, so that several checks share one."""
    return tuple(ast.walk(ast.parse(text)))


def import_graph(sources: Sources) -> Graph:
    """The files that each file imports, by relative and absolute imports at any place in it."""
    modules = {path: re.sub(r"^\w+/|(/__init__)?\.py$", "", path).replace("/", ".") for path in sources}
    files = {module: path for path, module in modules.items()}
    graph: dict[str, set[str]] = {path: set() for path in sources}
    for path, text in sources.items():
        package = modules[path].split(".")[: None if path.endswith("__init__.py") else -1]
        for node in nodes(text):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                parts = package[: len(package) - node.level + 1] if node.level else []
                origin = ".".join([*parts, *filter(None, [node.module])])
                names = [name if (name := f"{origin}.{alias.name}") in files else origin for alias in node.names]
            graph[path] |= {files[name] for name in names if name in files and files[name] != path}
    return graph


def only_importers(graph: Graph) -> dict[str, str]:
    """Modules that exactly one other module imports, with that module; packages are left out."""
    times = Counter(each for imported in graph.values() for each in imported)
    alone = {each: path for path, imported in graph.items() for each in imported if times[each] == 1}
    return {path: by for path, by in alone.items() if not path.endswith("__init__.py")}


def crumbs(sources: Sources) -> dict[str, str]:
    """Modules under 60 lines whose only importer is in their own folder, with that importer."""
    short = {path for path, text in sources.items() if len(text.splitlines()) < CRUMB_LINES}
    alone = only_importers(import_graph(sources)).items()
    return {path: by for path, by in alone if path in short and Path(path).parent == Path(by).parent}


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring; a string below an attribute counts as one."""
    for node in nodes(text):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()
