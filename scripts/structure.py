"""Figures about the structure of both packages at some commits: sizes, crumbs, docstrings and the import graph.

python scripts/structure.py [COMMIT ...]        (default: HEAD)
"""

import ast
import io
import re
import subprocess
import sys
import tarfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import quantiles

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("node/openledger_node", "protocol/openledger_protocol")
CRUMB_LINES = 60
QUESTION = re.compile(r"(What|Who|Whose|Whom|How|Whether|That)\b")
Sources = Mapping[str, str]  # path below the repository's root, and text
Graph = Mapping[str, set[str]]


def read_commit(commit: str) -> tuple[dict[str, str], list[str]]:
    """Sources of a commit, and its import order, top first."""
    archive = subprocess.check_output(["git", "archive", commit, *PACKAGES, "pyproject.toml"], cwd=ROOT)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = [each for each in tar if each.name.endswith((".py", ".toml"))]
        texts = {each.name: file.read().decode() for each in files if (file := tar.extractfile(each))}
    contracts = tomllib.loads(texts.pop("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    return texts, next(each["layers"] for each in contracts if each["type"] == "layers")


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


def upward_imports(graph: Graph, layers: list[str]) -> list[str]:
    """Imports between folders of the node that run against the import order."""
    ranks = {name.strip(" ()"): place for place, layer in enumerate(layers) for name in layer.split("|")}
    rank = {path: ranks.get(path.split("/")[2].removesuffix(".py"), 0) for path in graph if path.startswith("node/")}
    pairs = [(of, to) for of in rank for to in graph[of] if to in rank and to != PACKAGES[0] + "/__init__.py"]
    return sorted(f"{of} -> {to}" for of, to in pairs if rank[to] < rank[of])


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules in which each reaches every other one by imports."""
    reached: dict[str, set[str]] = {path: set() for path in graph}
    for path, seen in reached.items():
        waiting = [path]
        while waiting:
            waiting += (new := graph[waiting.pop()] - seen)
            seen |= new
    groups = {tuple(sorted(each for each in reached[path] if path in reached[each])) for path in graph}
    return sorted(list(group) for group in groups if group)


def figures(sources: Sources, layers: list[str]) -> Iterator[tuple[str, object]]:
    def spread(values: list[int]) -> str:
        tenths = quantiles(values, n=10, method="inclusive")
        return f"median {tenths[4]:.0f}, p90 {tenths[8]:.0f}, max {max(values)}"

    modules = {path: len(text.splitlines()) for path, text in sources.items() if not path.endswith("__init__.py")}
    every = [node for text in sources.values() for node in nodes(text)]
    functions = [node for node in every if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    texts = [text for source in sources.values() for _, text in docstrings(source)]
    words = Counter(found[1] for text in texts if (found := QUESTION.match(text)))
    alone = len(only_importers(graph := import_graph(sources)))
    yield "files, of them modules", f"{len(sources)}, {len(modules)}"
    yield "lines", sum(len(text.splitlines()) for text in sources.values())
    yield "lines of a module", spread(list(modules.values()))
    yield "lines of a function", spread([(node.end_lineno or 0) - node.lineno + 1 for node in functions])
    yield "modules with one importer", f"{alone} ({alone / len(modules):.0%})"
    yield "crumbs", len(crumbs(sources))
    yield "docstrings, with a question word", f"{len(texts)}, {sum(words.values()) / len(texts):.0%} {dict(words)}"
    yield "imports against the order", len(upward_imports(graph, layers))
    yield "circles", circles(graph) or 0


if __name__ == "__main__":
    for commit in sys.argv[1:] or ["HEAD"]:
        print(commit, *(f"  {name:34} {value}" for name, value in figures(*read_commit(commit))), sep="\n")
