"""Compare the code of two commits without regard to files: proof that a move or a rename changed no behaviour.

    python scripts/same_code.py OLD [NEW] [--renames FILE]

Each commit becomes a multiset of (qualified name, syntax tree of the body) in both packages. Imports, docstrings,
and names of modules and files inside strings are ignored. Each line of FILE holds an old and a new name, which then
count as equal. Prints what only one side has, and exits with 1 if there is anything.
"""

import argparse
import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PACKAGES = ("node/openledger_node", "protocol/openledger_protocol")
PLACES = re.compile(r"openledger_node(\.\w+)+|[\w./-]+\.py\b")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Normaliser(ast.NodeTransformer):
    """Removes what depends on the place of a module, and gives renamed things one name."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_Import(self, node: ast.Import) -> None:
        """Drop it: imports say where things are."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Drop it: imports say where things are."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Blank the names of modules and files."""
        if isinstance(node.value, str):
            text = PLACES.sub("<place>", node.value)
            return ast.Constant(self._names.get(text, text))
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Apply the renames to each identifier."""
        super().generic_visit(node)
        for field in ("id", "attr", "name", "arg"):
            if isinstance(value := getattr(node, field, None), str):
                setattr(node, field, self._names.get(value, value))
        body = getattr(node, "body", None)
        if isinstance(body, list) and not body:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]  # it held nothing but imports
        return node


def bodies(tree: ast.Module, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Qualified name and dump of each definition, and of each statement of a module that is none."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, *DEFINITIONS)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    tree = Normaliser(names).visit(tree)
    yield from _walk(tree.body, "")


def _walk(body: Iterable[ast.stmt], within: str) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            inner, node.body = node.body, []
            yield f"{within}{node.name}", ast.dump(node)
            yield from _walk(inner, f"{within}{node.name}.")
        elif isinstance(node, DEFINITIONS):
            yield f"{within}{node.name}", ast.dump(node)
        else:
            yield within or "<module>", ast.dump(node)


def read(commit: str, names: Mapping[str, str]) -> Counter[tuple[str, str]]:
    """The multiset of one commit, or of the working tree if `commit` is empty."""
    found: Counter[tuple[str, str]] = Counter()
    listing = ["git", "ls-files"] if not commit else ["git", "ls-tree", "-r", "--name-only", commit]
    for path in _run([*listing, *(["--"] if commit else []), *PACKAGES]).splitlines():
        if path.endswith(".py") and (commit or Path(path).exists()):
            text = _run(["git", "show", f"{commit}:{path}"]) if commit else Path(path).read_text(encoding="utf-8")
            found.update(bodies(ast.parse(text), names))
    return found


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def one_name_each(lines: Iterable[str]) -> dict[str, str]:
    """Each name to the one that stands for all it is renamed from and to."""
    names: dict[str, str] = {}
    for line in lines:
        old, new = (names.get(word, word) for word in line.split()[:2])
        names = {name: new if kept == old else kept for name, kept in names.items()} | {old: new, new: new}
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new", nargs="?", default="", help="the working tree if left out")
    parser.add_argument("--renames", type=Path)
    words = parser.parse_args()
    names = one_name_each(words.renames.read_text().splitlines() if words.renames else ())
    old, new = read(words.old, names), read(words.new, names)
    for sign, rest in (("-", old - new), ("+", new - old)):
        for (name, dump), count in sorted(rest.items()):
            print(sign, count, name, dump if len(dump) < 300 else f"{dump[:300]}…")
    print(f"{old.total()} and {new.total()} bodies, {(old & new).total()} equal")
    sys.exit(old != new)


if __name__ == "__main__":
    main()
